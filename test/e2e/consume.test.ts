/** Uses that are decided and counted in one step, through the sidecar. CONSUME_LIMIT chooses how many there are where four sidecars count. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { Kind, Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { type GrpcClient, grpcClient } from '../support/grpc-client.ts'
import { httpClient } from '../support/http-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { openShop } from '../support/shop.ts'
import { startProcess, type World, worlds } from '../support/tollgate.ts'

const LIMIT = Number(process.env.CONSUME_LIMIT ?? 5_000)

const terms = (limit: number | null) => ({
  bundle: {
    entitlements: [
      { key: 'calls', kind: 'quota', limit, per: 'month' },
      { key: 'seats', kind: 'capacity', limit: 5 },
      { key: 'reports', kind: 'flag', enabled: true },
    ],
  },
})

inWorlds(test, (story) => {
  story('a use is counted, shown by checks at once, and refused beyond the limit', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate, terms(10))
    const { body } = await shop.subscribe('c')
    const use = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', minRevision: body.entitlementRevision }
    t.like(await grpc.consume({ ...use, amount: 4 }), {
      counted: true,
      overLimit: false,
      decision: { allowed: true, kind: Kind.KIND_QUOTA, limit: 10n, used: 4n, remaining: 6n },
    })
    t.like(await grpc.check(use), { allowed: true, used: 4n, remaining: 6n })
    const shown = async () => (await shop.api.get('/storefronts/us-store/customers/c/entitlements')).body.entitlements
    await eventually(async () => (await shown()).find(({ key }: { key: string }) => key === 'calls').used === 4)
    t.like(await grpc.consume({ ...use, amount: 7 }), { counted: false, decision: { allowed: false, reason: Reason.REASON_LIMIT_EXCEEDED, used: 4n } })
    t.like(await grpc.consume({ ...use, amount: 6 }), { counted: true, decision: { used: 10n, remaining: 0n } })
    t.like(await grpc.consume(use), { counted: false, decision: { allowed: false, reason: Reason.REASON_LIMIT_EXCEEDED, used: 10n, remaining: 0n } })
    t.like(await grpc.check(use), { allowed: false, reason: Reason.REASON_LIMIT_EXCEEDED, used: 10n })
    const report = (amount: number) => shop.api.post('/usage', { storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', amount })
    await eventually(async () => (await report(0)).body.used === 10)
    t.like((await report(2)).body, { used: 12, limit: 10, remaining: 0 }, 'what is reported is a fact')
    await eventually(async () => (await grpc.check(use)).used === 12n)
  })

  story('a new period begins with nothing used', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate, terms(3))
    const { body } = await shop.subscribe('c')
    const use = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', minRevision: body.entitlementRevision }
    t.like(await grpc.consume({ ...use, amount: 3 }), { counted: true })
    t.like(await grpc.consume(use), { counted: false })
    await shop.setClock('2024-04-15T00:00:00Z')
    await eventually(async () => (await grpc.check(use)).resetsAt?.toISOString() === '2024-05-15T00:00:00.000Z')
    t.like(await grpc.check(use), { allowed: true, used: 0n })
    t.like(await grpc.consume({ ...use, amount: 3 }), { counted: true, decision: { used: 3n } })
    t.like(await grpc.consume(use), { counted: false })
  })

  story('a change of the limit holds for the next use', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate, terms(100))
    await shop.api.post('/bundles', { id: 'small', storefrontId: 'us-store', ...smaller(10) })
    const first = (await shop.subscribe('c')).body
    const use = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'calls' }
    for (let n = 0; n < 5; n += 1) t.true((await grpc.consume({ ...use, minRevision: first.entitlementRevision })).counted)
    const changed = await shop.api.post(`/subscriptions/${first.id}/change`, { bundleId: 'small', at: 'now' })
    t.is(changed.status, 200, JSON.stringify(changed.body))
    const minRevision = changed.body.entitlementRevision
    const counted = await Promise.all(Array.from({ length: 20 }, async () => (await grpc.consume({ ...use, minRevision })).counted))
    t.is(counted.filter(Boolean).length, 5)
  })

  story('what is unlimited is counted, too', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate, terms(null))
    const { body } = await shop.subscribe('c')
    const use = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', minRevision: body.entitlementRevision }
    await Promise.all(Array.from({ length: 50 }, () => grpc.consume({ ...use, amount: 2 })))
    t.like(await grpc.consume(use), { counted: true, decision: { unlimited: true, used: 101n } })
    const report = { storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', amount: 0 }
    await eventually(async () => (await shop.api.post('/usage', report)).body.used === 101)
    t.pass()
  })

  story('a repeat under its key is counted once, and a denial is not kept', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate, terms(3))
    const { body } = await shop.subscribe('c')
    const use = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', minRevision: body.entitlementRevision }
    const both = await Promise.all([1, 2, 3].map(() => grpc.consume({ ...use, amount: 2, idempotencyKey: 'k' })))
    t.true(both.every(({ counted }) => counted))
    t.like(await grpc.check(use), { used: 2n })
    await t.throwsAsync(grpc.consume({ ...use, amount: 1, idempotencyKey: 'k' }), { message: /INVALID_ARGUMENT: idempotency_key: .*the amount 2/ })
    t.false((await grpc.consume({ ...use, amount: 2, idempotencyKey: 'later' })).counted)
    await shop.api.post('/usage', { storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', amount: -2 })
    await eventually(async () => (await grpc.consume({ ...use, amount: 2, idempotencyKey: 'later' })).counted)
    t.pass()
  })

  story('the ledger tells what is lent, and a correction holds for the next use', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate, terms(100))
    const { body } = await shop.subscribe('c')
    const use = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', minRevision: body.entitlementRevision }
    const ledger = async () => (await shop.api.get('/storefronts/us-store/customers/c/entitlements/calls/ledger')).body
    t.like(await ledger(), { kind: 'quota', limit: 100, used: 0, outstanding: 0, free: 100, leases: [] })
    t.like((await ledger()).windows, [{ start: '2024-03-15T00:00:00.000Z', end: '2024-04-15T00:00:00.000Z', limit: 100, counted: 0 }])
    for (let n = 0; n < 10; n += 1) await grpc.consume({ ...use, amount: 3 })
    await eventually(async () => (await ledger()).used === 30)
    const { used, outstanding, free, leases } = await ledger()
    t.is(used + outstanding + free, 100)
    t.is(leases.length, 1)
    const corrected = await shop.api.put('/storefronts/us-store/customers/c/entitlements/calls/used', { used: 98, reason: 'counted elsewhere' })
    t.like(corrected, { status: 200, body: { used: 98, limit: 100, remaining: 2 } })
    const minRevision = corrected.body.entitlementRevision
    t.false((await grpc.consume({ ...use, minRevision, amount: 3 })).counted)
    t.like(await grpc.consume({ ...use, minRevision, amount: 2 }), { counted: true, decision: { used: 100n, remaining: 0n } })
    t.like(await grpc.check({ ...use, minRevision }), { allowed: false, used: 100n })
    await eventually(async () => (await ledger()).used === 100)
    const entry = (await shop.api.get('/audit-log')).body.data.find(({ action }: { action: string }) => action.includes('used'))
    t.is(entry?.reason, 'counted elsewhere', JSON.stringify(entry))
    const seats = (await shop.api.get('/storefronts/us-store/customers/c/entitlements/seats/ledger')).body
    t.like(seats, { kind: 'capacity', limit: 5, used: 0, free: 5 })
  })

  story('a live customer’s uses are counted where units are lent, in the same words as those that wait', async ({ t, tollgate, grpc }) => {
    const tenantId = `live-${randomUUID()}`
    const { body: tenant } = await httpClient(tollgate.http).post('/tenants', { id: tenantId, name: 'Live', mode: 'live' })
    const api = httpClient(tollgate.http, { key: tenant.apiKey })
    t.is((await api.post('/storefronts', { id: 'us-store', currency: 'USD' })).status, 201)
    t.is((await api.post('/customers', { id: 'c', storefrontId: 'us-store' })).status, 201)
    const entitlements = [
      { key: 'calls', kind: 'quota', limit: 300, per: 'month' },
      { key: 'seats', kind: 'capacity', limit: 5 },
    ]
    const { body } = await api.post('/storefronts/us-store/customers/c/grants', { entitlements, reason: 'a test' })
    const use = { tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', minRevision: body.entitlementRevision }
    const answers = await Promise.all(Array.from({ length: 290 }, () => grpc.consume(use)))
    t.true(answers.every(({ counted, overLimit, decision }) => counted && !overLimit && decision?.allowed && decision.limit === 300n))
    const seen = answers.map(({ decision }) => Number(decision?.used)).sort((a, b) => a - b)
    t.is(seen.at(-1), 290)
    const one = await grpc.consume(use)
    t.like(one, { counted: true, overLimit: false, decision: { reason: Reason.REASON_GRANTED, kind: Kind.KIND_QUOTA, used: 291n, remaining: 9n } })
    t.truthy(one.decision?.resetsAt)
    t.like(await grpc.consume({ ...use, amount: 9 }), { counted: true, decision: { allowed: true, used: 300n, remaining: 0n } })
    t.like(await grpc.consume(use), { counted: false, decision: { allowed: false, used: 300n } })
    t.like(await grpc.consume({ ...use, entitlement: 'seats' }), { counted: true, decision: { kind: Kind.KIND_CAPACITY, used: 1n } })
    const ledger = async () => (await api.get('/storefronts/us-store/customers/c/entitlements/calls/ledger')).body
    await eventually(async () => (await ledger()).used === 300)
  })

  story('what cannot be counted is refused, and says what to do; nothing is an error that is a denial', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate, terms(3))
    const { body } = await shop.subscribe('c')
    const of = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', minRevision: body.entitlementRevision }
    await t.throwsAsync(grpc.consume({ ...of, entitlement: 'reports' }), { message: /INVALID_ARGUMENT: entitlement: reports is a flag/ })
    t.like(await grpc.consume({ ...of, entitlement: 'other' }), { counted: false, decision: { reason: Reason.REASON_NOT_GRANTED } })
    t.like(await grpc.consume({ ...of, minRevision: 0, customerId: 'nobody', entitlement: 'calls' }), {
      counted: false,
      decision: { reason: Reason.REASON_CUSTOMER_UNKNOWN },
    })
    await shop.api.post(`/subscriptions/${body.id}/cancel`, { at: 'now' })
    await eventually(async () => !(await grpc.consume({ ...of, entitlement: 'calls' })).counted)
  })
})

const smaller = (limit: number) => ({
  name: 'Small',
  pricing: { amount: 900, currency: 'USD', interval: 'month' },
  entitlements: [{ key: 'calls', kind: 'quota', limit, per: 'month' }],
})

const why = ({ missing }: World): string => (missing === undefined ? '' : ` (${missing})`)

for (const world of worlds.filter(({ name }) => name.includes('NATS'))) {
  const run = world.missing === undefined ? test : test.skip
  run(`${world.name}: four sidecars, two control planes and 64 callers count exactly up to the limit${why(world)}`, async (t) => {
    t.timeout(180_000 + LIMIT * 10)
    const tollgate = await world.start()
    t.teardown(tollgate.close)
    const more = await Promise.all([1, 2, 3].map(() => startProcess('sidecar/main.ts', { ...tollgate.env, GRPC_PORT: '0', SIDECAR_HTTP_PORT: '0' })))
    const second = await startProcess('control-plane/main.ts', { ...tollgate.env, HTTP_PORT: '0' })
    t.teardown(() => Promise.all([second, ...more].map((one) => one.stop('SIGKILL'))))
    const clients = [tollgate.grpc, ...more.map(({ ready }) => addressIn(ready))].map((address) => grpcClient(address))
    t.teardown(() => {
      for (const client of clients) client.close()
    })
    const shop = await openShop(t, tollgate, terms(LIMIT))
    const { body } = await shop.subscribe('c')
    const use = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', minRevision: body.entitlementRevision }
    let [counted, denied] = [0, 0]
    const call = async (n: number) => {
      for (let refused = 0; refused < 20; ) {
        const client = clients[n % clients.length] as (typeof clients)[number]
        const answer = await client.consume(use, 30_000)
        if (answer.counted) counted += 1
        else {
          t.is(answer.decision?.reason, Reason.REASON_LIMIT_EXCEEDED)
          refused += 1
          denied += 1
        }
      }
    }
    await Promise.all(Array.from({ length: 64 }, (_, n) => call(n)))
    t.is(counted, LIMIT)
    t.log(`${counted} counted, ${denied} denied`)
  })

  run(`${world.name}: what is used at one sidecar, or reported, shows at the others, and is no new revision${why(world)}`, async (t) => {
    t.timeout(120_000)
    const tollgate = await world.start()
    t.teardown(tollgate.close)
    const startSidecar = () => startProcess('sidecar/main.ts', { ...tollgate.env, GRPC_PORT: '0', SIDECAR_HTTP_PORT: '0' })
    const others = [await startSidecar()]
    t.teardown(() => Promise.all(others.map((one) => one.stop('SIGKILL'))))
    const [here, there] = [tollgate.grpc, addressIn(others[0]?.ready ?? '')].map((address) => grpcClient(address)) as [GrpcClient, GrpcClient]
    t.teardown(() => [here, there].map((client) => client.close()))
    const shop = await openShop(t, tollgate, terms(100))
    const { body } = await shop.subscribe('c')
    const revision = body.entitlementRevision
    const use = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', minRevision: revision }
    t.like(await there.check(use), { used: 0n, revision: BigInt(revision) })
    const watched: bigint[] = []
    const watch = there.raw.watchEntitlements({ ...use, minRevision: 0n })
    watch.on('error', () => {})
    watch.on('data', ({ entitlements }) => watched.push(entitlements.find(({ key }: { key: string }) => key === 'calls').decision.used))
    t.teardown(() => watch.cancel())
    for (let n = 0; n < 7; n += 1) t.true((await here.consume(use)).counted)
    await eventually(async () => (await there.check(use)).used === 7n)
    await eventually(() => watched.at(-1) === 7n)
    t.like(await there.consume({ ...use, amount: 3 }), { counted: true, decision: { used: 10n } })
    t.like(await there.check(use), { used: 10n })
    await eventually(async () => (await here.check(use)).used === 10n)

    const reported = await shop.api.post('/usage', { storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', amount: 90 })
    t.like(reported.body, { used: 100, remaining: 0, entitlementRevision: revision })
    for (const client of [here, there]) {
      await eventually(async () => !(await client.check(use)).allowed)
      t.like(await client.check(use), { allowed: false, used: 100n, revision: BigInt(revision) })
    }
    // Also one that asks for the first time, and one that has heard nothing while the control plane was away.
    const cold = await startSidecar()
    others.push(cold)
    const client = grpcClient(addressIn(cold.ready))
    t.teardown(() => client.close())
    t.like(await client.check(use), { allowed: false, used: 100n })
    const seats = { ...use, entitlement: 'seats' }
    for (const holder of ['ann', 'ben']) await here.consume({ ...seats, holder })
    await eventually(async () => (await client.check(seats)).used === 2n)
    t.is((await client.check(seats)).revision, BigInt(revision))
  })

  run(
    `${world.name}: sidecars and control planes are killed while customers use their quota: the limit holds, and every use is counted${why(world)}`,
    async (t) => {
      t.timeout(300_000)
      const tollgate = await world.start()
      t.teardown(tollgate.close)
      const shop = await openShop(t, tollgate, terms(4 * LIMIT))
      const { body } = await shop.subscribe('c')
      const use = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', minRevision: body.entitlementRevision }
      const startSidecar = () => startProcess('sidecar/main.ts', { ...tollgate.env, GRPC_PORT: '0', SIDECAR_HTTP_PORT: '0' })
      const startPlane = () => startProcess('control-plane/main.ts', { ...tollgate.env, HTTP_PORT: '0' })
      const sidecars = await Promise.all([startSidecar(), startSidecar(), startSidecar()])
      const planes = [await startPlane()]
      t.teardown(() => Promise.all([...sidecars, ...planes].map((one) => one.stop('SIGKILL'))))
      const clients = sidecars.map(({ ready }) => grpcClient(addressIn(ready)))
      const random = seededRandom(1)
      let [counted, denied, cutOff, kills] = [0, 0, 0, 0]
      let running = true
      const call = async (n: number) => {
        while (running) {
          const client = clients[n % clients.length] as (typeof clients)[number]
          const amount = 1 + (n % 3)
          const answer = await client.consume({ ...use, amount }, 10_000).catch(() => undefined)
          if (answer?.counted) counted += amount
          else if (answer) denied += 1
          else {
            cutOff += 1
            await sleep(50)
          }
        }
      }
      const calls = Array.from({ length: 24 }, (_, n) => call(n))
      for (let round = 0; round < 8; round += 1) {
        await sleep(1_000)
        kills += 1
        if (random() < 0.35) {
          await planes[0]?.stop('SIGKILL')
          planes[0] = await startPlane()
          continue
        }
        const n = Math.floor(random() * sidecars.length)
        await sidecars[n]?.stop('SIGKILL')
        clients[n]?.close()
        const next = await startSidecar()
        sidecars[n] = next
        clients[n] = grpcClient(addressIn(next.ready))
      }
      running = false
      await Promise.all(calls)
      for (const client of clients) client.close()
      // Those that are left tell what they have spent, and give back what they have not.
      await Promise.all(sidecars.map((one) => one.stop('SIGTERM')))
      await sleep(10_500)
      const report = { storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', amount: 0 }
      const { used } = (await shop.api.post('/usage', report)).body
      t.log(`${kills} kills: ${counted} counted, ${denied} denied, ${cutOff} cut off; ${used} used by the ledger`)
      t.true(counted > 0 && cutOff > 0)
      t.true(counted <= used, `${counted} were allowed, and ${used} are counted`)
      t.true(used <= 4 * LIMIT, `${used} of ${4 * LIMIT}`)
    },
  )
}

const addressIn = (ready: string): string => /grpc:\/\/(\S+)/.exec(ready)?.[1] ?? ready
