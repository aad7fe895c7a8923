/** The last day that a test clock can be set to: business goes on there as on any other. */
import test from 'ava'
import { inWorlds } from '../support/in-worlds.ts'
import { subscriptionDocument } from '../support/platform-model.ts'
import { openShop } from '../support/shop.ts'

inWorlds(test, (story) => {
  story('at the end of the year 2200 the longest bundle is bought and billed, and time goes no further', async ({ t, tollgate }) => {
    const pricing = { amount: 2900, currency: 'USD', interval: 'year', intervalCount: 3_660 }
    const shop = await openShop(t, tollgate, { now: '2200-12-31', bundle: { pricing, trialDays: 730 } })
    const order = { ...subscriptionDocument, billingCycle: undefined, customerId: 'last', startDate: '2210-12-01' }
    const { body } = await shop.api.post('/subscriptions', order)
    t.like(body, { status: 'scheduled', trialEnd: '2212-11-30T00:00:00.000Z', nextPayment: { amount: 2900, on: '2212-11-30' } }, JSON.stringify(body))
    const now = await shop.api.post('/subscriptions', { ...order, startDate: undefined })
    t.is(now.body.status, 'active', JSON.stringify(now.body))
    t.is(now.body.currentPeriod.end, '5860-12-31T00:00:00.000Z')
    t.is((await shop.setClock('2200-12-31T23:59:59.999Z')).status, 200)
    const beyond = await shop.setClock('2201-01-01T00:00:00Z')
    t.is(beyond.status, 400)
    t.regex(beyond.body.detail, /2200/)
    t.is((await shop.api.get('/test-clock')).body.now, '2200-12-31T23:59:59.999Z')
  })
})
