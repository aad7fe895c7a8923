/** When a renewal is not paid: what is tried again, how long access lasts, and what brings it back. */
import test from 'ava'
import { openBilling } from '../../support/billing.ts'
import { inWorlds } from '../../support/in-worlds.ts'

const attemptsOf = (payment: { attempts: { at: string; declineClass: string | null; status: string }[] }) =>
  payment.attempts.map(({ at, declineClass, status }) => [at.slice(0, 10), declineClass ?? status])

// Timeline entries of one try: a provider declined it; both providers were away.
const declined = ['attempt', 'payment_failed']
const away = ['attempt', 'attempt', 'payment_failed']

inWorlds(test, (story) => {
  story('retries come 24 h, 72 h and 7 d after the first failure, then the subscription is canceled', async (world) => {
    const { t, buy, clock, pay, read, bills, access } = await openBilling(world, { billing: { graceHours: 24 * 30 } })
    const { id } = await buy()
    await pay(id, 'pm_decline_funds')
    await clock('2024-02-01', ['payment', 'attempt', 'payment_failed', 'past_due'])
    t.like(await read(id), { status: 'past_due', retryAt: '2024-02-02T00:00:00.000Z' })
    await clock('2024-02-07T23:59:59Z', ['retry', 'attempt', 'payment_failed', 'retry', 'attempt', 'payment_failed'])
    t.like(await read(id), { status: 'past_due', retryAt: '2024-02-08T00:00:00.000Z' })
    await access(true)
    await clock('2024-02-08', ['retry', 'attempt', 'payment_failed', 'canceled'])
    t.like(await read(id), { status: 'canceled', endReason: 'unpaid', endedAt: '2024-02-08T00:00:00.000Z' })
    await access(false)
    t.deepEqual(attemptsOf((await bills(id))[1]), [
      ['2024-02-01', 'funds'],
      ['2024-02-02', 'funds'],
      ['2024-02-04', 'funds'],
      ['2024-02-08', 'funds'],
    ])
  })

  story('grace is its own clock: access ends with it, while retries go on', async (world) => {
    const { t, buy, clock, pay, read, access } = await openBilling(world, { billing: { graceHours: 36 } })
    const { id } = await buy()
    await pay(id, 'pm_decline_funds')
    await clock('2024-02-02T11:59:59Z', ['payment', 'attempt', 'payment_failed', 'past_due', 'retry', 'attempt', 'payment_failed'])
    await access(true)
    t.like(await read(id), { status: 'past_due', graceUntil: '2024-02-02T12:00:00.000Z' })
    await clock('2024-02-02T12:00:00Z', ['suspended'])
    await access(false)
    t.like(await read(id), { status: 'suspended', graceUntil: null, retryAt: '2024-02-04T00:00:00.000Z' })
  })

  story('no grace: a failed renewal closes access at once', async (world) => {
    const { t, buy, clock, pay, read, access } = await openBilling(world, { billing: { graceHours: 0 } })
    const { id } = await buy()
    await pay(id, 'pm_decline_funds')
    await clock('2024-02-01', ['payment', 'attempt', 'payment_failed', 'past_due', 'suspended'])
    t.is((await read(id)).status, 'suspended')
    await access(false)
  })

  story('no grace: a renewal that is paid is never overdue on the way', async (world) => {
    const { t, buy, clock, events } = await openBilling(world, { billing: { graceHours: 0 } })
    const { id } = await buy()
    await clock('2024-03-02', ['payment', 'attempt', 'renewed', 'payment', 'attempt', 'renewed'])
    t.deepEqual(
      (await events(id)).filter((type) => type !== 'payment' && type !== 'attempt'),
      ['created', 'first_payment_due', 'activated', 'renewed', 'renewed'],
    )
  })

  story('a hard decline is never tried again with that card, and the subscription still ends on schedule', async (world) => {
    const { t, buy, clock, pay, read, bills } = await openBilling(world)
    const { id } = await buy()
    await pay(id, 'pm_decline_hard')
    await clock('2024-02-07', ['payment', 'attempt', 'payment_failed', 'past_due', 'retry', 'payment_failed', 'suspended', 'retry', 'payment_failed'])
    t.deepEqual(attemptsOf((await bills(id))[1]), [['2024-02-01', 'hard']])
    t.like((await bills(id))[1], { failure: 'the payment method was declined for good' })
    await clock('2024-02-08', ['retry', 'payment_failed', 'canceled'])
    t.like(await read(id), { status: 'canceled', endReason: 'unpaid' })
    t.deepEqual(attemptsOf((await bills(id))[1]), [['2024-02-01', 'hard']])
  })

  story('a card that needs its holder is not tried again by itself', async (world) => {
    const { t, buy, clock, pay, bills } = await openBilling(world)
    const ids: string[] = []
    for (const word of ['credential', 'action_required']) {
      const { id } = await buy({ customerId: word })
      await pay(id, `pm_decline_${word}`)
      ids.push(id)
    }
    await clock('2024-02-07')
    for (const id of ids) t.is((await bills(id))[1].attempts.length, 1)
  })

  story('a new payment method is tried at once, and paying restores access and the old billing day', async (world) => {
    const { t, buy, clock, pay, bills, access, payments } = await openBilling(world, { billing: { graceHours: 12 } })
    const { id } = await buy()
    await pay(id, 'pm_decline_hard')
    await clock('2024-02-03T10:00:00Z', ['payment', 'attempt', 'payment_failed', 'past_due', 'suspended', 'retry', 'payment_failed'])
    await access(false)
    t.like(await pay(id, 'pm_decline_funds'), { status: 'suspended', payment: { status: 'failed' } })
    t.like(await pay(id, 'pm_good'), {
      status: 'active',
      currentPeriod: { start: '2024-02-01T00:00:00.000Z', end: '2024-03-01T00:00:00.000Z' },
      payment: { status: 'succeeded' },
      retryAt: null,
    })
    await access(true)
    t.deepEqual(attemptsOf((await bills(id))[1]), [
      ['2024-02-01', 'hard'],
      ['2024-02-03', 'funds'],
      ['2024-02-03', 'succeeded'],
    ])
    await clock('2024-03-01', ['payment', 'attempt', 'renewed'])
    t.deepEqual((await payments(id)).at(-1), ['2024-03-01', 2_900, 'succeeded'])
  })

  story('a retry that succeeds recovers by itself', async (world) => {
    const { t, buy, clock, pay, read, shop } = await openBilling(world)
    const { id } = await buy()
    await pay(id, 'pm_decline_funds')
    await clock('2024-02-01', ['payment', 'attempt', 'payment_failed', 'past_due'])
    // The customer has filled the account: the same method, a better token.
    const customer = (await shop.api.get('/storefronts/us-store/customers/c')).body
    const method = customer.paymentMethods.at(-1).id
    await shop.api.patch('/storefronts/us-store/customers/c', {
      paymentMethods: [{ id: method, type: 'card', tokens: { stripe: 'pm_good', paypal: 'pm_good' } }],
    })
    t.is((await read(id)).status, 'past_due')
    await clock('2024-02-02', ['retry', 'attempt', 'recovered'])
    t.like(await read(id), { status: 'active', nextPayment: { on: '2024-03-01' } })
  })

  story('networks count: a card gets only a number of declines per window, over all providers', async (world) => {
    const { t, buy, clock, pay, bills } = await openBilling(world, {
      billing: { maxAttempts: 3, retryHours: [24, 48, 72, 96, 120], graceHours: 24 * 30 },
    })
    const { id } = await buy()
    // Each round asks two providers, once each.
    await pay(id, 'pm_decline_issuer_soft')
    await clock('2024-02-05', [
      'payment',
      ...away,
      'past_due',
      'retry',
      ...declined,
      'retry',
      'payment_failed',
      'retry',
      'payment_failed',
      'retry',
      'payment_failed',
    ])
    const [, payment] = await bills(id)
    t.is(payment.attempts.length, 3)
    t.regex(payment.failure, /3 times in 30 days/)
  })

  story('a provider that is away has refused nobody: access stays, and it is asked again within hours', async (world) => {
    const { t, buy, clock, pay, read, access, bills } = await openBilling(world)
    const { id } = await buy()
    await pay(id, 'pm_refused')
    await clock('2024-02-01T03:00:00Z', ['payment', ...away, 'retry', ...away, 'retry', ...away])
    t.like(await read(id), { status: 'active' })
    await access(true)
    t.true((await bills(id))[1].attempts.length >= 6)
    t.like(await pay(id, 'pm_good'), { status: 'active', nextPayment: { on: '2024-03-01' } })
  })

  story('one provider that is away does not make another be asked every hour after its issuer has said no', async (world) => {
    const { t, buy, clock, shop, read, bills } = await openBilling(world)
    const { id } = await buy()
    const { paymentMethods } = (await shop.api.get('/storefronts/us-store/customers/c')).body
    const tokens = { stripe: 'pm_decline_issuer_soft', paypal: 'pm_refused' }
    await shop.api.patch('/storefronts/us-store/customers/c', { paymentMethods: [{ id: paymentMethods[0].id, type: 'card', tokens }] })
    await clock('2024-02-01T12:00:00Z', ['payment', 'attempt', 'attempt', 'payment_failed', 'past_due'])
    t.is((await read(id)).status, 'past_due')
    t.is((await bills(id))[1].attempts.length, 2)
  })

  story('a provider that stays away for as long as grace lasts makes the renewal overdue, and then grace begins', async (world) => {
    const sixTimes = Array<string[]>(6)
      .fill(['retry', ...away])
      .flat()
    const { t, buy, clock, pay, read, access } = await openBilling(world)
    const { id } = await buy()
    await pay(id, 'pm_refused')
    await clock('2024-02-04', ['payment', ...away, ...sixTimes, 'past_due'])
    t.like(await read(id), { status: 'past_due', graceUntil: '2024-02-07T00:00:00.000Z' })
    await access(true)
    await clock('2024-02-07', ['retry', 'attempt', 'attempt', 'payment_failed', 'suspended', 'retry', 'attempt', 'attempt', 'payment_failed'])
    t.is((await read(id)).status, 'suspended')
    await access(false)
  })

  story('a renewal that waits for its webhook keeps access, and is not charged again', async (world) => {
    const { t, buy, clock, pay, read, bills, access, kept } = await openBilling(world)
    const { id } = await buy()
    await pay(id, 'pm_pending_2d')
    await clock('2024-02-02', ['payment', 'attempt'])
    t.like(await read(id), { status: 'active' })
    await access(true)
    t.is((await bills(id))[1].attempts.length, 1)
    await clock('2024-02-03', ['renewed'])
    t.like(await read(id), { status: 'active', currentPeriod: { start: '2024-02-01T00:00:00.000Z' } })
    t.is(await kept(), 2 * 2_900)
  })

  story('a renewal that needs the customer is overdue until the customer acts', async (world) => {
    const { t, buy, clock, pay, read, bills, access } = await openBilling(world, { billing: { actionHours: 24 * 7 } })
    const { id } = await buy()
    await pay(id, 'pm_sca')
    await clock('2024-02-01', ['payment', 'attempt', 'past_due'])
    t.like(await read(id), { status: 'past_due', graceUntil: '2024-02-04T00:00:00.000Z' })
    await clock('2024-02-05', ['retry', 'suspended', 'retry'])
    await access(false)
    const { url } = (await bills(id))[1].attempts[0].nextAction
    t.is((await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"outcome":"approve"}' })).status, 200)
    await access(true)
    t.like(await read(id), { status: 'active', nextPayment: { on: '2024-03-01' } })
  })

  story('a suspension is not billed: a short plan that recovers late goes on from then', async (world) => {
    const { t, buy, clock, pay, payments, read } = await openBilling(world, {
      bundle: { pricing: { amount: 100, currency: 'USD', interval: 'day' } },
      billing: { graceHours: 24 },
    })
    const { id } = await buy()
    await pay(id, 'pm_decline_funds')
    // Overdue on the 2nd, suspended on the 3rd, paid on the 6th.
    await clock('2024-01-06T12:00:00Z', ['payment', ...declined, 'past_due', 'suspended', 'retry', ...declined, 'retry', ...declined])
    t.is((await read(id)).status, 'suspended')
    t.like(await pay(id, 'pm_good'), { status: 'active' })
    await clock('2024-01-08', ['payment', 'attempt', 'renewed', 'payment', 'attempt', 'renewed'])
    t.deepEqual(await payments(id), [
      ['2024-01-01', 100, 'succeeded'],
      // The day of grace, which was used.
      ['2024-01-02', 100, 'succeeded'],
      // The rest of the day on which access came back; half a day counts as one.
      ['2024-01-06', 100, 'succeeded'],
      ['2024-01-07', 100, 'succeeded'],
      ['2024-01-08', 100, 'succeeded'],
    ])
  })

  story('one overdue subscription does not block another that is paid', async (world) => {
    const { t, buy, clock, pay, access, read } = await openBilling(world, { billing: { graceHours: 0 }, bundles: { other: {} } })
    const overdue = await buy()
    const paid = await buy({ bundleId: 'other' })
    await pay(overdue.id, 'pm_decline_hard')
    await clock('2024-02-02', ['payment', 'attempt', 'payment_failed', 'past_due', 'suspended', 'retry', 'payment_failed', 'payment', 'attempt', 'renewed'])
    t.is((await read(overdue.id)).status, 'suspended')
    t.is((await read(paid.id)).status, 'active')
    await access(true)
  })

  story('credit is not lost when a renewal fails: it is given back with the bill', async (world) => {
    const monthly = (amount: number) => ({ pricing: { amount, currency: 'USD', interval: 'month' } })
    const { t, buy, clock, pay, tell, read, kept } = await openBilling(world, {
      now: '2024-06-01T00:00:00Z',
      bundle: monthly(4_000),
      bundles: { less: monthly(3_000) },
    })
    const { id } = await buy()
    await clock('2024-06-16', [])
    t.is((await tell(id, 'change', { bundleId: 'less' })).creditBalance, 500)
    await pay(id, 'pm_decline_funds')
    await clock('2024-07-01', ['payment', 'attempt', 'payment_failed', 'past_due'])
    t.like(await read(id), { status: 'past_due', creditBalance: 0, nextPayment: { amount: 2_500 } })
    t.like(await tell(id, 'cancel', { at: 'now' }), { creditBalance: 500 })
    t.is(await kept(), 4_000)
  })
})
