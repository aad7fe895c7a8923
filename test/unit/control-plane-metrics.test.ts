import { EventEmitter } from 'node:events'
import test from 'ava'
import type Koa from 'koa'
import { systemClock } from '../../common/clock.ts'
import type { EntitlementSet } from '../../common/entitlements/model.ts'
import { AppError } from '../../common/errors.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { createLog } from '../../common/log.ts'
import { measuredFeed } from '../../control-plane/observe/feed-metrics.ts'
import { measureRequests } from '../../control-plane/observe/http-metrics.ts'
import { createControlPlaneMetrics } from '../../control-plane/observe/metrics.ts'
import { measurePayments } from '../../control-plane/observe/payment-metrics.ts'
import { measuredStorage } from '../../control-plane/observe/storage-metrics.ts'
import { measureWork } from '../../control-plane/observe/work-metrics.ts'
import { createCircuitBreakers } from '../../control-plane/payments/routing/circuit-breakers.ts'
import { countUnknownOutcomes } from '../../control-plane/payments/unknown-outcomes.ts'
import { watchPool } from '../../control-plane/storage/mongo/pool.ts'
import { createSqliteStorage } from '../../control-plane/storage/sqlite.ts'
import type { Storage } from '../../control-plane/storage/storage.ts'
import { readBacklog } from '../../control-plane/work/backlog.ts'

/** The samples of one metric, as lines without its name. */
const samplesOf = async (metrics: { text(): Promise<string> }, name: string): Promise<string[]> =>
  (await metrics.text()).split('\n').flatMap((line) => (line.startsWith(`${name}{`) || line.startsWith(`${name} `) ? [line.slice(name.length)] : []))

const nothing = { circuits: () => [], unknownOutcomes: async () => ({ count: 0, oldest: undefined }), nowMs: Date.now }
const live = (tenantId: string) => ({ tenantId, mode: 'live' as const })

test('attempts are counted by provider, and for 200 accounts by account; sandboxes apart', async (t) => {
  const metrics = createControlPlaneMetrics()
  const { observer, measured } = measurePayments(metrics.instruments, nothing)
  const psps = measured({ open: () => ({ unusable: 'a test' }) })
  psps.open(live('acme') as never, 'main', { _id: 'acme/main', provider: 'stripe' } as never)
  for (let times = 0; times < 2; times += 1) observer.attempted({ tenant: live('acme'), account: 'main' }, { status: 'declined', declineClass: 'funds' })
  observer.attempted({ tenant: { tenantId: 'try', mode: 'sandbox' }, account: 'main' }, { status: 'succeeded' })
  for (let n = 0; n < 300; n += 1) observer.attempted({ tenant: live(`t${n}`), account: 'main' }, { status: 'succeeded' })
  const byProvider = (await samplesOf(metrics, 'tollgate_payment_attempts_total')).filter((line) => !line.endsWith(' 0'))
  t.deepEqual(byProvider.toSorted(), [
    '{provider="sandbox",outcome="succeeded",decline_class=""} 1',
    '{provider="stripe",outcome="declined",decline_class="funds"} 2',
    '{provider="unknown",outcome="succeeded",decline_class=""} 300',
  ])
  const accounts = await samplesOf(metrics, 'tollgate_account_attempts_total')
  t.is(accounts.length, 201)
  t.true(accounts.includes('{tenant="acme",account="main",outcome="declined",decline_class="funds"} 2'))
  t.true(accounts.includes('{tenant="other",account="other",outcome="succeeded",decline_class=""} 101'))
  t.false(accounts.some((line) => line.includes('"try"')))
})

test('circuits are counted by state, and named when they are not closed', async (t) => {
  const metrics = createControlPlaneMetrics()
  const circuits = createCircuitBreakers({ failures: 1, openMs: 60_000 }, systemClock, createLog('silent'))
  measurePayments(metrics.instruments, { ...nothing, circuits: circuits.states })
  circuits.of('acme/fine')
  await circuits.of('acme/bad%20one').run(async () => ({ status: 'unknown', pspCode: 'timeout' }))
  t.deepEqual(await samplesOf(metrics, 'tollgate_circuits'), ['{state="closed"} 1', '{state="open"} 1', '{state="half_open"} 0'])
  t.deepEqual(await samplesOf(metrics, 'tollgate_account_circuit'), ['{tenant="acme",account="bad one",state="open"} 1'])
})

test('what is due is read from storage, and left out while storage cannot be read', async (t) => {
  const metrics = createControlPlaneMetrics()
  const clock = { ms: Date.parse('2024-03-15T12:00:00Z'), nowMs: () => clock.ms, now: () => new Date(clock.ms) }
  const storage = createSqliteStorage({ path: ':memory:', clock })
  let reads = 0
  let isAway = false
  const backlog = () => {
    reads += 1
    return isAway ? Promise.reject(new AppError('unavailable', 'away')) : readBacklog(storage, clock.now())
  }
  measureWork(metrics.instruments, { done: () => new Map([['payments', 3]]), failed: () => new Map([['payments', 1]]), backlog }, clock)
  for (const minute of [10, 50]) {
    const tenantId = `t${minute}`
    const repairAt = new Date(`2024-03-15T11:${minute}:00Z`)
    await storage.tenants.insert({ _id: tenantId, tenantId, name: 'T', mode: 'live', createdAt: clock.now(), repairAt })
  }
  t.true((await samplesOf(metrics, 'tollgate_work_due')).includes('{lane="repair tenants"} 2'))
  t.true((await samplesOf(metrics, 'tollgate_work_lag_seconds')).includes('{lane="repair tenants"} 3000'))
  t.true((await samplesOf(metrics, 'tollgate_work_lag_seconds')).includes('{lane="subscriptions"} 0'))
  t.deepEqual(await samplesOf(metrics, 'tollgate_work_total'), ['{lane="payments"} 3'])
  t.deepEqual(await samplesOf(metrics, 'tollgate_work_failed_total'), ['{lane="payments"} 1'])
  t.is(reads, 1)
  isAway = true
  clock.ms += 10_000
  t.deepEqual(await samplesOf(metrics, 'tollgate_work_due'), [])
  isAway = false
  clock.ms += 10_000
  t.is((await samplesOf(metrics, 'tollgate_work_due')).length, (await readBacklog(storage, clock.now())).length)
})

test('attempts with unknown outcomes are counted over pages, and no others', async (t) => {
  const now = new Date('2024-03-15T12:00:00Z')
  const all = Array.from({ length: 600 }, (_, n) => ({
    _id: `t/p${n}`,
    dueAt: new Date(now.getTime() + n),
    attempts: [{ status: n % 3 === 0 ? 'unknown' : 'requires_action', at: new Date(now.getTime() - n * 1_000) }],
  }))
  const payments = {
    due: async ({ limit, after }: { limit: number; after?: { id: string } }) => {
      const from = after ? all.findIndex(({ _id }) => _id === after.id) + 1 : 0
      return all.slice(from, from + limit)
    },
  }
  const counted = await countUnknownOutcomes({ payments } as unknown as Pick<Storage, 'payments'>, now)
  t.is(counted.count, 200)
  t.is(now.getTime() - (counted.oldest?.getTime() ?? 0), 597_000)
})

test('operations of storage are timed, failures to reach it are counted, and so are waits for its pool', async (t) => {
  const metrics = createControlPlaneMetrics()
  let waited = (_: number): void => {}
  const onWait = (listener: (waitedMs: number) => void) => {
    waited = listener
  }
  const pool = { waiting: () => 2, inUse: () => 7, onWait }
  const real = createSqliteStorage({ path: ':memory:', clock: systemClock })
  const tenants = { ...real.tenants, get: () => Promise.reject(new AppError('unavailable', 'away')) }
  const storage = measuredStorage({ ...real, tenants, pool }, metrics.instruments)
  t.is(await storage.tenants.find('none'), undefined)
  await t.throwsAsync(storage.tenants.get('t'), { message: 'away' })
  await t.throwsAsync(storage.customers.get('t/s/c'))
  await storage.ping()
  waited(30)
  t.deepEqual(await samplesOf(metrics, 'tollgate_storage_seconds_count'), ['{operation="find"} 1', '{operation="get"} 2'])
  t.deepEqual(await samplesOf(metrics, 'tollgate_storage_unavailable_total'), [' 1'])
  t.deepEqual(await samplesOf(metrics, 'tollgate_storage_pool_wait_seconds_sum'), [' 0.03'])
  t.deepEqual(await samplesOf(metrics, 'tollgate_storage_pool_waiting'), [' 2'])
  t.deepEqual(await samplesOf(metrics, 'tollgate_storage_pool_in_use'), [' 7'])
})

test("the driver's events say how many commands wait for a connection, and how long they have", (t) => {
  const driver = new EventEmitter()
  const pool = watchPool({ getClient: () => driver } as unknown as Parameters<typeof watchPool>[0])
  const waits: number[] = []
  pool.onWait((waitedMs) => waits.push(waitedMs))
  // A connection that was in use before.
  driver.emit('connectionCheckedIn')
  for (let n = 0; n < 3; n += 1) driver.emit('connectionCheckOutStarted')
  driver.emit('connectionCheckedOut', { durationMS: 4 })
  driver.emit('connectionCheckOutFailed', { durationMS: 5_000 })
  t.deepEqual([pool.waiting(), pool.inUse(), waits], [1, 1, [4, 5_000]])
  driver.emit('connectionCheckedIn')
  t.is(pool.inUse(), 0)
})

test('sets that are put into the feed are counted by what came of it', async (t) => {
  const metrics = createControlPlaneMetrics()
  const inner = createInProcessFeed({ clock: systemClock, log: createLog('silent') })
  const feed = measuredFeed(inner, metrics.instruments)
  const set: EntitlementSet = { tenantId: 't', storefrontId: 's', customerId: 'c', revision: 1, sandbox: false, grants: [], usage: [] }
  await feed.putSet(set)
  t.is((await inner.getSet(set))?.revision, 1)
  await t.throwsAsync(feed.putSet({ ...set, customerId: 'c'.repeat(2_000_000) }))
  await feed.close()
  await t.throwsAsync(feed.putSet(set))
  t.deepEqual(await samplesOf(metrics, 'tollgate_feed_puts_total'), ['{outcome="put"} 1', '{outcome="unavailable"} 1', '{outcome="refused"} 1'])
  t.deepEqual(await samplesOf(metrics, 'tollgate_feed_put_seconds_count'), [' 3'])
})

test('requests are counted by route and never by path, and by methods that exist', async (t) => {
  const metrics = createControlPlaneMetrics()
  const measure = measureRequests(metrics.instruments)
  const request = (method: string, matched: string | undefined, status: number) =>
    measure({ method, status, ...(matched === undefined ? {} : { _matchedRoute: matched }) } as unknown as Koa.ParameterizedContext, async () => undefined)
  await request('GET', '/v1/storefronts/:storefront/customers/:customer', 200)
  await request('GET', '/v1/storefronts/:storefront/customers/:customer', 204)
  await request('BREW', undefined, 404)
  t.deepEqual(await samplesOf(metrics, 'tollgate_http_requests_total'), [
    '{method="GET",route="/v1/storefronts/{storefront}/customers/{customer}",status="2xx"} 2',
    '{method="other",route="none",status="4xx"} 1',
  ])
})
