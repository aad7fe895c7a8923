/**
 * Writes what `server-config.ts` says into a folder, beside a file for each user: its NKey's seed, and the variables that its
 * process needs. Who is known, and with which public key, is kept in `users.json`; a seed is written once and never again.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { nkeys } from '@nats-io/transport-node'
import { ConfigError } from '../../common/config.ts'
import { readIdentity } from '../../common/feed/nats/credentials.ts'
import { IMPORTED_API } from '../../common/feed/nats/permissions.ts'
import { z } from '../../common/zod.ts'
import { accountsConfig, serverConfig } from './server-config.ts'

export interface NatsConfigRequest {
  folder: string
  /** Added, or changed to these tenants. Undefined tenants are all. */
  sidecars: { name: string; tenants: string[] | undefined }[]
  /** Names of sidecars that are to be none any more. */
  remove: string[]
  /** The bucket's name. Default: the existing one, or `tollgate`. */
  bucket: string | undefined
  /** Paths of PEM files. */
  tls: { cert: string; key: string; ca: string } | undefined
}

const known = z.object({
  bucket: z.string(),
  ca: z.string().optional(),
  sidecars: z.array(z.object({ name: z.string(), tenants: z.array(z.string()).optional() })),
})
type Known = z.infer<typeof known>

const USERS = 'users.json'
const ACCOUNTS = 'nats-users.conf'
const SERVER = 'nats.conf'
const CONTROL_PLANE = 'control-plane'

/** @throws ConfigError for a file that this command has not written so. */
const readKnown = (folder: string): Known | undefined => {
  const file = join(folder, USERS)
  if (!existsSync(file)) return undefined
  try {
    return known.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch {
    throw new ConfigError(`${file} cannot be parsed: restore the file that npm run nats:config wrote`)
  }
}

/** In place at once, so that nobody reads half of it. */
const replace = (folder: string, name: string, text: string): void => {
  const next = join(folder, `${name}.new`)
  writeFileSync(next, text, { mode: 0o600 })
  renameSync(next, join(folder, name))
}

/** Makes the user's key unless it is there. @returns its public half. */
const keyOf = (folder: string, name: string): string => {
  const file = join(folder, `${name}.nk`)
  if (!existsSync(file)) {
    const pair = nkeys.createUser()
    const seed = Buffer.from(pair.getSeed()).toString()
    writeFileSync(file, `# The NATS credentials of ${name}: set NATS_CREDS to this file, and keep it secret.\n${seed}\n`, { mode: 0o600, flag: 'wx' })
  }
  return readIdentity(file).publicKey
}

const variables = (lines: Record<string, string | undefined>): string =>
  Object.entries(lines)
    .map(([name, value]) => (value === undefined ? '' : `${name}='${value.replaceAll("'", `'\\''`)}'\n`))
    .join('')

/** @returns what is to be said of it. @throws ConfigError. */
export const writeNatsConfig = ({ folder: to, sidecars: asked, remove, bucket: wanted, tls }: NatsConfigRequest): string => {
  const folder = resolve(to)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const before = readKnown(folder)
  const bucket = wanted ?? before?.bucket ?? 'tollgate'
  if (before && before.bucket !== bucket) throw new ConfigError(`--bucket: ${folder} is for the bucket ${before.bucket}; use another folder`)
  const names = asked.map(({ name }) => name)
  if (new Set(names).size < names.length) throw new ConfigError('--sidecar: a name is given twice')
  if (names.includes(CONTROL_PLANE)) throw new ConfigError(`--sidecar: ${CONTROL_PLANE} is the control planes' own name`)
  const unknown = remove.find((name) => !before?.sidecars.some((one) => one.name === name))
  if (unknown !== undefined) throw new ConfigError(`--remove: there is no sidecar ${unknown}`)
  const stay = (before?.sidecars ?? []).filter(({ name }) => !names.includes(name) && !remove.includes(name))
  const sidecars = [...stay, ...asked].sort((a, b) => (a.name < b.name ? -1 : 1))
  const ca = tls ? resolve(tls.ca) : before?.ca

  const controlPlaneKey = keyOf(folder, CONTROL_PLANE)
  const users = sidecars.map(({ name, tenants }) => ({ name, tenants, publicKey: keyOf(folder, `sidecar-${name}`) }))
  const common = (name: string) => ({ NATS_BUCKET: bucket, NATS_CREDS: join(folder, `${name}.nk`), NATS_CA_FILE: ca })
  replace(folder, `${CONTROL_PLANE}.env`, variables(common(CONTROL_PLANE)))
  for (const { name, tenants } of users)
    replace(folder, `sidecar-${name}.env`, variables({ ...common(`sidecar-${name}`), NATS_API_PREFIX: IMPORTED_API, SIDECAR_TENANTS: tenants?.join(',') }))
  replace(folder, ACCOUNTS, accountsConfig(bucket, controlPlaneKey, users))
  // Last, so that whoever was interrupted finds it as it was, and runs it again.
  replace(folder, USERS, `${JSON.stringify({ bucket, ca, sidecars }, undefined, 2)}\n`)
  for (const name of remove.filter((one) => !names.includes(one)))
    for (const kind of ['nk', 'env']) rmSync(join(folder, `sidecar-${name}.${kind}`), { force: true })

  const isNew = !existsSync(join(folder, SERVER))
  if (isNew) replace(folder, SERVER, serverConfig(ACCOUNTS, tls && { cert: resolve(tls.cert), key: resolve(tls.key) }))
  return [
    `${folder}: ${ACCOUNTS} is written, for ${['control planes', ...users.map(({ name }) => `sidecar ${name}`)].join(', ')}`,
    isNew ? `${SERVER} is an example that includes it: nats-server -c ${join(folder, SERVER)}` : `${SERVER} already existed and was not changed`,
    'each process reads the variables of its .env file',
    ...(before ? ['to apply this to a running server, run nats-server --signal reload twice: a new account gets its imports with the second reload'] : []),
    '',
  ].join('\n')
}
