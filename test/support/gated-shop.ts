/** What a gateway guards in tests: a control plane with two customers, of whom one has bought something, and a sidecar with rules. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../common/clock.ts'
import { httpClient } from './http-client.ts'
import { asLive, openInProcessTollgate } from './in-process-tollgate.ts'
import { openSidecar, type TestSidecar } from './sidecar.ts'

export interface GatedShop extends AsyncDisposable {
  sidecar: TestSidecar
  /** How much `anna` has used of `api_limit`, by what a check says. */
  used(): Promise<bigint>
  /** The lines of the metric about gateways, without its name. */
  judged(): Promise<string[]>
}

/** `anna` has `reports`, 5 of `api_limit` per year, 2 `seats` and `support_hours`; `bert` has nothing. Both are of acme's us-store. */
export const openGatedShop = async (rules: string, env: Record<string, string> = {}): Promise<GatedShop> => {
  await using started = new AsyncDisposableStack()
  const tollgate = started.use(await openInProcessTollgate())
  const storefronts = [{ id: 'us-store', region: 'US', currency: 'USD' }]
  const created = await httpClient(tollgate.http).post('/tenants', { id: 'acme', name: 'Acme', mode: 'sandbox', storefronts })
  const api = httpClient(tollgate.http, { key: created.body.apiKey })
  await api.put('/test-clock', { now: systemClock.now().toISOString() })
  for (const id of ['anna', 'bert']) await api.post('/customers', { id, storefrontId: 'us-store' })
  const entitlements = [
    { key: 'reports', kind: 'flag' },
    { key: 'api_limit', kind: 'quota', limit: 5, per: 'year' },
    { key: 'seats', kind: 'capacity', limit: 2 },
    { key: 'support_hours', kind: 'value', value: '24/7' },
  ]
  const given = await api.post('/storefronts/us-store/customers/anna/grants', { entitlements, reason: 'a test' })
  if (given.status !== 201) throw new Error(JSON.stringify(given.body))
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-rules-'))
  started.defer(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'rules.yaml')
  writeFileSync(file, rules)
  const sidecar = await openSidecar({ EXT_AUTHZ_RULES_FILE: file, ...env }, { feed: asLive(tollgate.feed, systemClock) })
  started.defer(() => sidecar.close())
  const parts = started.move()
  return {
    sidecar,
    used: () =>
      new Promise((resolve, reject) => {
        const question = { tenantId: 'acme', storefrontId: 'us-store', customerId: 'anna', entitlement: 'api_limit', amount: 1n, minRevision: 0n }
        sidecar.client.checkEntitlement(question, (error, answer) => (error ? reject(error) : resolve(answer.used)))
      }),
    judged: async () => {
      const metrics = await (await fetch(`${sidecar.httpUrl}/metrics`)).text()
      return metrics.split('\n').flatMap((line) => (line.startsWith('tollgate_ext_authz_total{') ? [line.slice('tollgate_ext_authz_total'.length)] : []))
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}
