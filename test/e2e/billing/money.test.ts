/** One-time payments, refunds, the timeline, and the clock that proves it all. */
import test from 'ava'
import { openBilling } from '../../support/billing.ts'
import { inWorlds } from '../../support/in-worlds.ts'

inWorlds(test, (story) => {
  story('a one-time payment is charged once, whatever happens to its answer', async (world) => {
    const { t, shop, kept } = await openBilling(world)
    const order = { storefrontId: 'us-store', customerId: 'c', amount: 1_234, currency: 'USD', paymentMethod: 'pm_card', description: 'Setup' }
    const pay = () => shop.api.post('/payments', order, { 'idempotency-key': 'setup' })
    const [first, second] = [await pay(), await pay()]
    t.like(first, {
      status: 201,
      body: { status: 'succeeded', amount: 1_234, subscriptionId: null, period: null, lines: [{ kind: 'one_time', amount: 1_234 }] },
    })
    t.is(second.body.id, first.body.id)
    t.is(await kept(), 1_234)
    t.is((await shop.api.get('/payments?storefrontId=us-store&customerId=c')).body.data.length, 1)
    t.like((await shop.api.post('/payments', { ...order, paymentMethod: 'pm_decline_funds' })).body, {
      status: 'failed',
      attempts: [{ declineClass: 'funds' }],
    })
    t.like((await shop.api.post('/payments', { ...order, currency: 'EUR' })).body, { code: 'invalid_request', field: 'currency' })
    t.is(await kept(), 1_234)
    t.like((await shop.api.post(`/payments/${first.body.id}/refund`, { amount: 234 })).body, {
      status: 'succeeded',
      facts: ['partially_refunded'],
      refundedAmount: 234,
    })
    t.is(await kept(), 1_000)
  })

  story('refunds: in part, then the rest, and never more', async (world) => {
    const { t, buy, shop, kept } = await openBilling(world)
    const { payment } = await buy()
    const refund = (body: object, key: string) => shop.api.post(`/payments/${payment.id}/refund`, body, { 'idempotency-key': key })
    t.like((await refund({ amount: 900 }, 'a')).body, { refundedAmount: 900, facts: ['partially_refunded'], status: 'succeeded' })
    t.is((await refund({ amount: 900 }, 'a')).body.refundedAmount, 900)
    const tooMuch = await refund({ amount: 2_001 }, 'b')
    t.like(tooMuch, { status: 400, body: { field: 'amount' } })
    t.regex(tooMuch.body.detail, /20\.00 USD/)
    t.like((await refund({}, 'c')).body, { refundedAmount: 2_900, facts: ['refunded'] })
    t.is((await refund({ amount: 1 }, 'd')).status, 409)
    t.is(await kept(), 0)
  })

  story('a full refund leaves access, unless the bundle says that it ends it', async (world) => {
    const { t, buy, shop, read, access } = await openBilling(world, { bundles: { strict: { refundEndsAccess: true } } })
    const kept = await buy({ customerId: 'keeps' })
    await shop.api.post(`/payments/${kept.payment.id}/refund`)
    t.is((await read(kept.id)).status, 'active')
    const lost = await buy({ customerId: 'loses', bundleId: 'strict' })
    await shop.api.post(`/payments/${lost.payment.id}/refund`, { amount: 2_000 })
    t.is((await read(lost.id)).status, 'active')
    await shop.api.post(`/payments/${lost.payment.id}/refund`)
    t.like(await read(lost.id), { status: 'canceled', endReason: 'refunded' })
    await access(true, 'keeps')
    await access(false, 'loses')
  })

  story('refunded money is not credited again', async (world) => {
    const less = { pricing: { amount: 1_000, currency: 'USD', interval: 'month' } }
    const { t, buy, shop, clock, tell } = await openBilling(world, { now: '2024-06-01T00:00:00Z', bundles: { less } })
    const { id, payment } = await buy()
    await shop.api.post(`/payments/${payment.id}/refund`)
    await clock('2024-06-16')
    t.like(await tell(id, 'change', { bundleId: 'less' }), { creditBalance: 0, payment: { amount: 500 } })
  })

  story('money goes back once: with the refund, or as credit', async (world) => {
    const monthly = (amount: number) => ({ pricing: { amount, currency: 'USD', interval: 'month' } })
    const { t, buy, shop, tell } = await openBilling(world, {
      now: '2024-04-01T00:00:00Z',
      bundle: monthly(3_000),
      bundles: { less: monthly(1_000), more: monthly(6_000), free: monthly(0), yearly: { pricing: { amount: 30_000, currency: 'USD', interval: 'year' } } },
    })
    const refund = (payment: { id: string }) => shop.api.post(`/payments/${payment.id}/refund`)
    // A downgrade has made credit of what is then refunded.
    const down = await buy({ customerId: 'down' })
    t.is((await tell(down.id, 'change', { bundleId: 'less' })).creditBalance, 2_000)
    await refund(down.payment)
    t.like((await shop.api.get(`/subscriptions/${down.id}`)).body, { creditBalance: 0, nextPayment: { amount: 1_000 } })
    // What was credited to a longer period is refunded: it is not in that period any more.
    const longer = await buy({ customerId: 'longer' })
    t.is((await tell(longer.id, 'change', { bundleId: 'yearly' })).payment.amount, 27_000)
    await refund(longer.payment)
    t.is((await tell(longer.id, 'change', { bundleId: 'free' })).creditBalance, 27_000)
    // A piece of a period costs a share of it, and its refund is of that share.
    await shop.setClock('2024-04-16')
    const piece = await buy({ customerId: 'piece', billingDay: 1 })
    t.is(piece.payment.amount, 1_500)
    await refund(piece.payment)
    t.is((await tell(piece.id, 'change', { bundleId: 'free' })).creditBalance, 0)
    // An upgrade that waits was reckoned with what is refunded meanwhile: it is off.
    const waiting = await buy({ customerId: 'waiting' })
    await shop.api.patch(`/subscriptions/${waiting.id}`, { paymentMethod: 'pm_sca' })
    t.is((await tell(waiting.id, 'change', { bundleId: 'more' })).payment.status, 'processing')
    await refund(waiting.payment)
    t.like((await shop.api.get(`/subscriptions/${waiting.id}`)).body, { bundleId: 'pro-plan', creditBalance: 0 })
  })

  story('the timeline answers "why was I charged this?" by itself', async (world) => {
    const more = { pricing: { amount: 5_800, currency: 'USD', interval: 'month' } }
    const { t, buy, shop, clock, tell, pay } = await openBilling(world, { now: '2024-06-01T00:00:00Z', bundles: { more } })
    const { id } = await buy()
    await clock('2024-06-16')
    await tell(id, 'change', { bundleId: 'more' })
    await pay(id, 'pm_decline_funds')
    await clock('2024-07-01')
    await pay(id, 'pm_good')
    const { data } = (await shop.api.get(`/subscriptions/${id}/timeline`)).body
    const told = data.map(({ at, type, amount }: { at: string; type: string; amount: number | null }) => [at.slice(0, 10), type, amount])
    t.deepEqual(told, [
      ['2024-06-01', 'created', null],
      ['2024-06-01', 'first_payment_due', null],
      ['2024-06-01', 'payment', 2_900],
      ['2024-06-01', 'attempt', 2_900],
      ['2024-06-01', 'activated', 2_900],
      ['2024-06-16', 'change_asked', 1_450],
      ['2024-06-16', 'payment', 1_450],
      ['2024-06-16', 'attempt', 1_450],
      ['2024-06-16', 'changed', 1_450],
      ['2024-06-16', 'payment_method', null],
      ['2024-07-01', 'payment', 5_800],
      ['2024-07-01', 'attempt', 5_800],
      ['2024-07-01', 'payment_failed', 5_800],
      ['2024-07-01', 'past_due', 5_800],
      ['2024-07-01', 'payment_method', null],
      ['2024-07-01', 'attempt', 5_800],
      ['2024-07-01', 'recovered', 5_800],
    ])
    const change = data[6]
    t.deepEqual(
      change.lines.map(({ kind, bundleId, amount, period }: { kind: string; bundleId: string; amount: number; period: { start: string } }) => [
        kind,
        bundleId,
        amount,
        period.start.slice(0, 10),
      ]),
      [
        ['unused', 'pro-plan', -1_450, '2024-06-16'],
        ['plan', 'more', 2_900, '2024-06-16'],
      ],
    )
    t.true(data.every(({ why }: { why: string }) => why.length > 0))
    const page = (await shop.api.get(`/subscriptions/${id}/timeline?limit=10`)).body
    const rest = (await shop.api.get(`/subscriptions/${id}/timeline?limit=10&cursor=${page.nextCursor}`)).body
    t.deepEqual([...page.data, ...rest.data], data)
  })

  story('the timeline tells a long life from its beginning: old events are archived and found again', async (world) => {
    const { t, buy, tell, events } = await openBilling(world)
    const { id } = await buy()
    for (let n = 0; n < 30; n += 1) {
      await tell(id, 'pause')
      await tell(id, 'resume')
    }
    const told = await events(id)
    t.is(told.filter((type) => type === 'paused').length, 30)
    t.is(told.filter((type) => type === 'resumed').length, 30)
    t.is(told[0], 'created')
  })

  story('the test clock: one move of years does everything on its day, in order', async (world) => {
    const { t, buy, clock, payments, kept } = await openBilling(world, { now: '2024-01-31T00:00:00Z' })
    const { id } = await buy()
    await clock('2026-01-30')
    const made = await payments(id)
    t.is(made.length, 24)
    t.is(made[13]?.[0], '2025-02-28')
    t.is(await kept(), 24 * 2_900)
  })

  story('the test clock: it never moves back once there are subscriptions, and is only for sandboxes', async (world) => {
    const { t, buy, shop } = await openBilling(world, { now: '2024-03-01T00:00:00Z' })
    await buy()
    t.like((await shop.setClock('2024-02-29')).body, { code: 'invalid_request', field: 'now' })
    t.like((await shop.api.get('/test-clock')).body, { now: '2024-03-01T00:00:00.000Z' })
  })

  story("the test clock: the provider's delays follow it", async (world) => {
    const { t, buy, clock, read, access } = await openBilling(world)
    const { id } = await buy({ paymentMethod: 'pm_pending_12h' })
    await clock('2024-01-01T11:59:59Z')
    t.is((await read(id)).status, 'incomplete')
    await clock('2024-01-01T12:00:00Z')
    t.is((await read(id)).status, 'active')
    await access(true)
  })
})
