/** Money when terms change: proration, credit, quantity, and previews that keep their word. */
import test from 'ava'
import { openBilling } from '../../support/billing.ts'
import { inWorlds } from '../../support/in-worlds.ts'

const monthly = (amount: number) => ({ pricing: { amount, currency: 'USD', interval: 'month' } })
const bundles = { basic: monthly(1_000), plus: monthly(2_000), max: monthly(4_000), yearly: { pricing: { amount: 20_000, currency: 'USD', interval: 'year' } } }

inWorlds(test, (story) => {
  story('upgrade now: half of the old is credited, half of the new is charged (PRO-01)', async (world) => {
    const { t, buy, clock, tell, bills, kept } = await openBilling(world, { now: '2024-06-01T00:00:00Z', bundles })
    const { id } = await buy({ bundleId: 'basic' })
    // Fifteen of June's thirty days are left.
    await clock('2024-06-16', [])
    const changed = await tell(id, 'change', { bundleId: 'plus', at: 'now' })
    t.like(changed, { bundleId: 'plus', creditBalance: 0, nextPayment: { amount: 2_000, on: '2024-07-01' }, payment: { status: 'succeeded', amount: 500 } })
    const [, change] = await bills(id)
    t.deepEqual(
      change.lines.map(({ kind, amount }: { kind: string; amount: number }) => [kind, amount]),
      [
        ['unused', -500],
        ['plan', 1_000],
      ],
    )
    t.is(await kept(), 1_500)
  })

  story('by second: the same, to the second', async (world) => {
    const { t, buy, clock, tell } = await openBilling(world, { now: '2024-06-01T00:00:00Z', bundles, billing: { proration: 'second' } })
    const { id } = await buy({ bundleId: 'basic' })
    await clock('2024-06-16T12:00:00Z')
    // 14.5 of 30 days are left.
    t.is((await tell(id, 'change', { bundleId: 'plus' })).payment.amount, Math.round((2_000 * 14.5) / 30) - Math.round((1_000 * 14.5) / 30))
  })

  story('by day: the day of the change belongs to the new plan, whatever the hour', async (world) => {
    const { t, buy, clock, tell } = await openBilling(world, { now: '2024-06-01T00:00:00Z', bundles })
    const { id } = await buy({ bundleId: 'basic' })
    await clock('2024-06-16T23:59:59Z')
    t.is((await tell(id, 'change', { bundleId: 'plus' })).payment.amount, 500)
  })

  story('a day of 23 hours is a day (ANC-25)', async (world) => {
    // New York: 2024-03-10 has 23 hours. 2024-03-09 to 2024-03-11 is two days of the 31 from March 1.
    const { t, buy, clock, tell, bills } = await openBilling(world, { now: '2024-02-11T05:00:00Z', timeZone: 'America/New_York', bundles })
    const { id } = await buy({ bundleId: 'basic' })
    await clock('2024-03-09T17:00:00Z')
    await tell(id, 'change', { bundleId: 'plus' })
    const [, { lines }] = await bills(id)
    t.deepEqual(
      lines.map(({ amount }: { amount: number }) => amount),
      [-Math.round((1_000 * 2) / 29), Math.round((2_000 * 2) / 29)],
    )
  })

  story('downgrade at the period end: nothing now, the new price then', async (world) => {
    const { t, buy, clock, tell, read, payments } = await openBilling(world, { bundles })
    const { id } = await buy({ bundleId: 'plus' })
    await clock('2024-01-10')
    const asked = await tell(id, 'change', { bundleId: 'basic', at: 'period_end' })
    t.like(asked, {
      bundleId: 'plus',
      scheduledChange: { bundleId: 'basic', on: '2024-02-01T00:00:00.000Z' },
      nextPayment: { amount: 1_000, on: '2024-02-01' },
    })
    await clock('2024-02-01', ['changed', 'payment', 'attempt', 'renewed'])
    t.like(await read(id), { bundleId: 'basic', scheduledChange: null })
    t.deepEqual(await payments(id), [
      ['2024-01-01', 2_000, 'succeeded'],
      ['2024-02-01', 1_000, 'succeeded'],
    ])
  })

  story('a scheduled change can be taken back by asking for the present terms', async (world) => {
    const { t, buy, tell, refused } = await openBilling(world, { bundles })
    const { id } = await buy({ bundleId: 'plus' })
    await tell(id, 'change', { bundleId: 'basic', at: 'period_end' })
    t.like(await tell(id, 'change', { bundleId: 'plus', at: 'period_end' }), { scheduledChange: null, nextPayment: { amount: 2_000 } })
    await refused(id, 'change', { bundleId: 'plus', at: 'period_end' })
  })

  story('downgrade now: the difference is credit, and pays before the card does', async (world) => {
    const { t, buy, clock, tell, bills, kept } = await openBilling(world, { now: '2024-06-01T00:00:00Z', bundles })
    const { id } = await buy({ bundleId: 'max' })
    await clock('2024-06-16')
    const changed = await tell(id, 'change', { bundleId: 'basic', at: 'now' })
    t.like(changed, { bundleId: 'basic', creditBalance: 1_500, payment: { amount: 0, creditApplied: -1_500 }, nextPayment: { amount: 0, on: '2024-07-01' } })
    await clock('2024-08-02', ['payment', 'renewed', 'payment', 'attempt', 'renewed'])
    const made = (await bills(id)).map(({ amount, creditApplied, status }) => [amount, creditApplied, status])
    t.deepEqual(made, [
      [4_000, 0, 'succeeded'],
      [0, -1_500, 'succeeded'],
      [0, 1_000, 'succeeded'],
      [500, 500, 'succeeded'],
    ])
    t.is(await kept(), 4_500)
  })

  story('several changes in one day lose no credit', async (world) => {
    const { t, buy, clock, tell, read, kept } = await openBilling(world, { now: '2024-06-01T00:00:00Z', bundles })
    const { id } = await buy({ bundleId: 'basic' })
    await clock('2024-06-16')
    for (const bundleId of ['max', 'plus', 'max', 'basic', 'plus']) await tell(id, 'change', { bundleId })
    // Whatever was in between: half a month of basic, and half of plus; the rest is credit.
    const { creditBalance } = await read(id)
    t.is((await kept()) - creditBalance, 500 + 1_000)
  })

  story('a change of interval begins a period now and credits what is left of the old one', async (world) => {
    const { t, buy, clock, tell, kept } = await openBilling(world, { now: '2024-06-01T00:00:00Z', bundles })
    const { id } = await buy({ bundleId: 'basic' })
    await clock('2024-06-16')
    const changed = await tell(id, 'change', { bundleId: 'yearly' })
    t.like(changed, {
      currentPeriod: { start: '2024-06-16T00:00:00.000Z', end: '2025-06-16T00:00:00.000Z' },
      payment: { amount: 19_500 },
      nextPayment: { amount: 20_000, on: '2025-06-16' },
    })
    t.is(await kept(), 20_500)
  })

  story('a change of interval at the period end counts periods from there', async (world) => {
    const { t, buy, clock, tell, read } = await openBilling(world, { now: '2024-01-31T00:00:00Z', bundles })
    const { id } = await buy({ bundleId: 'basic' })
    await tell(id, 'change', { bundleId: 'yearly', at: 'period_end' })
    await clock('2024-03-01', ['changed', 'payment', 'attempt', 'renewed'])
    t.like(await read(id), { currentPeriod: { start: '2024-02-29T00:00:00.000Z', end: '2025-02-28T00:00:00.000Z' } })
  })

  story('seats: more are charged pro rata, fewer are credited', async (world) => {
    const { t, buy, clock, tell, kept } = await openBilling(world, { now: '2024-06-01T00:00:00Z', bundles })
    const { id } = await buy({ bundleId: 'basic', quantity: 2 })
    await clock('2024-06-16')
    t.like(await tell(id, 'change', { quantity: 5 }), { quantity: 5, payment: { amount: 1_500 }, nextPayment: { amount: 5_000 } })
    t.like(await tell(id, 'change', { quantity: 1 }), { quantity: 1, creditBalance: 2_000, nextPayment: { amount: 0 } })
    t.is(await kept(), 3_500)
  })

  story('a number of seats too large to count the money is refused', async (world) => {
    const { t, buy, refused, shop } = await openBilling(world, {
      bundles: { dear: { pricing: { amount: 900_000_000_000, currency: 'USD', interval: 'month' } } },
    })
    const { id } = await buy({ bundleId: 'dear' })
    t.is((await refused(id, 'change', { quantity: 2 }, 400)).field, 'quantity')
    const order = { customerId: 'c', bundleId: 'dear', storefrontId: 'us-store', paymentMethod: 'pm', quantity: 100_000 }
    t.like((await shop.api.post('/subscriptions', order)).body, { code: 'invalid_request', field: 'quantity' })
  })

  story('each line is rounded half up, once, at the currency: yen have no cents', async (world) => {
    const yen = (amount: number) => ({ pricing: { amount, currency: 'JPY', interval: 'month' } })
    const { t, buy, clock, tell, bills } = await openBilling(world, {
      now: '2024-01-01T00:00:00Z',
      currency: 'JPY',
      bundle: yen(3_200),
      bundles: { more: yen(9_800) },
    })
    const { id } = await buy()
    await clock('2024-01-20')
    await tell(id, 'change', { bundleId: 'more' })
    const [, { lines }] = await bills(id)
    // 12 of 31 days: 1238.71 and 3793.55.
    t.deepEqual(
      lines.map(({ amount }: { amount: number }) => amount),
      [-1_239, 3_794],
    )
  })

  story('a preview gives exactly the amounts that the change then makes, and changes nothing', async (world) => {
    const { t, buy, clock, tell, read, bills } = await openBilling(world, { now: '2024-01-31T10:00:00Z', bundles, timeZone: 'Europe/Berlin' })
    const { id } = await buy({ bundleId: 'basic', quantity: 3 })
    const changes = [{ bundleId: 'plus' }, { bundleId: 'max', quantity: 1 }, { bundleId: 'yearly' }, { quantity: 2 }, { bundleId: 'basic', quantity: 7 }]
    let day = 3
    for (const change of changes) {
      await clock(`2024-02-${String(day).padStart(2, '0')}T15:30:00Z`)
      day += 4
      const before = await read(id)
      const preview = await tell(id, 'preview-change', change)
      t.deepEqual(await read(id), before)
      const changed = await tell(id, 'change', change)
      const made = (await bills(id)).at(-1)
      t.deepEqual(preview, {
        lines: made.lines,
        creditApplied: made.creditApplied,
        amount: made.amount,
        currency: 'USD',
        creditBalance: changed.creditBalance,
        currentPeriod: changed.currentPeriod,
        nextPayment: changed.nextPayment,
      })
    }
  })

  story('an upgrade that is not paid does not happen, and can be tried again', async (world) => {
    const { t, buy, clock, tell, pay, read, payments, kept, access } = await openBilling(world, { now: '2024-06-01T00:00:00Z', bundles })
    const { id } = await buy({ bundleId: 'basic' })
    await clock('2024-06-16')
    await pay(id, 'pm_decline_funds')
    const declined = await tell(id, 'change', { bundleId: 'plus' })
    t.like(declined, { status: 'active', bundleId: 'basic', creditBalance: 0, payment: { status: 'failed', amount: 500 } })
    await access(true)
    await pay(id, 'pm_good')
    t.like(await read(id), { bundleId: 'basic' })
    t.like(await tell(id, 'change', { bundleId: 'plus' }), { bundleId: 'plus', payment: { status: 'succeeded', amount: 500 } })
    t.deepEqual(
      (await payments(id)).map(([, amount, status]) => [amount, status]),
      [
        [1_000, 'succeeded'],
        [500, 'failed'],
        [500, 'succeeded'],
      ],
    )
    t.is(await kept(), 1_500)
  })

  story('an upgrade whose payment is pending waits; at the period end it is off, and later money is refunded', async (world) => {
    const { t, buy, clock, tell, pay, read, refused, bills, kept } = await openBilling(world, { now: '2024-06-01T00:00:00Z', bundles })
    const { id } = await buy({ bundleId: 'basic' })
    await clock('2024-06-29')
    await pay(id, 'pm_pending_5d')
    t.like(await tell(id, 'change', { bundleId: 'plus' }), { bundleId: 'basic', payment: { status: 'processing' } })
    await refused(id, 'change', { bundleId: 'max' })
    await refused(id, 'pause', {})
    await pay(id, 'pm_good')
    await clock('2024-07-10')
    t.like(await read(id), { bundleId: 'basic', status: 'active' })
    const [, change] = await bills(id)
    t.like(change, { status: 'succeeded', facts: ['refunded'], refunds: [{ reason: 'not_wanted', status: 'succeeded' }] })
    t.is(await kept(), 2_000)
  })

  story('a change in a trial is free, and the new price is what the trial leads to', async (world) => {
    const { t, buy, tell, clock, payments } = await openBilling(world, { bundles: { ...bundles, basic: { ...monthly(1_000), trialDays: 10 } } })
    const { id } = await buy({ bundleId: 'basic' })
    t.like(await tell(id, 'change', { bundleId: 'max' }), {
      status: 'trialing',
      bundleId: 'max',
      nextPayment: { amount: 4_000, on: '2024-01-11' },
      payment: null,
    })
    await clock('2024-01-11', ['payment', 'attempt', 'activated'])
    t.deepEqual(await payments(id), [['2024-01-11', 4_000, 'succeeded']])
  })

  story('versions: a price is grandfathered, and naming the own bundle moves to the newest', async (world) => {
    const { t, buy, clock, tell, payments, shop } = await openBilling(world)
    const { id } = await buy()
    const bundle = { name: 'Pro Plan', pricing: { amount: 3_900, currency: 'USD', interval: 'month' }, entitlements: [] }
    t.is((await shop.api.put('/storefronts/us-store/bundles/pro-plan', bundle)).status, 200)
    await clock('2024-02-01', ['payment', 'attempt', 'renewed'])
    t.like(await tell(id, 'change', { bundleId: 'pro-plan', quantity: 2 }), { bundleVersion: 1, quantity: 2 })
    t.like(await tell(id, 'change', { bundleId: 'pro-plan' }), { bundleVersion: 2, nextPayment: { amount: 7_800 } })
    await clock('2024-03-01', ['payment', 'attempt', 'renewed'])
    t.deepEqual((await payments(id)).at(-1), ['2024-03-01', 7_800, 'succeeded'])
  })
})
