/** The last day that a test clock can be set to: business goes on there as on any other. */
import test from 'ava'
import { eventually } from '../support/eventually.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { subscriptionDocument } from '../support/platform-model.ts'
import { openShop } from '../support/shop.ts'

inWorlds(test, (story) => {
  story('the longest bundle is bought and billed at the end of the year 2200, and time goes no further', async ({ t, tollgate }) => {
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

  story('a move whose caller is gone stops where it got to, says where that is, and goes on when it is asked for again', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, { now: '2024-01-01', bundle: { pricing: { amount: 100, currency: 'USD', interval: 'day' }, trialDays: 0 } })
    for (let n = 0; n < 5; n += 1) await shop.subscribe(`c${n}`)
    const gone = new AbortController()
    const headers = { authorization: `Bearer ${shop.apiKey}`, 'content-type': 'application/json' }
    const moving = fetch(`${tollgate.http}/v1/test-clock`, {
      method: 'PUT',
      headers,
      body: JSON.stringify({ now: '2034-01-01T00:00:00Z' }),
      signal: gone.signal,
    })
    const now = async () => (await shop.api.get('/test-clock')).body.now as string
    await eventually(async () => (await now()) > '2024-01-05')
    gone.abort()
    await t.throwsAsync(moving)
    let before = ''
    await eventually(
      async () => {
        const at = await now()
        const stands = at === before
        before = at
        return stands
      },
      15_000,
      500,
    )
    t.true(before < '2033', before)
    // Time is not lost: what was due by then is done, and it goes on from there.
    const target = new Date(new Date(before).getTime() + 2 * 86_400_000).toISOString()
    t.is((await shop.setClock(target)).status, 200)
    t.is(await now(), target)
  })
})
