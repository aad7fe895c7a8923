/** What a quota allows belongs to time that is paid for: no pause, change or add-on makes more of it. */
import test from 'ava'
import { openBilling } from '../../support/billing.ts'
import { inWorlds } from '../../support/in-worlds.ts'

const calls = (limit: number, per: string) => [{ key: 'calls', kind: 'quota', limit, per }]
const access = [{ type: 'feature_flag', value: 'analytics_dashboard' }]
const monthly = { pricing: { amount: 3_100, currency: 'USD', interval: 'month' } }

inWorlds(test, (story) => {
  const open = async (world: Parameters<typeof openBilling>[0], options: Parameters<typeof openBilling>[1]) => {
    const billing = await openBilling(world, options)
    const report = async (body: object) => billing.shop.api.post('/usage', { storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', ...body })
    const held = async () => {
      const set = await billing.shop.api.get('/storefronts/us-store/customers/c/entitlements')
      return set.body.entitlements.find(({ key }: { key: string }) => key === 'calls')
    }
    return { ...billing, report, held }
  }

  story('pausing and resuming does not make a second allowance of one paid month', async (world) => {
    const { t, buy, clock, tell, report, held, kept } = await open(world, { bundle: { ...monthly, entitlements: [...access, ...calls(100, 'month')] } })
    const { id } = await buy()
    t.is((await report({ amount: 100 })).status, 201)
    for (const [pause, resume] of [
      ['2024-01-02', '2024-02-03'],
      ['2024-02-04', '2024-03-10'],
      ['2024-03-11', '2024-06-01'],
    ] as const) {
      await clock(pause)
      await tell(id, 'pause')
      await clock(resume)
      await tell(id, 'resume')
      t.like(await held(), { used: 100, remaining: 0, allowed: false })
    }
    t.is(await kept(), 3_100)
    // The month that was bought goes on until then, and with the next one comes the next allowance.
    const { resetsAt } = await held()
    await clock(resetsAt)
    t.like(await held(), { used: 0, remaining: 100 })
    t.is(await kept(), 6_200)
  })

  story('a change of the interval does not make a second allowance', async (world) => {
    const { t, buy, clock, tell, report, held } = await open(world, {
      bundle: { ...monthly, entitlements: [...access, ...calls(100, 'month')] },
      bundles: { yearly: { pricing: { amount: 36_600, currency: 'USD', interval: 'year' } } },
    })
    const { id } = await buy()
    await report({ amount: 100 })
    await clock('2024-01-15')
    await tell(id, 'change', { bundleId: 'yearly' })
    t.like(await held(), { used: 100, remaining: 0, resetsAt: '2024-02-01T00:00:00.000Z' })
    let allowances = 0
    for (const day of ['2024-02-01', '2024-02-15', '2024-03-01', '2024-03-15', '2024-04-01']) {
      await clock(day)
      const { remaining } = await held()
      if (remaining === 100) allowances += 1
      if (remaining > 0) await report({ amount: remaining })
    }
    t.is(allowances, 3, 'one for each month that began since')
  })

  story('quotas of different periods count each in its own, the one that ends first first', async (world) => {
    const { t, buy, clock, report, held, shop } = await open(world, {
      bundle: { ...monthly, entitlements: [...access, ...calls(1_000, 'month')] },
      bundles: { 'add-on': { entitlements: calls(10, 'day') } },
    })
    await buy()
    await buy({ bundleId: 'add-on' })
    t.like(await held(), { limit: 1_010, remaining: 1_010, resetsAt: '2024-01-02T00:00:00.000Z' })
    t.like((await report({ amount: 10 })).body, { used: 10, remaining: 1_000 })
    await clock('2024-01-02')
    t.like(await held(), { used: 0, remaining: 1_010 }, 'the ten were of the day that is over')
    t.like((await report({ amount: 1_010 })).body, { used: 1_010, remaining: 0 })
    await clock('2024-01-03')
    t.like(await held(), { remaining: 10 }, 'a day brings ten, not a thousand and ten')
    t.like((await report({ amount: -1_000 })).body, { used: 0, remaining: 1_010 })
    t.is((await report({ amount: -1 })).status, 400)
    const { api, tenantId } = shop
    t.is((await api.get('/storefronts/us-store/customers/c/entitlements')).status, 200)
    t.like(await world.grpc.check({ tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'calls' }), { allowed: true })
  })

  story('use is reported, and given back, while access is off', async (world) => {
    const { t, buy, clock, tell, report, held } = await open(world, {
      bundle: { ...monthly, entitlements: [...access, ...calls(100, 'month'), { key: 'seats', kind: 'capacity', limit: 5 }] },
    })
    const { id } = await buy()
    await report({ amount: 60 })
    await report({ entitlement: 'seats', amount: 5 })
    await clock('2024-01-10')
    await tell(id, 'pause')
    await clock('2024-03-01')
    t.like((await report({ amount: -20 })).body, { used: 40 })
    t.like((await report({ entitlement: 'seats', amount: -2 })).body, { used: 3, limit: 5, remaining: 2 })
    await tell(id, 'resume')
    t.like(await held(), { used: 40, remaining: 60 })
    await tell(id, 'cancel', { at: 'now' })
    t.like((await report({ entitlement: 'seats', amount: -3 })).body, { used: 0 })
  })

  story('billingDay 31 from February: quotas return to the 31st with the bills', async (world) => {
    const { t, buy, clock, held } = await open(world, {
      now: '2024-02-29T00:00:00Z',
      bundle: { ...monthly, entitlements: [...access, ...calls(100, 'month')] },
    })
    await buy({ billingDay: 31 })
    t.is((await held()).resetsAt, '2024-03-31T00:00:00.000Z')
    await clock('2024-04-01')
    t.is((await held()).resetsAt, '2024-04-30T00:00:00.000Z')
    await clock('2024-05-01')
    t.is((await held()).resetsAt, '2024-05-31T00:00:00.000Z')
  })

  story('numbers stay whole: limits stop at the largest that is exact, and a report beyond it is refused', async (world) => {
    const most = 9_007_199_254_740_991
    const { t, buy, report, shop } = await open(world, {
      bundle: {
        ...monthly,
        pricing: { amount: 1, currency: 'USD', interval: 'month' },
        entitlements: [...access, { key: 'calls', kind: 'capacity', limit: most }],
      },
    })
    await buy({ quantity: 1025 })
    const { api, tenantId } = shop
    const answer = await world.grpc.check({ tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'calls' })
    t.like(answer, { allowed: true, limit: BigInt(most), remaining: BigInt(most) })
    t.like((await report({ used: most })).body, { used: most, remaining: 0 })
    t.like(await report({ amount: 1 }), { status: 400, body: { field: 'amount' } })
    t.is((await api.get('/storefronts/us-store/customers/c/entitlements')).status, 200)
  })

  story('leaving with credit and subscribing again with it does not make a second allowance', async (world) => {
    const { t, buy, tell, report, held, kept } = await open(world, { bundle: { ...monthly, entitlements: [...access, ...calls(100, 'month')] } })
    for (let n = 0; n < 3; n += 1) {
      const { id } = await buy()
      if (n === 0) await report({ amount: 100 })
      t.like(await held(), { used: 100, remaining: 0 })
      await tell(id, 'cancel', { at: 'now', credit: 'prorate' })
    }
    t.is(await kept(), 3_100)
  })

  story('a change to quotas of other periods and back keeps the use that was counted', async (world) => {
    const { t, buy, clock, tell, report, held } = await open(world, {
      bundle: { ...monthly, entitlements: [...access, ...calls(100, 'month')] },
      bundles: { daily: { entitlements: calls(10, 'day') } },
    })
    const { id } = await buy()
    await report({ amount: 100 })
    for (const day of ['2024-01-05', '2024-01-15', '2024-01-25']) {
      await clock(day)
      await tell(id, 'change', { bundleId: 'daily' })
      await report({ amount: 1 })
      await tell(id, 'change', { bundleId: 'pro-plan' })
      t.like(await held(), { used: 100, remaining: 0 }, day)
    }
  })

  story('a pause early in the month, up to the days that February lacks, moves the allowance with the month', async (world) => {
    const { t, buy, clock, tell, report, held, kept, read } = await open(world, {
      now: '2023-01-01T00:00:00Z',
      bundle: { ...monthly, entitlements: [...access, ...calls(100, 'month')] },
    })
    const { id } = await buy()
    await report({ amount: 100 })
    await clock('2023-01-01T02:00:00Z')
    await tell(id, 'pause')
    await clock('2023-01-29T02:00:00Z')
    await tell(id, 'resume')
    t.like(await held(), { used: 100, remaining: 0 })
    await clock('2023-02-01T00:00:00Z')
    t.like(await held(), { used: 100, remaining: 0 })
    t.is(await kept(), 3_100)
    await clock((await read(id)).currentPeriod.end)
    t.like(await held(), { used: 0, remaining: 100 })
    t.is(await kept(), 6_200)
  })
})
