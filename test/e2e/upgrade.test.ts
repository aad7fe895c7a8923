/**
 * The version before this one and this one on the same data, under load: first the one alone, then both, then the
 * other alone, in both directions. An upgrade and a way back that no customer notices.
 *
 *   UPGRADE_CUSTOMERS=200 UPGRADE_SEED=1 npx ava test/e2e/upgrade.test.ts
 */
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { type GrpcClient, grpcClient } from '../support/grpc-client.ts'
import { type HttpClient, httpClient } from '../support/http-client.ts'
import { ledgerOf } from '../support/ledger.ts'
import { bundleDocument } from '../support/platform-model.ts'
import { checkOutPreviousVersion, previousVersionMissing } from '../support/previous-version.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { openShop, type Shop } from '../support/shop.ts'
import { runCommand, startProcess, type Tollgate, type World, worlds } from '../support/tollgate.ts'

const CUSTOMERS = Number(process.env.UPGRADE_CUSTOMERS ?? 24)
const SEED = Number(process.env.UPGRADE_SEED ?? Date.now() % 100_000)
const CALLERS = 4
const AT = { storefrontId: 'us-store', entitlement: 'analytics_dashboard' }
const tokens = ['pm_ok', 'pm_ok', 'pm_refused_at_stripe', 'pm_decline_funds']

/** What one customer does, each step at whichever control plane comes next; after each, every sidecar says the same. */
const live = async (t: ExecutionContext, shop: Shop, customerId: string, random: () => number, next: () => HttpClient, sidecars: GrpcClient[]) => {
  const isAllowed = async (minRevision: number) => {
    const answers = await Promise.all(sidecars.map((sidecar) => sidecar.check({ ...AT, tenantId: shop.tenantId, customerId, minRevision })))
    t.is(new Set(answers.map(({ allowed }) => allowed)).size, 1, `${customerId}: ${JSON.stringify(answers.map(({ reason }) => reason))}`)
    return answers[0]?.allowed
  }
  const done = async (call: ReturnType<HttpClient['post']>, ...statuses: number[]) => {
    const answer = await call
    t.true(statuses.includes(answer.status), `${customerId}: ${answer.status} ${JSON.stringify(answer.body)}`)
    return answer.body
  }
  const token = tokens[Math.floor(random() * tokens.length)]
  const made = await done(next().post('/subscriptions', { customerId, bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod: token }), 201)
  t.is(await isAllowed(made.entitlementRevision), made.status === 'active')
  if (made.status !== 'active') return
  await done(next().post('/usage', { storefrontId: 'us-store', customerId, entitlement: 'api_limit', amount: 3 }), 201)
  await done(next().patch(`/storefronts/us-store/customers/${customerId}`, { name: 'A. Customer', email: `${customerId}@example.com` }), 200)
  const paused = await done(next().post(`/subscriptions/${made.id}/pause`), 200)
  t.false(await isAllowed(paused.entitlementRevision))
  const resumed = await done(next().post(`/subscriptions/${made.id}/resume`), 200)
  t.true(await isAllowed(resumed.entitlementRevision))
  if (random() < 0.5) await done(next().post(`/subscriptions/${made.id}/change`, { bundleId: 'max-plan', at: 'now' }), 200)
  if (random() < 0.3) {
    const canceled = await done(next().post(`/subscriptions/${made.id}/cancel`, { at: 'now' }), 200)
    t.false(await isAllowed(canceled.entitlementRevision))
  }
}

const liveAll = async (t: ExecutionContext, shop: Shop, prefix: string, next: () => HttpClient, sidecars: GrpcClient[]) => {
  const random = seededRandom(SEED)
  const waiting = Array.from({ length: CUSTOMERS }, (_, n) => `${prefix}-${n}`)
  const work = async () => {
    for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) await live(t, shop, id, random, next, sidecars)
  }
  await Promise.all(Array.from({ length: CALLERS }, work))
}

const turns = (...clients: HttpClient[]) => {
  let n = 0
  return () => clients[n++ % clients.length] as HttpClient
}

/** Every payment that was made was charged once, and what was charged twice or for nothing went back. */
const compareBooks = async (t: ExecutionContext, tollgate: Tollgate, shop: Shop, api: HttpClient) => {
  const { charges } = await ledgerOf(tollgate, shop.tenantId)
  let payments = 0
  let cursor: string | undefined
  do {
    const { body } = await api.get(`/payments?limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`)
    for (const { id, status } of body.data as { id: string; status: string }[]) {
      payments += 1
      const taken = charges.filter((charge) => charge.reference.startsWith(id) && charge.status === 'succeeded').length
      t.is(taken, ['succeeded', 'refunded', 'partially_refunded'].includes(status) ? 1 : 0, `${id}: ${status}, charged ${taken} times`)
    }
    cursor = body.nextCursor
  } while (cursor)
  return payments
}

/** What this version gives by hand, a sidecar of the one before gives, too; what it denies is refused there, whatever its kind. */
const giveByHand = async (t: ExecutionContext, shop: Shop, api: HttpClient, before: GrpcClient, now: GrpcClient) => {
  const customerId = 'by-hand'
  t.is((await api.post('/subscriptions', { customerId, bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod: 'pm_ok' })).status, 201)
  const give = async (entitlements: object[], mode: string) => {
    const { status, body } = await api.post(`/storefronts/us-store/customers/${customerId}/grants`, { entitlements, mode, reason: 'a test' })
    t.is(status, 201, JSON.stringify(body))
    const ask = (sidecar: GrpcClient, entitlement: string) =>
      sidecar.check({ tenantId: shop.tenantId, storefrontId: 'us-store', customerId, entitlement, minRevision: body.entitlementRevision })
    return (entitlement: string) => Promise.all([before, now].map((sidecar) => ask(sidecar, entitlement)))
  }
  const entitlements = [
    { kind: 'flag', key: 'sso' },
    { kind: 'value', key: 'support', value: 'gold' },
    { kind: 'capacity', key: 'seats', limit: 5 },
    { kind: 'quota', key: 'api_limit', limit: 500, per: 'month' },
  ]
  const given = await give(entitlements, 'add')
  for (const { key } of entitlements) for (const { allowed, stale } of await given(key)) t.deepEqual([allowed, stale], [true, false], key)
  t.deepEqual(
    (await given('api_limit')).map(({ limit }) => limit),
    [10_500n, 10_500n],
  )
  const denied = await give(entitlements, 'deny')
  for (const { key } of entitlements)
    t.deepEqual(
      (await denied(key)).map(({ allowed, stale, reason }) => [allowed, stale, reason]),
      [
        [false, false, Reason.REASON_LIMIT_EXCEEDED],
        [false, false, Reason.REASON_BLOCKED],
      ],
      key,
    )
}

const upgrade = async (t: ExecutionContext, world: World, first: string | undefined, second: string | undefined) => {
  t.log(`UPGRADE_SEED=${SEED}`)
  const tollgate = await world.start({}, first)
  t.teardown(tollgate.close)
  // The first version serves alone. Its answers are not this version's to describe.
  const shop = await openShop(t, tollgate, { unchecked: true })
  const one = httpClient(tollgate.http, { key: shop.apiKey, unchecked: true })
  const oneSidecar = grpcClient(tollgate.grpc)
  t.teardown(oneSidecar.close)
  t.is((await one.post('/bundles', { ...bundleDocument, id: 'max-plan', pricing: { ...bundleDocument.pricing, amount: 4900 } })).status, 201)
  await liveAll(t, shop, 'alone', turns(one), [oneSidecar])

  // Then both do.
  if (second === undefined && world.name.includes('MongoDB')) await runCommand('control-plane/migrate.ts', [], tollgate.env)
  const env = { ...tollgate.env, HTTP_PORT: '0' }
  const snapshot = join(tollgate.env.DATA_DIR ?? '', 'snapshot')
  const startSidecar = async (from: string | undefined, change: Record<string, string>) => {
    const port = String(await freePort())
    const process = await startProcess('sidecar/main.ts', { ...env, GRPC_PORT: port, SIDECAR_HTTP_PORT: '0', SNAPSHOT_FILE: snapshot, ...change }, from)
    const client = grpcClient(`127.0.0.1:${port}`)
    t.teardown(async () => {
      client.close()
      await process.stop('SIGKILL')
    })
    return { process, client }
  }
  const other = await startProcess('control-plane/main.ts', env, second)
  t.teardown(() => other.stop('SIGKILL'))
  const two = httpClient(other.ready.split(' ')[0] ?? '', { key: shop.apiKey, unchecked: true })
  const twoSidecar = await startSidecar(second, {})
  await liveAll(t, shop, 'both', turns(one, two), [oneSidecar, twoSidecar.client])
  if (second === undefined) await giveByHand(t, shop, two, oneSidecar, twoSidecar.client)
  // Renewals of what either has made, by the one and then by the other.
  t.is((await one.put('/test-clock', { now: '2024-04-16T00:00:00Z' })).status, 200)
  t.is((await two.put('/test-clock', { now: '2024-05-16T00:00:00Z' })).status, 200)

  // The first is killed in the middle of its work; what it leaves half-done, the second finishes.
  const half = liveAll(t, shop, 'cut', () => (Math.random() < 0.5 ? two : one), [twoSidecar.client]).catch(() => {})
  setTimeout(() => void tollgate.controlPlane.stop('SIGKILL'), 500)
  await half.catch(() => undefined)
  await liveAll(t, shop, 'after', turns(two), [oneSidecar, twoSidecar.client])
  t.is((await two.put('/test-clock', { now: '2024-06-16T00:00:00Z' })).status, 200)
  await eventually(async () => {
    t.true((await compareBooks(t, tollgate, shop, two)) >= CUSTOMERS)
    return true
  })

  // A snapshot of one version, read by the other while nothing else is there.
  const question = { ...AT, tenantId: shop.tenantId, customerId: 'after-0' }
  const before = await twoSidecar.client.check(question)
  await twoSidecar.process.stop('SIGTERM')
  const alone = await startSidecar(first, { NATS_URL: `nats://127.0.0.1:${await freePort()}` })
  t.like(await alone.client.check(question), { allowed: before.allowed, reason: before.reason })
}

for (const world of worlds.filter(({ name }) => name.includes('NATS'))) {
  const missing = world.missing ?? previousVersionMissing
  const run = missing === undefined ? test.serial : test.serial.skip
  for (const direction of ['up', 'back'] as const)
    run(
      `${world.name}: ${direction === 'up' ? 'an upgrade' : 'the way back'} under load, one process after the other${missing ? ` (${missing})` : ''}`,
      async (t) => {
        t.timeout(300_000)
        const previous = await checkOutPreviousVersion()
        t.teardown(previous.remove)
        await (direction === 'up' ? upgrade(t, world, previous.root, undefined) : upgrade(t, world, undefined, previous.root))
      },
    )
}
