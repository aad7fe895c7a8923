/** What was agreed holds for as long as it was agreed for: prices, scheduled changes, days and amounts. */
import test from 'ava'
import { openBilling } from '../../support/billing.ts'
import { eventually } from '../../support/eventually.ts'
import { inWorlds } from '../../support/in-worlds.ts'

const monthly = (amount: number) => ({ pricing: { amount, currency: 'USD', interval: 'month' } })

inWorlds(test, (story) => {
  story("a price that is raised for all applies to the next period, and to this period's new seats", async (world) => {
    const { t, buy, clock, tell, shop, read, bills } = await openBilling(world, { bundle: monthly(3_100) })
    const { id } = await buy()
    const bundle = (await shop.api.get('/storefronts/us-store/bundles/pro-plan')).body
    const { version: _, rollout: __, id: ___, storefrontId: ____, ...content } = bundle
    const put = await shop.api.put('/storefronts/us-store/bundles/pro-plan', { ...content, ...monthly(9_300), applyTo: 'all' })
    t.is(put.status, 200, JSON.stringify(put.body))
    await eventually(async () => (await shop.api.get('/storefronts/us-store/bundles/pro-plan')).body.rollout?.finishedAt)
    await clock('2024-01-21')
    await tell(id, 'change', { quantity: 2 })
    t.is((await bills(id)).at(-1).amount, 1_100)
    t.like(await read(id), { nextPayment: { amount: 18_600, on: '2024-02-01' } })
    t.like(await tell(id, 'change', { quantity: 1 }), { creditBalance: 1_100 })
  })

  story('a scheduled downgrade stands when a seat is added, and gives way to another bundle, in plain sight', async (world) => {
    const { t, buy, clock, tell, read, events } = await openBilling(world, {
      bundle: monthly(3_100),
      bundles: { small: monthly(1_000), large: monthly(6_200) },
    })
    const { id } = await buy()
    await clock('2024-01-10')
    await tell(id, 'change', { bundleId: 'small', at: 'period_end' })
    t.like(await tell(id, 'change', { quantity: 2 }), { quantity: 2, scheduledChange: { bundleId: 'small', quantity: 2 } })
    t.true((await events(id)).includes('change_kept'))
    t.like(await tell(id, 'change', { bundleId: 'large' }), { bundleId: 'large', scheduledChange: null })
    t.true((await events(id)).includes('change_taken_back'))
    await clock('2024-02-01')
    t.like(await read(id), { bundleId: 'large', quantity: 2 })
  })

  story('a pause over a change of the clocks moves days, not hours', async (world) => {
    const { t, buy, clock, tell, read } = await openBilling(world, {
      now: '2024-02-15T05:00:00Z',
      timeZone: 'America/New_York',
      bundle: monthly(3_100),
    })
    const { id } = await buy()
    await clock('2024-03-05T05:00:00Z')
    await tell(id, 'pause')
    await clock('2024-03-20T04:00:00Z')
    t.like(await tell(id, 'resume'), { currentPeriod: { end: '2024-03-30T04:00:00.000Z' } })
    await clock('2024-04-15')
    t.like(await read(id), { currentPeriod: { start: '2024-03-30T04:00:00.000Z', end: '2024-04-30T04:00:00.000Z' } })
  })

  story("resumeAt as a date is the storefront's day", async (world) => {
    const { t, buy, clock, tell, read } = await openBilling(world, { now: '2024-04-01T04:00:00Z', timeZone: 'America/New_York', bundle: monthly(3_100) })
    const { id } = await buy()
    await clock('2024-04-05T04:00:00Z')
    t.like(await tell(id, 'pause', { resumeAt: '2024-04-10' }), { resumeAt: '2024-04-10T04:00:00.000Z' })
    await clock('2024-04-10T04:00:00Z')
    t.is((await read(id)).status, 'active')
  })

  story('the last, partial day of a period costs a day', async (world) => {
    const { t, buy, clock, tell, bills } = await openBilling(world, { now: '2024-01-01T10:00:00Z', bundle: monthly(3_100), bundles: { large: monthly(6_200) } })
    const { id } = await buy()
    await clock('2024-02-01T08:00:00Z')
    await tell(id, 'change', { bundleId: 'large' })
    t.deepEqual(
      (await bills(id))
        .at(-1)
        .lines.filter(({ kind }: { kind: string }) => kind !== 'carried')
        .map(({ amount }: { amount: number }) => amount),
      [-100, 200],
    )
  })

  story('years with a billing day: nearly a year first, then a year', async (world) => {
    const { t, buy, payments, read } = await openBilling(world, {
      now: '2024-01-20T00:00:00Z',
      bundle: { pricing: { amount: 36_600, currency: 'USD', interval: 'year' } },
    })
    const { id } = await buy({ billingDay: 15 })
    t.deepEqual(await payments(id), [['2024-01-20', 36_100, 'succeeded']])
    t.like(await read(id), { currentPeriod: { end: '2025-01-15T00:00:00.000Z' }, nextPayment: { amount: 36_600, on: '2025-01-15' } })
  })

  story('a billing day of the month means nothing for weeks, and is not kept', async (world) => {
    const { t, buy, tell } = await openBilling(world, {
      bundle: monthly(3_100),
      bundles: { weekly: { pricing: { amount: 700, currency: 'USD', interval: 'week' } } },
    })
    const { id } = await buy({ billingDay: 31 })
    t.like(await tell(id, 'change', { bundleId: 'weekly' }), { billingDay: null, currentPeriod: { end: '2024-01-08T00:00:00.000Z' } })
  })

  story('canceling now credits the rest of the period only on request', async (world) => {
    const { t, buy, clock, tell, refused } = await openBilling(world, { bundle: monthly(3_100) })
    const [kept, credited] = [await buy({ customerId: 'a' }), await buy({ customerId: 'b' })]
    await clock('2024-01-17')
    t.like(await tell(kept.id, 'cancel', { at: 'now' }), { status: 'canceled', creditBalance: 0 })
    t.like(await refused(credited.id, 'cancel', { at: 'period_end', credit: 'prorate' }, 400), { field: 'credit' })
    t.like(await tell(credited.id, 'cancel', { at: 'now', credit: 'prorate' }), { status: 'canceled', creditBalance: 1_500 })
  })

  story('a free plan survives if there is no method for the paid one that was to follow', async (world) => {
    const { t, buy, clock, tell, read, access, events } = await openBilling(world, { bundle: monthly(0), bundles: { paid: monthly(3_100) } })
    const { id } = await buy({ paymentMethod: undefined })
    await tell(id, 'change', { bundleId: 'paid', at: 'period_end' })
    await clock('2024-02-01')
    t.like(await read(id), { status: 'active', bundleId: 'pro-plan', scheduledChange: null })
    await access(true)
    t.true((await events(id)).includes('change_taken_back'))
  })

  story('amounts are made in steps that the accounts can take; the rest is carried', async (world) => {
    const huf = (amount: number) => ({ pricing: { amount, currency: 'HUF', interval: 'month' } })
    const { t, buy, clock, tell, bills, read } = await openBilling(world, { currency: 'HUF', bundle: huf(320_000), bundles: { more: huf(640_000) } })
    const { id } = await buy()
    await clock('2024-01-11')
    await tell(id, 'change', { bundleId: 'more' })
    const change = (await bills(id)).at(-1)
    // 21 of 31 days of 3,200 HUF more are 2,167.74 HUF.
    t.is(change.amount, 216_700)
    t.is(change.status, 'succeeded')
    t.is(
      change.lines.reduce((sum: number, { amount }: { amount: number }) => sum + amount, 0),
      216_700,
    )
    t.like(await read(id), { nextPayment: { amount: 640_000 } })
    await clock('2024-02-01')
    t.is((await bills(id)).at(-1).amount, 640_000)
  })

  story('an amount too small for a charge of its own comes with the next one', async (world) => {
    const { t, buy, clock, tell, bills, kept } = await openBilling(world, { bundle: monthly(3_100), bundles: { more: monthly(3_500) } })
    const { id } = await buy()
    await clock('2024-01-31')
    t.like(await tell(id, 'change', { bundleId: 'more' }), { bundleId: 'more' })
    t.is(await kept(), 3_100)
    await clock('2024-02-01')
    t.is((await bills(id)).at(-1).amount, 3_513)
    t.is(await kept(), 6_613)
  })
})
