/**
 * `npm run keys:init -- [--env FILE] [--secrets FOLDER]`: makes every secret and file that a production installation needs, once, as docker-compose.yml
 * and other runners of processes read them: variables into `.env`, and certificates and users of MongoDB and NATS into
 * `deploy/secrets`, without other names. What is there stays, so that it may be run again.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { systemClock } from '../../common/clock.ts'
import { ConfigError } from '../../common/config.ts'
import { runCommand } from '../../common/process.ts'
import { writeNatsConfig } from '../nats-config/write.ts'
import { newAuthority, newServer } from './certificates.ts'

const random = (encoding: 'base64' | 'base64url' | 'hex' = 'base64') => randomBytes(32).toString(encoding)

type Secret = [name: string, what: string, value: string]

const secretsOf = (seeds: { controlPlane: string; sidecar: string }): Secret[] => {
  const caller = random('base64url')
  const feed = generateKeyPairSync('ed25519')
  return [
    ['PLATFORM_API_KEY', 'the platform key: its holder may do everything, for every tenant', `tgp_${random('base64url')}`],
    ['CREDENTIALS_KEY', 'encrypts the secrets of payment providers: without it they are lost, so keep a copy elsewhere', random()],
    ['FEED_SIGNING_KEY', 'signs what control planes publish to sidecars', feed.privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64')],
    ['FEED_VERIFY_KEYS', 'the keys whose signatures sidecars accept', feed.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')],
    ['SNAPSHOT_KEY', "encrypts a sidecar's snapshot file", random()],
    ['SIMULATOR_WEBHOOK_SECRET', 'signs the webhooks of the payment simulator of sandbox tenants', `whsec_${random()}`],
    ['CALLER_KEY', 'the key that your applications send to sidecars', caller],
    ['SIDECAR_KEYS', 'the keys that a sidecar accepts, and for which tenants', `{"${caller}": ["*"]}`],
    ['MONGODB_ROOT_PASSWORD', "the password of MongoDB's root user", random('hex')],
    ['MONGODB_PASSWORD', "the password of the control planes' user at MongoDB", random('hex')],
    ['NATS_CLUSTER_PASSWORD', "the password of the NATS servers' cluster", random('hex')],
    ['NATS_CONTROL_PLANE_SEED', 'the NATS seed of the control planes', seeds.controlPlane],
    ['NATS_SIDECAR_SEED', 'the NATS seed of the sidecars', seeds.sidecar],
  ]
}

/** Variables that belong together: either both are set, or neither is. */
const PAIRS = [
  ['CALLER_KEY', 'SIDECAR_KEYS'],
  ['FEED_SIGNING_KEY', 'FEED_VERIFY_KEYS'],
] as const

/** @returns the names of what was made. @throws ConfigError. */
const writeVariables = (file: string, secrets: Secret[]): string[] => {
  const known = existsSync(file) ? readFileSync(file, 'utf8') : ''
  const isThere = (name: string) => new RegExp(`^${name}=`, 'm').test(known)
  for (const [one, other] of PAIRS)
    if (isThere(one) !== isThere(other)) throw new ConfigError(`${file} has only one of ${one} and ${other}, which belong together: set both, or neither`)
  const missing = secrets.filter(([name]) => !isThere(name))
  const to = openSync(file, 'a', 0o600)
  if (known !== '' && !known.endsWith('\n')) writeSync(to, '\n')
  for (const [name, what, value] of missing) writeSync(to, `# ${what[0]?.toUpperCase()}${what.slice(1)}.\n${name}='${value}'\n`)
  closeSync(to)
  return missing.map(([name]) => name)
}

/** @returns the names of what was made. */
const writeCertificates = async (folder: string): Promise<string[]> => {
  const made: string[] = []
  const unlessThere = (name: string, text: string, mode = 0o600) => {
    const path = join(folder, name)
    if (existsSync(path)) return
    writeFileSync(path, text, { mode })
    // The mode of a new file is less than what was asked for where the process says so.
    chmodSync(path, mode)
    made.push(name)
  }
  const isAuthorityThere = existsSync(join(folder, 'ca.pem')) && existsSync(join(folder, 'ca.key'))
  const authority = isAuthorityThere
    ? { certificate: readFileSync(join(folder, 'ca.pem'), 'utf8'), key: readFileSync(join(folder, 'ca.key'), 'utf8') }
    : await newAuthority(systemClock.now())
  // The CA certificate is not a secret: processes in containers read it as another user.
  unlessThere('ca.pem', authority.certificate, 0o644)
  unlessThere('ca.key', authority.key)
  if (!existsSync(join(folder, 'nats.pem')) || !existsSync(join(folder, 'nats.key'))) {
    const nats = await newServer(authority, ['nats-1', 'nats-2', 'nats-3', 'localhost'], systemClock.now())
    unlessThere('nats.pem', nats.certificate)
    unlessThere('nats.key', nats.key)
  }
  if (!existsSync(join(folder, 'mongo.pem'))) {
    const mongo = await newServer(authority, ['mongo-1', 'mongo-2', 'mongo-3', 'localhost'], systemClock.now())
    // MongoDB reads both from one file.
    unlessThere('mongo.pem', `${mongo.certificate}${mongo.key}`)
  }
  unlessThere('mongo.keyfile', `${randomBytes(96).toString('base64')}\n`)
  return made
}

const seedIn = (file: string): string => /^SU[A-Z0-9]+$/m.exec(readFileSync(file, 'utf8'))?.[0] ?? ''

const USAGE = `usage: npm run keys:init -- [--env FILE] [--secrets FOLDER]
Creates what a production installation needs, once: secrets in FILE (.env), certificates and users in FOLDER (deploy/secrets).`

const readArgs = (): { file: string; folder: string } => {
  try {
    const { values } = parseArgs({ options: { env: { type: 'string', default: '.env' }, secrets: { type: 'string', default: join('deploy', 'secrets') } } })
    return { file: values.env, folder: values.secrets }
  } catch {
    throw new ConfigError(USAGE)
  }
}

await runCommand(async () => {
  process.umask(0o077)
  const { file, folder } = readArgs()
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const certificates = await writeCertificates(folder)
  const nats = join(folder, 'nats')
  const isNew = !existsSync(join(nats, 'users.json'))
  if (isNew) writeNatsConfig({ folder: nats, sidecars: [{ name: 'main', tenants: undefined }], remove: [], bucket: undefined, tls: undefined })
  const seeds = { controlPlane: seedIn(join(nats, 'control-plane.nk')), sidecar: seedIn(join(nats, 'sidecar-main.nk')) }
  const variables = writeVariables(file, secretsOf(seeds))
  const made = [...variables.map((name) => `${name} in ${file}`), ...[...certificates, ...(isNew ? ['nats/'] : [])].map((name) => join(folder, name))]
  process.stdout.write(
    made.length === 0
      ? `${file} and ${folder} already have everything\n`
      : `created:\n${made.map((one) => `  ${one}\n`).join('')}Keep them secret, and keep a copy somewhere safe.\n`,
  )
})
