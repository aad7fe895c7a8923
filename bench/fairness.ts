/**
 * `npm run bench:fairness`: what the long jobs of one tenant do to the requests of another, on one control plane.
 *
 * One tenant reads a customer's entitlements, reports usage and sells, one request after another. That is timed while nobody
 * else does anything, and then while another tenant moves its test clock, gives a bundle's new version to all, or imports a
 * settlement report, and while an operator republishes everything. Each figure stands beside that of the quiet time before.
 */
import { parseArgs } from 'node:util'
import pMap from 'p-map'
import { httpClient } from '../test/support/http-client.ts'
import { bundleDocument, tenantDocument } from '../test/support/platform-model.ts'
import { embedded, mongodbAndNats, runCommand, sqliteAndNats } from '../test/support/tollgate.ts'

const { values } = parseArgs({
  options: { subscriptions: { type: 'string', default: '1000' }, lines: { type: 'string', default: '50000' }, seconds: { type: 'string', default: '8' } },
})
const subscriptions = Number(values.subscriptions)
const lines = Number(values.lines)
const quietMs = Number(values.seconds) * 1_000
/** Where a job is over sooner, there is too little to time. */
const ENOUGH = 30

const world = process.env.MONGODB_URL ? mongodbAndNats : sqliteAndNats.missing ? embedded : sqliteAndNats
if (world.missing) throw new Error(world.missing)
const tollgate = await world.start()
try {
  const open = async (id: string) => {
    const { body } = await httpClient(tollgate.http).post('/tenants', { ...tenantDocument, id, mode: 'sandbox' })
    const api = httpClient(tollgate.http, { key: body.apiKey, unchecked: true })
    await api.put('/test-clock', { now: '2024-03-15T00:00:00Z' })
    await api.post('/bundles', { ...bundleDocument, pricing: { amount: 500, currency: 'USD', interval: 'day' } })
    return api
  }
  const [busy, other] = [await open('busy'), await open('other')]
  const sell = (api: typeof busy, customerId: string) =>
    api.post('/subscriptions', { customerId, bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod: 'pm_card' })
  await pMap(Array.from({ length: subscriptions }), (_, n) => sell(busy, `c${n}`), { concurrency: 16 })
  await sell(other, 'c')

  const percentile = (times: number[], p: number): number =>
    times.toSorted((a, b) => a - b)[Math.min(times.length - 1, Math.floor(p * times.length))] ?? Number.NaN
  let sold = 0
  /** One after another for as long as `running` says. */
  const timed = async (running: () => boolean) => {
    const times = { read: [] as number[], use: [] as number[], sell: [] as number[] }
    const time = async (name: keyof typeof times, call: () => Promise<{ status: number }>) => {
      const startedMs = performance.now()
      const { status } = await call()
      if (status >= 300) throw new Error(`${name} was answered ${status}`)
      times[name].push(performance.now() - startedMs)
    }
    while (running()) {
      await time('read', () => other.get('/storefronts/us-store/customers/c/entitlements'))
      await time('use', () => other.post('/usage', { storefrontId: 'us-store', customerId: 'c', entitlement: 'api_limit', amount: 1 }))
      sold += 1
      await time('sell', () => sell(other, `d${sold}`))
    }
    return times
  }
  const until = (ms: number) => {
    const endMs = performance.now() + ms
    return () => performance.now() < endMs
  }
  await timed(until(2_000))

  const csv = ['type,reference,currency,gross,fee,net', ...Array.from({ length: lines }, (_, n) => `charge,ref-${n},USD,500,15,485`)].join('\n')
  const jobs: [name: string, run: () => Promise<unknown>][] = [
    [`${subscriptions} subscriptions are moved on by 3 days`, () => busy.put('/test-clock', { now: '2024-03-18T00:00:00Z' })],
    [
      `${subscriptions} subscriptions get a new version`,
      async () => {
        await busy.call('PUT', '/storefronts/us-store/bundles/pro-plan', {
          ...bundleDocument,
          name: 'New',
          pricing: { amount: 500, currency: 'USD', interval: 'day' },
          applyTo: 'all',
        })
        for (;;) {
          const { body } = await busy.get('/storefronts/us-store/bundles/pro-plan')
          if (body.rollout?.status !== 'running') return
          await new Promise((resolve) => setTimeout(resolve, 100))
        }
      },
    ],
    [
      `a settlement report of ${lines} lines`,
      () => busy.call('POST', '/settlement-reports/r/csv?account=stripe&format=tollgate', csv, { 'content-type': 'text/csv' }),
    ],
    ['everything is republished', () => runCommand('control-plane/republish.ts', [], tollgate.env)],
  ]
  process.stdout.write(`${world.name}; milliseconds of another tenant's requests: quiet, then during, then the ratio\n`)
  process.stdout.write(`${''.padEnd(44)}   ${['read p50', 'use p50', 'sell p50', 'sell p99'].map((head) => head.padEnd(20)).join('')}\n`)
  for (const [name, run] of jobs) {
    const quiet = await timed(until(quietMs))
    let isRunning = true
    const startedMs = performance.now()
    const job = run().finally(() => {
      isRunning = false
    })
    const during = await timed(() => isRunning)
    const answer = (await job) as { status?: number; body?: unknown } | undefined
    if ((answer?.status ?? 200) >= 300) throw new Error(`${name}: ${JSON.stringify(answer?.body)}`)
    const cell = (of: keyof typeof quiet, p: number) => {
      const [before, then] = [percentile(quiet[of], p), percentile(during[of], p)]
      return `${before.toFixed(1)} ${then.toFixed(1)} ${(then / before).toFixed(1)}`.padEnd(20)
    }
    const cells = [cell('read', 0.5), cell('use', 0.5), cell('sell', 0.5), cell('sell', 0.99)].join('')
    const few = during.sell.length < ENOUGH ? ` (only ${during.sell.length} of each)` : ''
    process.stdout.write(`${name.padEnd(44)}   ${cells}${((performance.now() - startedMs) / 1_000).toFixed(1)} s${few}\n`)
  }
} finally {
  await tollgate.close()
}
