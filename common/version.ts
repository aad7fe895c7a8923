import { readFileSync } from 'node:fs'

/** The version of Tollgate that this process runs, as package.json has it. */
export const ownVersion = (): string => (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version
