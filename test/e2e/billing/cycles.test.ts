/** When a subscription is billed. Each story names the rule it proves. */
import test from 'ava'
import { openBilling } from '../../support/billing.ts'
import { inWorlds } from '../../support/in-worlds.ts'

inWorlds(test, (story) => {
  story('cycles: a period of every interval is half-open and ends where the next begins', async (world) => {
    const bundles = Object.fromEntries(
      [
        ['day', '2024-01-02'],
        ['week', '2024-01-08'],
        ['month', '2024-02-01'],
        ['quarter', '2024-04-01'],
        ['year', '2025-01-01'],
      ].map(([interval]) => [`per-${interval}`, { pricing: { amount: 100, currency: 'USD', interval } }]),
    )
    const { t, buy } = await openBilling(world, { bundles })
    const ends = { day: '2024-01-02', week: '2024-01-08', month: '2024-02-01', quarter: '2024-04-01', year: '2025-01-01' }
    for (const [interval, end] of Object.entries(ends)) {
      const bought = await buy({ bundleId: `per-${interval}`, customerId: interval })
      t.like(bought, {
        status: 'active',
        currentPeriod: { start: '2024-01-01T00:00:00.000Z', end: `${end}T00:00:00.000Z` },
        nextPayment: { amount: 100, on: end },
      })
    }
  })

  story('cycles: intervalCount makes one period of several intervals', async (world) => {
    const { t, buy, clock, payments } = await openBilling(world, {
      bundle: { pricing: { amount: 5_000, currency: 'USD', interval: 'week', intervalCount: 2 } },
    })
    const { id } = await buy()
    await clock('2024-02-01')
    t.deepEqual(await payments(id), [
      ['2024-01-01', 5_000, 'succeeded'],
      ['2024-01-15', 5_000, 'succeeded'],
      ['2024-01-29', 5_000, 'succeeded'],
    ])
  })

  story('cycles: a month end clamps and recovers (ANC-02: Jan 31, Feb 29, Mar 31, Apr 30)', async (world) => {
    const { t, buy, clock, payments } = await openBilling(world, { now: '2024-01-31T00:00:00Z' })
    const { id } = await buy()
    await clock('2024-05-01')
    t.deepEqual(
      (await payments(id)).map(([start]) => start),
      ['2024-01-31', '2024-02-29', '2024-03-31', '2024-04-30'],
    )
  })

  story('cycles: a leap day is billed on Feb 28 in common years and on Feb 29 again in leap years (ANC-23)', async (world) => {
    const pricing = { amount: 10_000, currency: 'USD', interval: 'year' }
    const { t, buy, clock, payments } = await openBilling(world, { now: '2024-02-29T00:00:00Z', bundle: { pricing } })
    const { id } = await buy()
    await clock('2028-03-01')
    t.deepEqual(
      (await payments(id)).map(([start]) => start),
      ['2024-02-29', '2025-02-28', '2026-02-28', '2027-02-28', '2028-02-29'],
    )
  })

  story('cycles: a fixed billing day charges the first piece pro rata and whole periods from then on (PRO-10: 29/31 of 599.95)', async (world) => {
    const pricing = { amount: 59_995, currency: 'USD', interval: 'month' }
    const { t, buy, clock, bills } = await openBilling(world, { now: '2012-02-01T00:00:00Z', bundle: { pricing, trialDays: 30 } })
    const { id, trialEnd, nextPayment } = await buy({ billingDay: 31 })
    t.is(trialEnd, '2012-03-02T00:00:00.000Z')
    t.like(nextPayment, { amount: 56_124, on: '2012-03-02' })
    await clock('2012-07-01')
    t.deepEqual(
      (await bills(id)).map(({ amount, period }) => [amount, period.start.slice(0, 10), period.end.slice(0, 10)]),
      [
        [56_124, '2012-03-02', '2012-03-31'],
        [59_995, '2012-03-31', '2012-04-30'],
        [59_995, '2012-04-30', '2012-05-31'],
        [59_995, '2012-05-31', '2012-06-30'],
        [59_995, '2012-06-30', '2012-07-31'],
      ],
    )
  })

  story('cycles: a fixed day of the week', async (world) => {
    const pricing = { amount: 700, currency: 'USD', interval: 'week' }
    // 2024-01-01 is a Monday; Friday is day 5.
    const { t, buy, clock, payments } = await openBilling(world, { bundle: { pricing } })
    const { id } = await buy({ billingDay: 5 })
    await clock('2024-01-13')
    t.deepEqual(await payments(id), [
      ['2024-01-01', 400, 'succeeded'],
      ['2024-01-05', 700, 'succeeded'],
      ['2024-01-12', 700, 'succeeded'],
    ])
  })

  story('cycles: a billing day that the interval has not is refused by name', async (world) => {
    const { t, shop } = await openBilling(world, { bundles: { weekly: { pricing: { amount: 1, currency: 'USD', interval: 'week' } } } })
    const order = { customerId: 'c', bundleId: 'weekly', storefrontId: 'us-store', paymentMethod: 'pm' }
    t.like((await shop.api.post('/subscriptions', { ...order, billingDay: 8 })).body, { code: 'invalid_request', field: 'billingDay' })
  })

  story('time zones: days begin at midnight there, before and after daylight saving', async (world) => {
    const { t, buy, clock, bills } = await openBilling(world, { timeZone: 'America/New_York', now: '2024-02-15T05:00:00Z' })
    const { id } = await buy({ startDate: '2024-02-15' })
    await clock('2024-03-20')
    t.deepEqual(
      (await bills(id)).map(({ period }) => [period.start, period.end]),
      [
        ['2024-02-15T05:00:00.000Z', '2024-03-15T04:00:00.000Z'],
        ['2024-03-15T04:00:00.000Z', '2024-04-15T04:00:00.000Z'],
      ],
    )
  })

  story('trials: access ends to the second if nothing is paid, and goes on if it is', async (world) => {
    const { t, buy, clock, read, access } = await openBilling(world, { bundle: { trialDays: 14 }, now: '2024-01-01T09:30:15Z' })
    const paying = await buy({ customerId: 'paying' })
    const guest = await buy({ customerId: 'guest', paymentMethod: undefined })
    await clock('2024-01-15T09:30:14Z', [])
    await access(true, 'guest')
    await clock('2024-01-15T09:30:15Z', ['payment', 'attempt', 'activated', 'paused'])
    await access(false, 'guest')
    await access(true, 'paying')
    t.like(await read(paying.id), { status: 'active', nextPayment: { on: '2024-02-15' } })
    t.like(await read(guest.id), { status: 'paused', nextPayment: null })
  })

  story('a trial that ended without a payment method goes on when one is set, from then', async (world) => {
    const { t, buy, clock, pay, payments, access } = await openBilling(world, { bundle: { trialDays: 14 } })
    const { id } = await buy({ paymentMethod: undefined })
    await clock('2024-01-20', ['paused'])
    await access(false)
    t.like(await pay(id, 'pm_decline_funds'), { status: 'paused', payment: { status: 'failed' } })
    t.like(await pay(id, 'pm_good'), { status: 'active', nextPayment: { on: '2024-02-20' } })
    await access(true)
    t.deepEqual(await payments(id), [
      ['2024-01-20', 2_900, 'failed'],
      ['2024-01-20', 2_900, 'succeeded'],
    ])
  })

  story('scheduled: a start in the future gives and charges nothing before it', async (world) => {
    const { t, buy, clock, read, payments, access } = await openBilling(world)
    const { id } = await buy({ startDate: '2024-02-10' })
    t.like(await read(id), { status: 'scheduled', nextPayment: { amount: 2_900, on: '2024-02-10' } })
    await clock('2024-02-09T23:59:59Z', [])
    t.deepEqual(await payments(id), [])
    await clock('2024-02-10', ['first_payment_due', 'payment', 'attempt', 'activated'])
    t.like(await read(id), { status: 'active', currentPeriod: { start: '2024-02-10T00:00:00.000Z' } })
    await access(true)
  })

  story('backdated: anchored in the past, and billed from the period that contains now', async (world) => {
    const { t, buy, payments } = await openBilling(world, { now: '2024-03-20T12:00:00Z' })
    const bought = await buy({ startDate: '2024-01-31' })
    t.like(bought, { status: 'active', currentPeriod: { start: '2024-02-29T00:00:00.000Z' }, nextPayment: { on: '2024-03-31' } })
    t.deepEqual(await payments(bought.id), [['2024-02-29', 2_900, 'succeeded']])
  })

  story('backdated: with billMissed every period since the start is billed once, in order', async (world) => {
    const { t, buy, payments, kept } = await openBilling(world, { now: '2024-04-20T12:00:00Z' })
    const bought = await buy({ startDate: '2024-01-31', billMissed: true })
    t.like(bought, { status: 'active', nextPayment: { on: '2024-04-30' } })
    t.deepEqual(await payments(bought.id), [
      ['2024-01-31', 2_900, 'succeeded'],
      ['2024-02-29', 2_900, 'succeeded'],
      ['2024-03-31', 2_900, 'succeeded'],
    ])
    t.is(await kept(), 3 * 2_900)
  })

  story('a free bundle is never billed and never ends', async (world) => {
    const { t, buy, clock, payments, read, access } = await openBilling(world, { bundle: { pricing: { amount: 0, currency: 'USD', interval: 'month' } } })
    const { id } = await buy({ paymentMethod: undefined })
    await clock('2024-12-15')
    t.like(await read(id), { status: 'active', currentPeriod: { start: '2024-12-01T00:00:00.000Z' }, nextPayment: null })
    t.deepEqual(await payments(id), [])
    await access(true)
  })

  story('quantity: the price and every quota count so many times, and the quota resets on the billing day', async (world) => {
    const { t, buy, shop } = await openBilling(world, { now: '2024-01-10T00:00:00Z' })
    const { payment, entitlementRevision: minRevision } = await buy({ billingDay: 15, quantity: 3 })
    // Five of the 31 days from December 15.
    t.is(payment.amount, Math.round((3 * 2_900 * 5) / 31))
    const question = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'api_limit', minRevision }
    t.like(await world.grpc.check(question), { allowed: true, limit: 30_000n })
    t.is((await world.grpc.check(question)).resetsAt?.toISOString(), '2024-01-15T00:00:00.000Z')
  })
})
