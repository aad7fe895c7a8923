/** Money that goes back to the customer comes off what it became since: the period's worth, then the credit. */
import test from 'ava'
import { openBilling } from '../../support/billing.ts'
import { inWorlds } from '../../support/in-worlds.ts'

const yearly = (amount: number) => ({ pricing: { amount, currency: 'USD', interval: 'year' } })
const monthly = (amount: number) => ({ pricing: { amount, currency: 'USD', interval: 'month' } })

inWorlds(test, (story) => {
  story('a refund reaches credit that came from an earlier period', async (world) => {
    const { t, buy, clock, tell, read, shop, kept } = await openBilling(world, { bundle: yearly(120_000), bundles: { small: monthly(1_000) } })
    const { id, payment } = await buy()
    await clock('2024-01-02')
    await tell(id, 'change', { bundleId: 'small' })
    await clock('2024-02-02')
    // 1,200.00 for 366 days, one of them used, and two months of 10.00 paid with what was left.
    t.is((await read(id)).creditBalance, 117_672)
    const refunded = await shop.api.post(`/payments/${payment.id}/refund`, { amount: 100_000 })
    t.is(refunded.status, 200, JSON.stringify(refunded.body))
    // The running month is worth its 10.00 of it, and so comes first.
    t.is((await read(id)).creditBalance, 18_672 - 0)
    t.is(await kept(), 20_000)
    // Leaving the month now brings nothing: it was given back.
    t.is((await shop.api.post(`/subscriptions/${id}/preview-change`, { quantity: 2 })).body.lines[0].amount, 0)
  })

  story('credit of another payment is not touched by a refund of one that is used up', async (world) => {
    const { t, buy, clock, tell, read, shop } = await openBilling(world, { bundle: monthly(3_100), bundles: { small: monthly(310) } })
    const { id, payment: january } = await buy()
    await clock('2024-02-15')
    await tell(id, 'change', { bundleId: 'small' })
    const { creditBalance } = await read(id)
    t.true(creditBalance > 0)
    await shop.api.post(`/payments/${january.id}/refund`)
    t.is((await read(id)).creditBalance, creditBalance)
  })

  story('a refund reaches the credit of a subscription that has ended', async (world) => {
    const { t, buy, clock, tell, read, shop } = await openBilling(world, { bundle: monthly(3_100), bundles: { small: monthly(310) } })
    const { id, payment } = await buy()
    await clock('2024-01-16')
    await tell(id, 'change', { bundleId: 'small' })
    const { creditBalance } = await read(id)
    await tell(id, 'cancel', { at: 'now' })
    await shop.api.post(`/payments/${payment.id}/refund`, { amount: 1_000 })
    t.is((await read(id)).creditBalance, creditBalance - 1_000)
    await shop.api.post(`/payments/${payment.id}/refund`)
    t.is((await read(id)).creditBalance, 0)
  })

  story('several refunds that are confirmed together all count', async (world) => {
    const { t, buy, clock, shop, bills } = await openBilling(world, { bundle: monthly(3_100) })
    const { id, payment } = await buy({ paymentMethod: 'pm_refund_pending' })
    await shop.api.post(`/payments/${payment.id}/refund`, { amount: 1_000 })
    await shop.api.post(`/payments/${payment.id}/refund`, { amount: 2_100 })
    t.deepEqual(
      (await bills(id))[0].refunds.map(({ status }: { status: string }) => status),
      ['pending', 'pending'],
    )
    await clock('2024-01-11')
    t.is((await bills(id))[0].refundedAmount, 3_100)
    const preview = await shop.api.post(`/subscriptions/${id}/preview-change`, { quantity: 2 })
    t.is(preview.body.lines[0].amount, 0, 'nothing of what was given back is credited')
  })

  story('a refund that comes back gives its credit back', async (world) => {
    const { t, buy, clock, shop, read, tell } = await openBilling(world, { bundle: yearly(36_600), bundles: { small: monthly(100) } })
    const { id, payment } = await buy({ paymentMethod: 'pm_refund_bounces' })
    await clock('2024-01-02')
    await tell(id, 'change', { bundleId: 'small' })
    const { creditBalance } = await read(id)
    await shop.api.post(`/payments/${payment.id}/refund`, { amount: 10_000 })
    t.is((await read(id)).creditBalance, creditBalance - 9_900)
    await clock('2024-01-06')
    t.is((await read(id)).creditBalance, creditBalance)
  })

  story('a dispute that is lost takes the same as a refund, also when it comes with one', async (world) => {
    const { t, buy, clock, shop, read, tell, bills } = await openBilling(world, {
      bundle: yearly(36_600),
      bundles: { small: monthly(100) },
      billing: { onDisputeLost: 'nothing' },
    })
    const { id, payment } = await buy({ paymentMethod: 'pm_dispute_lost' })
    await shop.api.post(`/payments/${payment.id}/refund`, { amount: 6_600 })
    await clock('2024-01-01T12:00:00Z')
    await tell(id, 'change', { bundleId: 'small' })
    await clock('2024-01-12')
    t.like((await bills(id))[0].disputes[0], { status: 'lost' })
    t.is((await read(id)).creditBalance, 0, 'all of it went back: to the customer, and to their bank')
  })

  story('credit follows its customer to the next subscription, and a refund of where it came from follows too', async (world) => {
    const { t, buy, clock, tell, read, shop, payments, kept } = await openBilling(world, { bundle: yearly(36_600), bundles: { small: monthly(3_100) } })
    const first = await buy()
    await clock('2024-01-02')
    await tell(first.id, 'cancel', { at: 'now', credit: 'prorate' })
    t.is((await read(first.id)).creditBalance, 36_500)
    const second = await buy({ bundleId: 'small' })
    t.like(second, { status: 'active', creditBalance: 33_400 })
    t.is((await read(first.id)).creditBalance, 0)
    t.deepEqual(await payments(second.id), [['2024-01-02', 0, 'succeeded']])
    await shop.api.post(`/payments/${first.payment.id}/refund`, { amount: 30_000 })
    t.is((await read(second.id)).creditBalance, 33_400 - (30_000 - 3_100))
    await shop.api.post(`/payments/${first.payment.id}/refund`)
    t.is((await read(second.id)).creditBalance, 0)
    t.is(await kept(), 0)
    t.like(await read(second.id), { status: 'active' })
  })

  story('a payment is given back in as many parts as there are', async (world) => {
    const { t, buy, shop } = await openBilling(world, { bundle: monthly(3_100) })
    const { payment } = await buy()
    for (let n = 0; n < 101; n += 1) t.is((await shop.api.post(`/payments/${payment.id}/refund`, { amount: 10 })).status, 200)
    t.like((await shop.api.post(`/payments/${payment.id}/refund`)).body, { facts: ['refunded'], refundedAmount: 3_100 })
  })

  story('a bundle that ends with its refund does so in whichever order the parts of its period are given back', async (world) => {
    const { t, buy, clock, shop, read, tell, bills } = await openBilling(world, { bundle: { ...monthly(3_100), refundEndsAccess: true } })
    for (const [customerId, order] of [
      ['a', [0, 1]],
      ['b', [1, 0]],
    ] as const) {
      const { id } = await buy({ customerId })
      await clock('2024-01-16')
      await tell(id, 'change', { quantity: 2 })
      const made = await bills(id)
      for (const n of order) await shop.api.post(`/payments/${made[n].id}/refund`)
      t.like(await read(id), { status: 'canceled', endReason: 'refunded' })
    }
  })
})
