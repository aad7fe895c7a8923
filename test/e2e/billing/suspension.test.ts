/** Time in suspension is not billed, to the day; and nobody is charged more often than card networks allow. */
import test from 'ava'
import { openBilling } from '../../support/billing.ts'
import { inWorlds } from '../../support/in-worlds.ts'

const every = (interval: string, amount: number) => ({ pricing: { amount, currency: 'USD', interval } })

// Timeline entries of one try that a provider declined.
const declined = ['attempt', 'payment_failed']

inWorlds(test, (story) => {
  story('a month that is recovered on its seventh day costs the days that had, and will have, access', async (world) => {
    const { t, buy, clock, pay, payments, read, kept } = await openBilling(world, { bundle: every('month', 2_900) })
    const { id } = await buy()
    await pay(id, 'pm_decline_funds')
    // Overdue on the 1st, suspended on the 4th, paid on the 7th: three of 29 days.
    await clock('2024-02-07', ['payment', ...declined, 'past_due', 'retry', ...declined, 'suspended', 'retry', ...declined])
    t.like(await pay(id, 'pm_good'), { status: 'active', creditBalance: 0, currentPeriod: { end: '2024-03-01T00:00:00.000Z' } })
    t.deepEqual((await payments(id)).at(-1), ['2024-02-01', 2_600, 'succeeded'])
    t.is(await kept(), 2_900 + 2_600)
    t.like(await read(id), { nextPayment: { amount: 2_900, on: '2024-03-01' } })
  })

  story('a week that began in grace and is over costs its days of grace, and the running one what is left of it', async (world) => {
    const { t, buy, clock, pay, payments, read } = await openBilling(world, {
      bundle: every('week', 700),
      billing: { retryHours: [24, 300] },
    })
    const { id } = await buy()
    await pay(id, 'pm_decline_funds')
    // Overdue on the 8th, suspended on the 11th; the week ends on the 15th, the next on the 22nd.
    await clock('2024-01-18', ['payment', 'attempt', 'payment_failed', 'past_due', 'retry', 'attempt', 'payment_failed', 'suspended'])
    await pay(id, 'pm_good')
    t.deepEqual(await payments(id), [
      ['2024-01-01', 700, 'succeeded'],
      ['2024-01-08', 300, 'succeeded'],
      ['2024-01-18', 400, 'succeeded'],
    ])
    t.like(await read(id), { status: 'active', currentPeriod: { end: '2024-01-22T00:00:00.000Z' } })
  })

  story('without grace a period that had no access costs nothing, and the schedule still ends', async (world) => {
    const { t, buy, clock, pay, read, payments, bills } = await openBilling(world, { bundle: every('day', 100), billing: { graceHours: 0 } })
    const { id } = await buy()
    await pay(id, 'pm_decline_funds')
    await clock('2024-01-03T12:00:00Z', ['payment', 'attempt', 'payment_failed', 'past_due', 'suspended', 'retry', 'attempt', 'payment_failed'])
    t.is((await read(id)).status, 'suspended')
    await clock('2024-01-04', [])
    t.is((await bills(id)).length, 2)
    await clock('2024-01-09', ['retry', 'attempt', 'payment_failed', 'retry', 'attempt', 'payment_failed', 'canceled'])
    t.like(await read(id), { status: 'canceled', endReason: 'unpaid' })
    t.deepEqual((await payments(id)).filter(([, , status]) => status === 'succeeded').length, 1)
  })

  story('money of an attempt that was made before the suspension pays the days without access into credit', async (world) => {
    const { t, buy, clock, pay, read, bills, kept } = await openBilling(world, { bundle: every('month', 2_900), billing: { actionHours: 24 * 30 } })
    const { id } = await buy()
    await pay(id, 'pm_pending_6d')
    await clock('2024-02-07', ['payment', 'attempt', 'past_due', 'retry', 'suspended', 'retry', 'recovered'])
    t.like(await read(id), { status: 'active' })
    t.is((await bills(id))[1].amount, 2_900)
    const { creditBalance } = await read(id)
    t.true([0, 100, 200, 300].includes(creditBalance))
    t.is(await kept(), 5_800)
  })

  story('every attempt that reached a network counts, whatever became of it, over all accounts', async (world) => {
    const { t, buy, clock, pay, bills } = await openBilling(world)
    const ids: string[] = []
    for (const word of ['technical', 'config']) {
      const { id } = await buy({ customerId: word })
      await pay(id, `pm_decline_${word}`)
      ids.push(id)
    }
    await clock('2024-02-04')
    for (const id of ids) {
      const attempts: { at: string }[] = (await bills(id))[1].attempts
      t.true(attempts.length > 4 && attempts.length <= 15, `${attempts.length} attempts in 72 hours`)
      t.true(attempts.filter(({ at }) => at < '2024-02-02').length <= 10)
      const hours = [...new Set(attempts.map(({ at }) => (Date.parse(at) - Date.parse('2024-02-01')) / 3_600_000))]
      t.deepEqual(hours.slice(0, 4), [0, 1, 3, 7], 'ever later')
    }
  })
})
