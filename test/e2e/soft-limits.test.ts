/** Limits that allow more, and warnings at shares of a limit: by every way on which something is counted. */
import test from 'ava'
import { Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'

const entitlements = [
  { key: 'calls', kind: 'quota', limit: 10, per: 'month', overage: 'allow', warnAt: [100, 50, 80] },
  { key: 'hard', kind: 'quota', limit: 10, per: 'month', overage: 'deny', warnAt: [80] },
  { key: 'seats', kind: 'capacity', limit: 2, overage: 'allow', warnAt: [100] },
]

interface Entry {
  type: string
  entitlement: string
  share: number
}

inWorlds(test, (story) => {
  const open = async ({ t, tollgate }: Pick<Parameters<Parameters<typeof story>[1]>[0], 't' | 'tollgate'>) => {
    const shop = await openShop(t, tollgate, { bundle: { entitlements } })
    const { body } = await shop.subscribe('c')
    const of = (entitlement: string) => ({
      ...{ tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement },
      minRevision: body.entitlementRevision,
    })
    const report = (entitlement: string, amount: number) => shop.api.post('/usage', { storefrontId: 'us-store', customerId: 'c', entitlement, amount })
    const told = async (key: string): Promise<string[]> => {
      const { data } = (await shop.api.get('/storefronts/us-store/customers/c/timeline')).body
      return data.filter((one: Entry) => one.entitlement === key).map(({ type, share }: Entry) => `${type} ${share}`)
    }
    return { shop, of, report, told }
  }

  story('a soft limit allows, counts and says so; a hard one refuses', async ({ t, tollgate, grpc }) => {
    const { shop, of } = await open({ t, tollgate })
    t.like(await grpc.consume({ ...of('calls'), amount: 8 }), { counted: true, overLimit: false, decision: { used: 8n, remaining: 2n } })
    t.like(await grpc.consume({ ...of('calls'), amount: 8 }), {
      counted: true,
      overLimit: true,
      decision: { allowed: true, used: 16n, remaining: 0n, limit: 10n },
    })
    t.like(await grpc.consume(of('calls')), { counted: true, overLimit: true, decision: { allowed: true, reason: Reason.REASON_GRANTED, used: 17n } })
    t.like(await grpc.check({ ...of('calls'), amount: 100 }), { allowed: true, used: 17n, limit: 10n, remaining: 0n })
    const kept = await grpc.reserve({ ...of('calls'), amount: 5 })
    t.like(await grpc.commit(kept.reservationId), { used: 5n, overLimit: true })
    await eventually(async () => (await shop.api.get('/storefronts/us-store/customers/c/entitlements/calls/ledger')).body.used === 22)
    t.like(await grpc.consume({ ...of('hard'), amount: 11 }), { counted: false, decision: { allowed: false } })
    for (const holder of ['ann', 'ben']) t.like(await grpc.consume({ ...of('seats'), holder }), { counted: true, overLimit: false })
    t.like(await grpc.consume({ ...of('seats'), holder: 'cem' }), { counted: true, overLimit: true, decision: { allowed: true, used: 3n, limit: 2n } })
  })

  story('a warning is given once per share and window, whichever way it is reached', async ({ t, tollgate, grpc }) => {
    const { shop, of, report, told } = await open({ t, tollgate })
    await report('calls', 4)
    t.deepEqual(await told('calls'), [])
    await report('calls', 1)
    t.deepEqual(await told('calls'), ['usage_threshold 50'])
    await report('calls', -2)
    await report('calls', 2)
    t.deepEqual(await told('calls'), ['usage_threshold 50'], 'once, however often it is crossed')
    t.true((await grpc.consume({ ...of('calls'), amount: 3 })).counted)
    await eventually(async () => (await told('calls')).length === 2)
    t.true((await grpc.consume({ ...of('calls'), amount: 5 })).counted)
    await eventually(async () => (await told('calls')).length === 4)
    t.deepEqual(await told('calls'), ['usage_threshold 50', 'usage_threshold 80', 'usage_threshold 100', 'usage_over_limit 100'])
    const put = await shop.api.put('/storefronts/us-store/customers/c/entitlements/hard/used', { used: 11, reason: 'counted elsewhere' })
    t.is(put.status, 200)
    t.deepEqual(await told('hard'), ['usage_threshold 80', 'usage_over_limit 100'])
    await shop.setClock('2024-04-15T00:00:00Z')
    await report('calls', 6)
    t.is((await told('calls')).at(-1), 'usage_threshold 50', 'a new window has warnings of its own')
    t.is((await told('calls')).length, 5)
  })

  story('a warning of a capacity is given again when it was left and is reached again', async ({ t, tollgate, grpc }) => {
    const { shop, of, told } = await open({ t, tollgate })
    for (const holder of ['ann', 'ben']) await grpc.consume({ ...of('seats'), holder })
    t.deepEqual(await told('seats'), ['usage_threshold 100'])
    await grpc.giveBack({ ...of('seats'), holder: 'ben' })
    await grpc.consume({ ...of('seats'), holder: 'cem' })
    await grpc.consume({ ...of('seats'), holder: 'dan' })
    t.deepEqual(await told('seats'), ['usage_threshold 100', 'usage_threshold 100', 'usage_over_limit 100'])
    for (const holder of ['ann', 'cem', 'dan']) await grpc.giveBack({ ...of('seats'), holder })
    for (const holder of ['eva', 'fay']) await grpc.consume({ ...of('seats'), holder, ttlMs: 1_000 })
    t.is((await told('seats')).length, 4)
    await shop.setClock('2024-03-15T00:01:00Z')
    for (const holder of ['gus', 'hal']) await grpc.consume({ ...of('seats'), holder })
    t.is((await told('seats')).length, 5, 'their time was over in between')
  })

  story('terms of limits are checked, kept, and shown', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, { bundle: { entitlements } })
    const shown = (await shop.api.get('/storefronts/us-store/bundles/pro-plan')).body.entitlements
    t.like(shown[0], { key: 'calls', overage: 'allow', warnAt: [50, 80, 100] })
    t.false('overage' in shown[1])
    const bad = async (entitlement: object) => {
      const { status, body } = await shop.api.post('/bundles', {
        ...{ id: 'bad', storefrontId: 'us-store', name: 'Bad', pricing: { amount: 1, currency: 'USD', interval: 'month' } },
        entitlements: [{ key: 'calls', kind: 'quota', limit: 1, per: 'month', ...entitlement }],
      })
      return [status, body.field]
    }
    t.deepEqual(await bad({ overage: 'maybe' }), [400, 'entitlements[0].overage'])
    t.deepEqual(await bad({ warnAt: [0] }), [400, 'entitlements[0].warnAt[0]'])
    t.deepEqual(await bad({ warnAt: [50, 50] }), [400, 'entitlements[0].warnAt'])
    t.deepEqual(await bad({ limit: null, overage: 'allow' }), [400, 'entitlements[0].overage'])
    t.deepEqual(await bad({ warnAt: Array.from({ length: 11 }, (_, n) => n + 1) }), [400, 'entitlements[0].warnAt'])
  })
})
