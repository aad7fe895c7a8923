/**
 * `npm run keys:init [FILE]`: makes every secret that a production installation needs, once, into a file that
 * docker-compose.yml and other runners of processes read: `.env`, without another name. What is there stays.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs'

const file = process.argv[2] ?? '.env'
const random = (encoding: 'base64' | 'base64url' = 'base64') => randomBytes(32).toString(encoding)
const caller = random('base64url')

const feed = generateKeyPairSync('ed25519')

const secrets: [name: string, what: string, value: string][] = [
  ['PLATFORM_API_KEY', 'stands above all tenants: whoever has it may do everything', `tgp_${random('base64url')}`],
  ['CREDENTIALS_KEY', 'seals the secrets of payment providers: without it they cannot be opened, so keep a copy elsewhere', random()],
  ['FEED_SIGNING_KEY', 'signs what control planes tell sidecars', feed.privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64')],
  ['FEED_VERIFY_KEYS', 'which signatures sidecars believe', feed.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')],
  ['SNAPSHOT_KEY', "seals a sidecar's snapshot file", random()],
  ['SIMULATOR_WEBHOOK_SECRET', 'signs what the payment simulator of sandbox tenants tells', `whsec_${random()}`],
  ['CALLER_KEY', 'with which your applications ask sidecars', caller],
  ['SIDECAR_KEYS', 'which keys a sidecar takes, and for which tenants', `{"${caller}": ["*"]}`],
]

const known = existsSync(file) ? readFileSync(file, 'utf8') : ''
const isThere = (name: string) => new RegExp(`^${name}=`, 'm').test(known)
const missing = secrets.filter(([name]) => !isThere(name))
for (const [one, other] of [
  ['CALLER_KEY', 'SIDECAR_KEYS'],
  ['FEED_SIGNING_KEY', 'FEED_VERIFY_KEYS'],
] as const) {
  if (isThere(one) === isThere(other)) continue
  process.stderr.write(`${file} has one of ${one} and ${other}, which belong together: set both, or neither\n`)
  process.exit(1)
}
const to = openSync(file, 'a', 0o600)
if (known !== '' && !known.endsWith('\n')) writeSync(to, '\n')
for (const [name, what, value] of missing) writeSync(to, `# ${what[0]?.toUpperCase()}${what.slice(1)}.\n${name}='${value}'\n`)
closeSync(to)
process.stdout.write(
  missing.length === 0
    ? `${file} has every secret already\n`
    : `${file}: made ${missing.map(([name]) => name).join(', ')}; keep it to yourself, and a copy elsewhere\n`,
)
