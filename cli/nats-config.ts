/**
 * `npm run nats:config -- --out DIR [--sidecar NAME=tenant,tenant]… [--remove NAME]… [--bucket NAME] [--tls CERT KEY CA]`: makes a
 * nats-server's configuration in which control planes write and each sidecar reads its tenants and asks about them, with
 * NKeys. `NAME=*` is a sidecar of all tenants. Run again it adds to what is there, and changes the tenants of who is
 * named again; no key is ever made anew.
 */
import { parseArgs } from 'node:util'
import { ConfigError } from '../common/config.ts'
import { runCommand } from '../common/process.ts'
import { writeNatsConfig } from './nats-config/write.ts'

const USAGE =
  'usage: npm run nats:config -- --out DIR [--sidecar NAME=TENANT,TENANT]... [--remove NAME]... [--bucket NAME] [--tls CERT KEY CA]\nNAME=* is a sidecar of all tenants. CERT, KEY and CA are paths of PEM files: the server’s certificate and key, and the CA that clients trust.'

const readArgs = () => {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        out: { type: 'string' },
        sidecar: { type: 'string', multiple: true, default: [] },
        remove: { type: 'string', multiple: true, default: [] },
        bucket: { type: 'string' },
        tls: { type: 'string' },
      },
    })
    // `--tls` takes three, of which a parser knows the first alone.
    const [key, ca, ...rest] = positionals
    if (values.out === undefined || rest.length > 0 || (values.tls === undefined ? key !== undefined : ca === undefined)) throw new ConfigError(USAGE)
    return { ...values, out: values.out, tls: values.tls && key && ca ? { cert: values.tls, key, ca } : undefined }
  } catch (error) {
    throw error instanceof ConfigError ? error : new ConfigError(`${(error as Error).message}\n${USAGE}`)
  }
}

const sidecarOf = (text: string): { name: string; tenants: string[] | undefined } => {
  const [, name, tenants] = /^([A-Za-z0-9_-]{1,64})=(.+)$/s.exec(text) ?? []
  if (name === undefined || tenants === undefined)
    throw new ConfigError(`--sidecar ${text}: must be NAME=TENANT,TENANT or NAME=*; a name has letters, digits, _ and -\n${USAGE}`)
  const ids = tenants.split(',').map((id) => id.trim())
  if (ids.includes('')) throw new ConfigError(`--sidecar ${text}: a tenant id is empty`)
  if (ids.includes('*') && ids.length > 1) throw new ConfigError(`--sidecar ${text}: * means all tenants, so name no others`)
  return { name, tenants: ids[0] === '*' ? undefined : [...new Set(ids)] }
}

await runCommand(async () => {
  process.umask(0o077)
  const { out, sidecar, remove, bucket, tls } = readArgs()
  if (bucket !== undefined && !/^[A-Za-z0-9_-]{1,64}$/.test(bucket)) throw new ConfigError('--bucket: must be 1 to 64 letters, digits, _ or -')
  process.stdout.write(writeNatsConfig({ folder: out, sidecars: sidecar.map(sidecarOf), remove, bucket, tls }))
})
