/** What `npm run nats:config` makes, and who its users are, for tests on real servers. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseEnv, promisify } from 'node:util'
import { type ConnectionOptions, connect, type NatsConnection } from '@nats-io/transport-node'
import { readConfig } from '../../common/config.ts'
import { connectionOptions } from '../../common/feed/nats/connection.ts'
import { natsAccessOf } from '../../common/feed/nats/credentials.ts'
import type { NatsFeedOptions } from '../../common/feed/nats/feed.ts'
import { Secret } from '../../common/secret.ts'

export interface NatsAccounts {
  folder: string
  configFile: string
  /** What servers of a cluster include. */
  text(): string
  /** Runs the command in the same folder once more. @returns what it says. */
  run(...args: string[]): Promise<string>
  /** What its .env file says. */
  variablesOf(name: string): Record<string, string>
  /** With which a process of this user opens the feed. */
  optionsOf(name: string): Pick<NatsFeedOptions, 'access' | 'bucket' | 'tenants'>
  /** A bare connection, that may try anything. */
  connectAs(name: string, url: string, more?: ConnectionOptions): Promise<NatsConnection>
}

export const makeNatsAccounts = async (...args: string[]): Promise<NatsAccounts> => {
  const folder = join(mkdtempSync(join(tmpdir(), 'tollgate-accounts-')), 'nats')
  const run = async (...more: string[]) => (await promisify(execFile)(process.execPath, ['cli/nats-config.ts', '--out', folder, ...more])).stdout
  await run(...args)
  const variablesOf = (name: string) => parseEnv(readFileSync(join(folder, `${name}.env`), 'utf8')) as Record<string, string>
  const configOf = (name: string) => readConfig(variablesOf(name))
  return {
    folder,
    configFile: join(folder, 'nats.conf'),
    text: () => readFileSync(join(folder, 'nats-users.conf'), 'utf8'),
    run,
    variablesOf,
    optionsOf: (name) => {
      const config = configOf(name)
      return { access: natsAccessOf(config), bucket: config.NATS_BUCKET, tenants: config.SIDECAR_TENANTS }
    },
    connectAs: (name, url, more = {}) => connect({ ...connectionOptions(new Secret(url), 250, natsAccessOf(configOf(name))), ...more }),
  }
}
