/** What is told ahead of time: the end of a trial, and the charge of a renewal. */
import test from 'ava'
import { type Billing, type BillingOptions, openBilling } from '../../support/billing.ts'
import { eventually } from '../../support/eventually.ts'
import { type InWorld, inWorlds } from '../../support/in-worlds.ts'

const NOTICES = 'subscription.trial_ending,subscription.renewal_upcoming'

const renewed = ['payment', 'attempt', 'renewed']

interface Told {
  type: string
  time: string
  data: { id: string; currentPeriod: { end: string }; cancelAtPeriodEnd: boolean }
}

/** Stories with the default notices, and with `told`: once everything so far is in the log, the notices as `[type, time]`. */
const openNotices = async (
  world: InWorld,
  options: BillingOptions = {},
): Promise<Billing & { told(): Promise<[string, string][]>; all(): Promise<Told[]> }> => {
  const billing = await openBilling(world, { ...options, billing: { trialNoticeDays: 3, renewalNoticeDays: 7, ...options.billing } })
  const { api } = billing.shop
  let marks = 0
  const all = async (): Promise<Told[]> => {
    // Each event that was handed on before this customer's is in the log with it.
    marks += 1
    const id = `mark${marks}`
    await api.post('/customers', { id, storefrontId: 'us-store' })
    await eventually(async () => (await api.get('/events?limit=500&types=customer.created')).body.data.some((event: Told) => event.data.id === id))
    return (await api.get(`/events?limit=500&types=${NOTICES}`)).body.data
  }
  return { ...billing, all, told: async () => (await all()).map(({ type, time }) => [type.replace('subscription.', ''), time.slice(0, 16)]) }
}

inWorlds(test, (story) => {
  story('notices: a renewal is told seven days ahead, once per period', async (world) => {
    const { t, buy, clock, all, told } = await openNotices(world)
    const { id } = await buy()
    await clock('2024-01-24T23:59:00Z', [])
    t.deepEqual(await told(), [])
    await clock('2024-01-25T00:00:00Z', ['renewal_upcoming'])
    t.deepEqual(await told(), [['renewal_upcoming', '2024-01-25T00:00']])
    t.like((await all())[0], { data: { id, status: 'active', currentPeriod: { end: '2024-02-01T00:00:00.000Z' } } } as never)
    await clock('2024-01-31', [])
    await clock('2024-03-02', [...renewed, 'renewal_upcoming', ...renewed])
    t.deepEqual(await told(), [
      ['renewal_upcoming', '2024-01-25T00:00'],
      ['renewal_upcoming', '2024-02-23T00:00'],
    ])
  })

  story('notices: nobody is told of what is not charged, or comes round within weeks', async (world) => {
    const { t, buy, tell, clock, told } = await openNotices(world, {
      bundles: {
        free: { pricing: { amount: 0, currency: 'USD', interval: 'month' } },
        weekly: { pricing: { amount: 500, currency: 'USD', interval: 'week' } },
      },
    })
    await buy({ customerId: 'free', bundleId: 'free' })
    await buy({ customerId: 'weekly', bundleId: 'weekly' })
    const canceled = await buy({ customerId: 'canceled' })
    await tell(canceled.id, 'cancel', { at: 'period_end' })
    const uncollected = await buy({ customerId: 'uncollected' })
    await tell(uncollected.id, 'pause', { what: 'collection' })
    const paused = await buy({ customerId: 'paused' })
    await tell(paused.id, 'pause', { what: 'service' })
    await clock('2024-01-30')
    t.deepEqual(await told(), [])
    // It is known from now on that there will be a charge.
    await tell(canceled.id, 'reactivate')
    await tell(uncollected.id, 'resume')
    t.deepEqual(await told(), [
      ['renewal_upcoming', '2024-01-30T00:00'],
      ['renewal_upcoming', '2024-01-30T00:00'],
    ])
    await tell(paused.id, 'resume')
    await clock('2024-02-22')
    t.is((await told()).length, 2)
    await clock('2024-02-23')
    t.is((await told()).length, 5, 'all of them have a period that ends on March 1')
  })

  story('notices: a change now begins another period, which is told in its turn', async (world) => {
    const { t, buy, tell, clock, told } = await openNotices(world, { bundles: { yearly: { pricing: { amount: 90_000, currency: 'USD', interval: 'year' } } } })
    const { id } = await buy()
    await clock('2024-01-26')
    await tell(id, 'change', { bundleId: 'yearly', at: 'now' })
    await clock('2025-01-20')
    t.deepEqual(await told(), [
      ['renewal_upcoming', '2024-01-25T00:00'],
      ['renewal_upcoming', '2025-01-19T00:00'],
    ])
  })

  story('notices: the end of a trial is told three days ahead, or as soon as a short one begins', async (world) => {
    const { t, buy, tell, clock, told, events } = await openNotices(world, {
      bundle: { trialDays: 14 },
      bundles: { day: { trialDays: 1 } },
    })
    const { id } = await buy()
    const short = await buy({ customerId: 'short', bundleId: 'day' })
    t.deepEqual(await events(short.id), ['created', 'trial_started', 'trial_ending'])
    await tell(id, 'cancel', { at: 'period_end' })
    await clock('2024-01-11')
    t.deepEqual(await events(short.id), ['created', 'trial_started', 'trial_ending', 'payment', 'attempt', 'activated'])
    await clock('2024-01-15', ['trial_ending', 'canceled'])
    t.deepEqual(await told(), [
      ['trial_ending', '2024-01-01T00:00'],
      ['trial_ending', '2024-01-12T00:00'],
    ])
  })

  story('notices: a storefront sets how many days ahead, and 0 for none', async (world) => {
    const { t, buy, clock, told, shop } = await openNotices(world, {
      billing: { renewalNoticeDays: 10, trialNoticeDays: 0 },
      bundles: { tried: { trialDays: 14 } },
    })
    await buy()
    const { body } = await shop.api.patch('/storefronts/us-store', { billing: { renewalNoticeDays: 0 } })
    t.like(body.billing, { renewalNoticeDays: 0, trialNoticeDays: 0 })
    await buy({ customerId: 'later' })
    await buy({ customerId: 'tried', bundleId: 'tried' })
    await clock('2024-02-01')
    t.deepEqual(await told(), [['renewal_upcoming', '2024-01-22T00:00']])
  })
})
