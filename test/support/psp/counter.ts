/**
 * A control plane in this process, live, on the real adapters, against stand-ins of the providers; with a clock that
 * can be moved on, so that inquiries need not be waited for. Storage in memory, HTTP and webhooks real.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Clock } from '../../../common/clock.ts'
import { readConfig } from '../../../common/config.ts'
import { createInProcessFeed } from '../../../common/feed/in-process.ts'
import { createLog } from '../../../common/log.ts'
import { startControlPlane } from '../../../control-plane/compose.ts'
import { createSqliteStorage } from '../../../control-plane/storage/sqlite.ts'
import { type HttpClient, httpClient } from '../http-client.ts'
import { PLATFORM_KEY } from '../tollgate.ts'
import type { StandIn } from './index.ts'

const PSP_TIMEOUT_MS = 500

export interface Counter {
  url: string
  /** With the key of the tenant `shop`. */
  api: HttpClient
  /** Moves the clock on. */
  advance(ms: number): void
  close(): Promise<void>
}

/** @param standIns by account id; each account's webhooks come to this control plane. */
export const openCounter = async (
  standIns: Record<string, StandIn>,
  storefront: object,
  settings: { env?: Record<string, string>; account?: object; accounts?: Record<string, object> } = {},
): Promise<Counter> => {
  const dataDir = await mkdtemp(join(tmpdir(), 'tollgate-'))
  let aheadMs = 0
  const clock: Clock = { nowMs: () => Date.now() + aheadMs, now: () => new Date(Date.now() + aheadMs) }
  const urls = Object.values(standIns).flatMap(({ baseUrlVariable, fake }) => (baseUrlVariable ? [[baseUrlVariable, fake.url]] : []))
  const config = readConfig({
    HTTP_PORT: '0',
    DATA_DIR: dataDir,
    PLATFORM_API_KEY: PLATFORM_KEY,
    PSP_TIMEOUT_MS: String(PSP_TIMEOUT_MS),
    WORKER_POLL_MS: '20',
    LOCAL_PSP_PRIVATE_URLS: 'true',
    // Outages are what these tests are about; what a circuit does to them has a test of its own.
    CIRCUIT_FAILURES: '1000000',
    ...Object.fromEntries(urls),
    ...settings.env,
  })
  const log = createLog('silent')
  const storage = createSqliteStorage({ path: ':memory:', clock })
  const controlPlane = await startControlPlane({ config, storage, feed: createInProcessFeed({ clock }), clock, log })
  const created = await httpClient(controlPlane.url).post('/tenants', { id: 'shop', name: 'Shop', mode: 'live', storefronts: [] })
  const api = httpClient(controlPlane.url, { key: created.body.apiKey })
  for (const [id, { provider, credentials, webhookSecret, fake }] of Object.entries(standIns)) {
    const made = await api.post('/psp-accounts', { id, provider, credentials, webhookSecret, ...settings.account, ...settings.accounts?.[id] })
    if (made.status !== 201 || made.body.problem !== null) throw new Error(`the account ${id} was not made: ${JSON.stringify(made.body)}`)
    fake.webhooks.url = `${controlPlane.url}/v1/webhooks/psp/shop/${id}`
  }
  const sold = await api.post('/storefronts', { id: 'store', currency: 'USD', ...storefront })
  if (sold.status !== 201) throw new Error(`the storefront was not made: ${JSON.stringify(sold.body)}`)
  return {
    url: controlPlane.url,
    api,
    advance: (ms) => {
      aheadMs += ms
      for (const { fake } of Object.values(standIns)) fake.aheadMs = aheadMs
    },
    close: async () => {
      for (const { fake } of Object.values(standIns)) fake.webhooks.url = undefined
      await controlPlane.close()
      await storage.close()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}
