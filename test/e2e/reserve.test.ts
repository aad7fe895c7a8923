/** Uses in two steps, and places that holders occupy, through the sidecar. */
import { setTimeout as sleep } from 'node:timers/promises'
import { status as Status } from '@grpc/grpc-js'
import test from 'ava'
import { Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { codeOf, type UseQuestion } from '../support/grpc-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'

const entitlements = [
  { key: 'calls', kind: 'quota', limit: 10, per: 'month' },
  { key: 'seats', kind: 'capacity', limit: 3 },
  { key: 'slots', kind: 'capacity', limit: 1 },
  { key: 'reports', kind: 'flag', enabled: true },
]

inWorlds(test, (story) => {
  const openCustomer = async ({ t, tollgate }: Pick<Parameters<Parameters<typeof story>[1]>[0], 't' | 'tollgate'>) => {
    const shop = await openShop(t, tollgate, { bundle: { entitlements } })
    const { body } = await shop.subscribe('c')
    const of = (entitlement: string): UseQuestion => ({
      tenantId: shop.tenantId,
      storefrontId: 'us-store',
      customerId: 'c',
      entitlement,
      minRevision: body.entitlementRevision,
    })
    const ledger = async (key: string) => (await shop.api.get(`/storefronts/us-store/customers/c/entitlements/${key}/ledger`)).body
    return { shop, of, ledger, subscriptionId: body.id }
  }

  story('what is reserved is nobody else’s, and is counted as it is committed', async ({ t, tollgate, grpc }) => {
    const { of, ledger } = await openCustomer({ t, tollgate })
    const first = await grpc.reserve({ ...of('calls'), amount: 6 })
    t.like(first, { decision: { allowed: true } })
    t.not(first.reservationId, '')
    t.true(first.expiresAt && Math.abs(first.expiresAt.getTime() - Date.now() - 60_000) < 10_000)
    t.like(await grpc.consume({ ...of('calls'), amount: 5 }), { counted: false, decision: { reason: Reason.REASON_LIMIT_EXCEEDED } })
    t.like(await grpc.reserve({ ...of('calls'), amount: 5 }), { reservationId: '', decision: { allowed: false, reason: Reason.REASON_LIMIT_EXCEEDED } })
    t.like(await grpc.commit(first.reservationId, 2), { used: 2n, overLimit: false })
    t.like(await grpc.commit(first.reservationId, 2), { used: 2n, overLimit: false }, 'a repeat is one commit')
    t.is((await codeOf(grpc.commit(first.reservationId, 3))).code, Status.INVALID_ARGUMENT)
    t.is((await codeOf(grpc.release(first.reservationId))).code, Status.INVALID_ARGUMENT)
    t.like(await grpc.check(of('calls')), { used: 2n })
    t.like(await grpc.consume({ ...of('calls'), amount: 8 }), { counted: true, decision: { used: 10n } })
    await eventually(async () => (await ledger('calls')).used === 10)
    t.pass()
  })

  story('a reservation is given back when it is released, and by itself when nobody does', async ({ t, tollgate, grpc }) => {
    const { of } = await openCustomer({ t, tollgate })
    const one = await grpc.reserve({ ...of('calls'), amount: 10 })
    await grpc.release(one.reservationId)
    await grpc.release(one.reservationId)
    t.is((await codeOf(grpc.commit(one.reservationId))).code, Status.NOT_FOUND)
    t.like(await grpc.reserve({ ...of('calls'), amount: 10, ttlMs: 2_000 }), { decision: { allowed: true } })
    t.like(await grpc.consume(of('calls')), { counted: false })
    await eventually(async () => (await grpc.consume({ ...of('calls'), amount: 10 })).counted)
    t.is((await codeOf(grpc.commit('none'))).code, Status.NOT_FOUND)
    t.is((await codeOf(grpc.reserve({ ...of('calls'), ttlMs: 3_600_001 }))).code, Status.INVALID_ARGUMENT)
    t.is((await codeOf(grpc.reserve({ ...of('reports') }))).code, Status.INVALID_ARGUMENT)
  })

  story('what went beyond its reservation, or is committed too late, has happened, and is counted', async ({ t, tollgate, grpc }) => {
    const { shop, of, ledger } = await openCustomer({ t, tollgate })
    const one = await grpc.reserve({ ...of('calls'), amount: 4 })
    t.like(await grpc.commit(one.reservationId, 7), { used: 7n, overLimit: false })
    const late = await grpc.reserve({ ...of('calls'), amount: 3, ttlMs: 100 })
    await sleep(400)
    t.like(await grpc.commit(late.reservationId), { used: 3n, overLimit: false })
    await eventually(async () => (await ledger('calls')).used === 10)
    t.like(await grpc.reserve(of('calls')), { decision: { allowed: false } })
    await eventually(async () => (await ledger('calls')).outstanding === 0)
    const report = await shop.api.post('/usage', { storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', amount: -1 })
    t.is(report.status, 201)
    const last = await grpc.reserve(of('calls'))
    t.like(await grpc.commit(last.reservationId, 5), { used: 5n, overLimit: true })
    t.like(await grpc.consume(of('calls')), { counted: false })
    await eventually(async () => (await ledger('calls')).used === 14)
  })

  story('a repeat under one key is one reservation', async ({ t, tollgate, grpc }) => {
    const { of } = await openCustomer({ t, tollgate })
    const use = { ...of('calls'), amount: 5, idempotencyKey: 'r-1' }
    const [one, two] = await Promise.all([grpc.reserve(use), grpc.reserve(use)])
    t.is(one.reservationId, two.reservationId)
    t.is((await grpc.reserve(use)).reservationId, one.reservationId)
    t.is((await codeOf(grpc.reserve({ ...use, amount: 4 }))).code, Status.INVALID_ARGUMENT)
    t.like(await grpc.consume({ ...of('calls'), amount: 5 }), { counted: true })
    t.like(await grpc.consume(of('calls')), { counted: false })
  })

  story('holders occupy places: nobody twice, and nobody beyond the limit', async ({ t, tollgate, grpc }) => {
    const { shop, of, ledger } = await openCustomer({ t, tollgate })
    const seat = (holder: string) => ({ ...of('seats'), holder })
    t.like(await grpc.consume(seat('ann')), { counted: true, overLimit: false, decision: { allowed: true, limit: 3n, used: 1n, remaining: 2n } })
    t.like(await grpc.consume(seat('ann')), { counted: false, decision: { allowed: true, used: 1n } })
    t.is((await codeOf(grpc.consume({ ...seat('ann'), amount: 2 }))).code, Status.INVALID_ARGUMENT)
    const all = await Promise.all(['ben', 'cem', 'dan', 'eva'].map((name) => grpc.consume(seat(name))))
    t.is(all.filter(({ counted }) => counted).length, 2)
    t.like(await grpc.consume(of('seats')), { counted: false, decision: { reason: Reason.REASON_LIMIT_EXCEEDED, used: 3n } })
    const { holders, used } = await ledger('seats')
    t.is(used, 3)
    t.is(holders.length, 3)
    t.like(holders[0], { holder: 'ann', amount: 1 })
    t.like(await shop.api.post('/usage', { storefrontId: 'us-store', customerId: 'c', entitlement: 'seats', used: 1 }), { status: 400 })
    t.like(await grpc.giveBack(seat('ann')), { used: 2n })
    t.like(await grpc.giveBack(seat('ann')), { used: 2n }, 'giving back twice is once')
    t.like(await grpc.consume(seat('fay')), { counted: true, decision: { used: 3n } })
    const released = await shop.api.post('/storefronts/us-store/customers/c/entitlements/seats/release', { holder: 'fay', reason: 'her laptop is lost' })
    t.like(released, { status: 200, body: { used: 2, limit: 3 } })
    t.like(await grpc.consume(seat('gus')), { counted: true, decision: { used: 3n } })
    await eventually(async () => (await grpc.check(of('seats'))).used === 3n)
    t.is((await codeOf(grpc.consume({ ...of('calls'), holder: 'ann' }))).code, Status.INVALID_ARGUMENT)
  })

  story('one key of several uses is a repeat only of the same use', async ({ t, tollgate, grpc }) => {
    const { of, ledger } = await openCustomer({ t, tollgate })
    const key = { idempotencyKey: 'k' }
    t.like(await grpc.consume({ ...of('seats'), ...key }), { counted: true })
    t.like(await grpc.consume({ ...of('slots'), ...key }), { counted: true, decision: { used: 1n, limit: 1n } })
    t.like(await grpc.consume(of('slots')), { counted: false, decision: { allowed: false } })
    t.is((await grpc.reserve({ ...of('slots'), ...key })).decision?.allowed, false)
    t.is((await grpc.giveBack({ ...of('seats'), ...key })).used, 0n)
    t.is((await grpc.giveBack({ ...of('slots'), ...key })).used, 0n)
    t.like([await ledger('seats'), await ledger('slots')], [{ used: 0 }, { used: 0 }])
  })

  story('a holder that is not renewed ends by itself', async ({ t, tollgate, grpc }) => {
    const { shop, of, ledger } = await openCustomer({ t, tollgate })
    const seat = (holder: string, ttlMs?: number) => ({ ...of('seats'), holder, ...(ttlMs ? { ttlMs } : {}) })
    t.like(await grpc.consume(seat('ann', 1_500)), { counted: true })
    t.like(await grpc.consume(seat('ben', 600_000)), { counted: true })
    t.like(await grpc.consume(seat('cem')), { counted: true })
    t.like(await grpc.consume(seat('dan')), { counted: false })
    const { holders } = await ledger('seats')
    t.like(holders, [{ holder: 'ann', expiresAt: '2024-03-15T00:00:01.500Z' }, { holder: 'ben' }, { holder: 'cem', expiresAt: null }])
    await shop.setClock('2024-03-15T00:00:01Z')
    t.like(await grpc.consume(seat('ann', 1_500)), { counted: false, decision: { allowed: true } }, 'it is renewed')
    await shop.setClock('2024-03-15T00:00:02Z')
    t.like(await grpc.consume(seat('dan')), { counted: false })
    await shop.setClock('2024-03-15T00:00:03Z')
    t.like(await grpc.consume(seat('dan')), { counted: true })
    t.deepEqual(
      (await ledger('seats')).holders.map(({ holder }: { holder: string }) => holder),
      ['ben', 'cem', 'dan'],
    )
    t.is((await codeOf(grpc.consume({ ...of('seats'), ttlMs: 1_000 }))).code, Status.INVALID_ARGUMENT)
  })

  story('places are reserved, and committed or released', async ({ t, tollgate, grpc }) => {
    const { of, ledger } = await openCustomer({ t, tollgate })
    const held = await grpc.reserve({ ...of('seats'), holder: 'ann' })
    const some = await grpc.reserve({ ...of('seats'), amount: 2 })
    t.like(await grpc.consume({ ...of('seats'), holder: 'ben' }), { counted: false })
    await grpc.release(some.reservationId)
    t.like(await grpc.commit(held.reservationId), { used: 1n, overLimit: false })
    t.like((await ledger('seats')).holders, [{ holder: 'ann', amount: 1, expiresAt: null }])
    t.like(await grpc.consume({ ...of('seats'), holder: 'ann' }), { counted: false, decision: { allowed: true } })
    const more = await grpc.reserve({ ...of('seats'), amount: 2 })
    t.like(await grpc.commit(more.reservationId, 3), { used: 3n, overLimit: true })
    t.like(await ledger('seats'), { used: 4, free: 0 })
    t.like(await grpc.giveBack({ ...of('seats'), amount: 3 }), { used: 1n })
  })

  story('a smaller plan leaves holders where they are, refuses new ones, and says so', async ({ t, tollgate, grpc }) => {
    const { shop, of, subscriptionId } = await openCustomer({ t, tollgate })
    for (const holder of ['ann', 'ben', 'cem']) t.true((await grpc.consume({ ...of('seats'), holder })).counted)
    const small = { name: 'Small', pricing: { amount: 900, currency: 'USD', interval: 'month' }, entitlements: [{ key: 'seats', kind: 'capacity', limit: 2 }] }
    await shop.api.post('/bundles', { id: 'small', storefrontId: 'us-store', ...small })
    const changed = await shop.api.post(`/subscriptions/${subscriptionId}/change`, { bundleId: 'small', at: 'now' })
    t.is(changed.status, 200, JSON.stringify(changed.body))
    const minRevision = changed.body.entitlementRevision
    t.like(await grpc.consume({ ...of('seats'), minRevision, holder: 'ben' }), {
      counted: false,
      overLimit: true,
      decision: { allowed: true, used: 3n, limit: 2n },
    })
    t.like(await grpc.consume({ ...of('seats'), minRevision, holder: 'dan' }), { counted: false, decision: { allowed: false } })
    await grpc.giveBack({ ...of('seats'), holder: 'ann' })
    t.like(await grpc.consume({ ...of('seats'), minRevision, holder: 'dan' }), { counted: false, decision: { allowed: false } })
    await grpc.giveBack({ ...of('seats'), holder: 'ben' })
    t.like(await grpc.consume({ ...of('seats'), minRevision, holder: 'dan' }), { counted: true, overLimit: false })
  })
})
