/**
 * `npm run licenses [FILE]`: the licences of everything that runs with Tollgate and was written by others, with their texts, as an image
 * has to carry them. `npm run sbom` lists the same packages as CycloneDX.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runCommand } from '../common/process.ts'

interface Locked {
  version?: string
  license?: string
  integrity?: string
  dev?: boolean
  optional?: boolean
  link?: boolean
}

export interface ThirdParty {
  name: string
  version: string
  license: string
  /** The integrity hash from the lock file. */
  integrity: string | undefined
  /** The text of the package's licence and notices; empty if it has none. */
  text: string
}

const isText = (name: string): boolean => /^(licen[cs]e|copying|notice)(\.|-|$)/i.test(name)

/** @returns what is installed of what runs in production, by name. */
export const thirdParties = (root: string): ThirdParty[] => {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as { packages: Record<string, Locked> }
  const found = Object.entries(packages).flatMap(([path, { version = '', license = 'UNKNOWN', integrity, dev, link }]): ThirdParty[] => {
    const folder = join(root, path)
    if (path === '' || dev || link || !existsSync(folder)) return []
    const texts = readdirSync(folder)
      .filter(isText)
      .map((file) => readFileSync(join(folder, file), 'utf8').trim())
    const known = license.replace('MIT/X11', 'MIT')
    const named = license === 'UNKNOWN' && /\bMIT License\b/i.test(texts.join('\n')) ? 'MIT' : known
    return [{ name: path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length), version, license: named, integrity, text: texts.join('\n\n') }]
  })
  const once = new Map(found.map((one) => [`${one.name}@${one.version}`, one]))
  return [...once.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
}

if (import.meta.main)
  await runCommand(async () => {
    const rule = '-'.repeat(80)
    const parts = thirdParties(process.cwd()).map(({ name, version, license, text }) => `${name} ${version}: ${license}\n${text && `\n${text}\n`}`)
    const whole = `Third-party software that Tollgate runs with.\n${rule}\n${parts.join(`${rule}\n`)}`
    const [, , file] = process.argv
    if (file === undefined) process.stdout.write(whole)
    else writeFileSync(file, whole)
  })
