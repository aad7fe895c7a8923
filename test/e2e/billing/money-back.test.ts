/** Money that goes back to the customer comes off what it became since: the period's worth, then the credit. */
import test from 'ava'
import { openBilling } from '../../support/billing.ts'
import { inWorlds } from '../../support/in-worlds.ts'
import { seededRandom } from '../../support/seeded-random.ts'

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

  story('refunds of every payment leave no credit, whatever was done in between, and credit never exceeds the money', async (world) => {
    const { t, buy, clock, read, bills, shop } = await openBilling(world, {
      bundle: monthly(3_100),
      bundles: { small: monthly(310), weekly: { pricing: { amount: 700, currency: 'USD', interval: 'week' } }, yearly: yearly(36_600) },
    })
    const random = seededRandom(11)
    const pick = (n: number): number => Math.floor(random() * n)
    const { post } = shop.api
    let day = Date.UTC(2024, 0, 1)
    const after = (days: number) => {
      day += days * 86_400_000
      return clock(new Date(day).toISOString())
    }
    for (let life = 0; life < 5; life += 1) {
      const customerId = `customer-${life}`
      const ids = [(await buy({ customerId })).id]
      const did: string[] = []
      const paymentsOf = async () => (await Promise.all(ids.map(bills))).flat().filter(({ status, amount }) => status === 'succeeded' && amount > 0)
      const creditOf = async () => (await Promise.all(ids.map(read))).reduce((sum, { creditBalance }) => sum + creditBalance, 0)
      const steps: Record<string, (id: string) => Promise<unknown>> = {
        wait: () => after(1 + pick(20)),
        change: (id) => post(`/subscriptions/${id}/change`, { bundleId: ['pro-plan', 'small', 'weekly', 'yearly'][pick(4)], quantity: 1 + pick(3) }),
        'pause for a while': async (id) => {
          await post(`/subscriptions/${id}/pause`)
          await after(pick(10))
          await post(`/subscriptions/${id}/resume`)
        },
        'leave and return': async (id) => {
          await post(`/subscriptions/${id}/cancel`, { at: 'now', credit: 'prorate' })
          ids.push((await buy({ customerId })).id)
        },
        'pay late': async (id) => {
          await shop.api.patch(`/subscriptions/${id}`, { paymentMethod: 'pm_decline_funds' })
          await after(20 + pick(20))
          await shop.api.patch(`/subscriptions/${id}`, { paymentMethod: 'pm_card' })
        },
        refund: async () => {
          const made = await paymentsOf()
          const one = made[pick(made.length)]
          if (one) await post(`/payments/${one.id}/refund`, pick(2) ? {} : { amount: Math.min(100, one.amount) })
        },
      }
      for (let n = 0; n < 10; n += 1) {
        const [name, step] = Object.entries(steps)[pick(6)] ?? []
        did.push(String(name))
        await step?.(String(ids.at(-1)))
      }
      await post(`/subscriptions/${ids.at(-1)}/cancel`, { at: 'now', credit: 'prorate' })
      const money = (await paymentsOf()).reduce((sum, { amount, refundedAmount = 0 }) => sum + amount - refundedAmount, 0)
      const credit = await creditOf()
      t.true(credit <= money, `${credit} of credit for ${money}: ${did.join(', ')}`)
      for (const { id } of await paymentsOf()) await post(`/payments/${id}/refund`)
      t.is(await creditOf(), 0, did.join(', '))
    }
  })

  story('a refund that comes back after its period was left is credit', async (world) => {
    const { t, buy, clock, tell, read, shop, kept } = await openBilling(world, { bundle: monthly(3_100) })
    const { id, payment } = await buy({ paymentMethod: 'pm_refund_bounces' })
    await shop.api.post(`/payments/${payment.id}/refund`, { amount: 1_000 })
    await tell(id, 'cancel', { at: 'now', credit: 'prorate' })
    t.is((await read(id)).creditBalance, 2_100)
    await clock('2024-01-06')
    t.is(await kept(), 3_100)
    t.is((await read(id)).creditBalance, 3_100)
  })

  story('credit in two heirs is taken back once', async (world) => {
    const { t, buy, clock, tell, read, shop } = await openBilling(world, { bundle: yearly(36_600), bundles: { small: monthly(100) } })
    const { id, payment } = await buy({ paymentMethod: 'pm_refund_bounces_2d' })
    await tell(id, 'change', { bundleId: 'small' })
    await shop.api.post(`/payments/${payment.id}/refund`, { amount: 10_000 })
    await tell(id, 'cancel', { at: 'now' })
    const first = await buy({ bundleId: 'small' })
    await clock('2024-01-04')
    const second = await buy({ bundleId: 'small' })
    const credit = async () => (await read(id)).creditBalance + (await read(first.id)).creditBalance + (await read(second.id)).creditBalance
    const before = await credit()
    await shop.api.post(`/payments/${payment.id}/refund`, { amount: 5_000 })
    // 1.00 of it is what the running month of one of them is worth.
    t.is(before - (await credit()), 4_900)
  })
})
