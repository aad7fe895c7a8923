/** What may be bought, by whom, and how often for nothing: bundles off sale, sold once per customer, and free trials. */
import test from 'ava'
import type { HttpAnswer } from '../support/http-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { bundleDocument } from '../support/platform-model.ts'
import { openShop, type Shop } from '../support/shop.ts'

/** Each round is a race anew; a rule that is only looked at before the write loses the first. */
const ROUNDS = 25

const path = '/storefronts/us-store/bundles/pro-plan'

const buy = (shop: Shop, customerId: string, change: object = {}, headers: Record<string, string> = {}): Promise<HttpAnswer> =>
  shop.api.post('/subscriptions', { customerId, bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod: 'pm_card', ...change }, headers)

const statuses = (answers: HttpAnswer[]): number[] => answers.map(({ status }) => status).toSorted((a, b) => a - b)

inWorlds(test, (story) => {
  story('a bundle that is off sale is bought by nobody, and kept by whoever has it', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const { body: kept } = await buy(shop, 'early')
    const { body: off, status } = await shop.api.patch(path, { onSale: false })
    t.is(status, 200)
    t.like(off, { onSale: false, onePerCustomer: false, version: 1, name: 'Pro Plan' })

    const refused = await buy(shop, 'late')
    t.is(refused.status, 409)
    t.is(refused.body.code, 'not_allowed_in_state')
    t.regex(refused.body.detail, /pro-plan is not on sale/)
    t.is((await shop.api.get('/storefronts/us-store/customers/late')).status, 404, 'what is refused makes no customer')

    t.is((await shop.setClock('2024-04-15T00:00:00Z')).status, 200)
    t.like((await shop.api.get(`/subscriptions/${kept.id}`)).body, { status: 'active', currentPeriod: { start: '2024-04-15T00:00:00.000Z' } })
    t.is((await shop.api.post(`/subscriptions/${kept.id}/change`, { quantity: 3 })).status, 200, 'seats may change')

    // A new version says nothing of it, so it stays off.
    const { body: second } = await shop.api.put(path, { ...bundleDocument, name: 'Pro' })
    t.like(second, { version: 2, onSale: false })
    t.is((await buy(shop, 'late')).status, 409)
    t.is((await shop.api.patch(path, { onSale: true })).status, 200)
    t.is((await buy(shop, 'late')).status, 201)
  })

  story('the customers of a bundle are listed, also by status', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    await shop.api.post('/bundles', { ...bundleDocument, id: 'basic' })
    const [first, second] = [(await buy(shop, 'a')).body, (await buy(shop, 'b')).body]
    const other = (await buy(shop, 'c', { bundleId: 'basic' })).body
    await shop.api.post(`/subscriptions/${first.id}/cancel`, { at: 'now' })
    const list = async (query: string) => (await shop.api.get(`/subscriptions?storefrontId=us-store&${query}`)).body.data.map(({ id }: { id: string }) => id)
    t.deepEqual(await list('bundleId=pro-plan'), [first.id, second.id])
    t.deepEqual(await list('bundleId=pro-plan&status=active'), [second.id])
    t.deepEqual(await list('bundleId=pro-plan&status=canceled'), [first.id])
    t.deepEqual(await list('bundleId=basic'), [other.id])
    t.deepEqual(await list('bundleId=none'), [])
  })

  story('a bundle may be made off sale, and be offered to nobody', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const soon = { ...bundleDocument, id: 'soon', entitlements: [{ type: 'feature_flag', value: 'soon' }], onSale: false }
    t.like((await shop.api.post('/bundles', soon)).body, { onSale: false })
    const bought = (await buy(shop, 'c')).body
    const question = {
      tenantId: shop.tenantId,
      storefrontId: 'us-store',
      customerId: 'c',
      entitlement: 'soon',
      amount: 0n,
      minRevision: BigInt(bought.entitlementRevision),
    }
    const offers = () =>
      new Promise((resolve, reject) => {
        grpc.raw.explainEntitlement(question, (error, answer) => (error ? reject(error) : resolve(answer.offers.map(({ bundleId }) => bundleId))))
      })
    t.deepEqual(await offers(), [])
    await shop.api.patch('/storefronts/us-store/bundles/soon', { onSale: true })
    t.deepEqual(await offers(), ['soon'])
  })

  story('a PATCH of a bundle makes no version, and one of two that read the same bundle is told', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const etag = (await shop.api.get(path)).headers.get('etag') ?? ''
    const answers = await Promise.all(['a', 'b', 'c'].map((name) => shop.api.patch(path, { name }, { 'if-match': etag })))
    t.deepEqual(statuses(answers), [200, 412, 412])
    const { body, headers } = await shop.api.get(path)
    t.is(body.version, 1)
    t.not(headers.get('etag'), etag)
    t.is((await shop.api.put(path, bundleDocument, { 'if-match': etag })).status, 412)
    t.is((await shop.api.put(path, bundleDocument, { 'if-match': headers.get('etag') ?? '' })).status, 200)
    t.like((await shop.api.get(`${path}?version=1`)).body, { version: 1, onSale: true })
  })

  story('a bundle that is sold once per customer is not bought twice, until the first is over', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, { bundle: { onePerCustomer: true } })
    const { body: first } = await buy(shop, 'c')
    const refused = await buy(shop, 'c', { startDate: '2024-06-01' })
    t.is(refused.status, 409)
    t.is(refused.body.code, 'not_allowed_in_state')
    t.true(refused.body.detail.includes(first.id), refused.body.detail)
    t.is((await buy(shop, 'd')).status, 201, 'another customer may')
    await shop.api.post(`/subscriptions/${first.id}/cancel`, { at: 'period_end' })
    t.is((await buy(shop, 'c')).status, 409, 'it runs to the end of its period')
    await shop.api.post(`/subscriptions/${first.id}/cancel`, { at: 'now' })
    t.is((await buy(shop, 'c')).status, 201)
  })

  story('a scheduled, an unpaid, and a subscription that is going to change to it counts as the one', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, { bundle: { onePerCustomer: true } })
    t.is((await buy(shop, 'later', { startDate: '2024-06-01' })).body.status, 'scheduled')
    t.is((await buy(shop, 'later')).status, 409)
    t.is((await buy(shop, 'broke', { paymentMethod: 'pm_decline_funds' })).body.status, 'incomplete')
    t.is((await buy(shop, 'broke')).status, 409)
    await shop.api.post('/bundles', { ...bundleDocument, id: 'basic', pricing: { ...bundleDocument.pricing, amount: 900 } })
    const { body: basic } = await buy(shop, 'mover', { bundleId: 'basic' })
    await shop.api.post(`/subscriptions/${basic.id}/change`, { bundleId: 'pro-plan', at: 'period_end' })
    t.is((await buy(shop, 'mover')).status, 409)
    t.is((await buy(shop, 'mover', { bundleId: 'basic' })).status, 201)
  })

  story('a purchase that was refused, taken back or left again is not in the way of buying it', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, { bundle: { onePerCustomer: true } })
    await shop.api.post('/bundles', { ...bundleDocument, id: 'free', pricing: { ...bundleDocument.pricing, amount: 0 } })
    const change = async (id: string, body: object) => (await shop.api.post(`/subscriptions/${id}/change`, body)).status
    const { body: free } = await buy(shop, 'refused', { bundleId: 'free', paymentMethod: undefined })
    t.true((await change(free.id, { bundleId: 'pro-plan', at: 'now' })) >= 400, 'there is nothing to pay with')
    t.is((await buy(shop, 'refused')).status, 201)
    const { body: back } = await buy(shop, 'back', { bundleId: 'free' })
    t.is(await change(back.id, { bundleId: 'pro-plan', at: 'period_end' }), 200)
    t.is(await change(back.id, { bundleId: 'free', at: 'period_end' }), 200)
    t.is((await buy(shop, 'back')).status, 201)
    const { body: left } = await buy(shop, 'left')
    t.is(await change(left.id, { bundleId: 'free', at: 'now' }), 200)
    t.is((await buy(shop, 'left')).status, 201)
  })

  story('a repeat of a purchase is answered with it, whatever has happened to the bundle since', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, { bundle: { onePerCustomer: true } })
    const key = { 'idempotency-key': 'once' }
    const { body: first } = await buy(shop, 'c', {}, key)
    await shop.api.patch(path, { onSale: false })
    const again = await buy(shop, 'c', {}, key)
    t.is(again.status, 201)
    t.is(again.body.id, first.id)
  })

  story(`one in each four of ${ROUNDS} × 4 purchases at the same moment, of a bundle that is sold once, is made`, async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, { bundle: { onePerCustomer: true } })
    for (let round = 0; round < ROUNDS; round += 1) {
      const customerId = `c${round}`
      // Of every other round the customer is known before.
      if (round % 2 === 0) await shop.api.post('/customers', { id: customerId, storefrontId: 'us-store' })
      const answers = await Promise.all(['a', 'b', 'c', 'd'].map((n) => buy(shop, customerId, { paymentMethod: `pm_${n}` })))
      t.deepEqual(statuses(answers), [201, 409, 409, 409], JSON.stringify(answers.map(({ body }) => body)))
      const { data } = (await shop.api.get(`/subscriptions?storefrontId=us-store&customerId=${customerId}`)).body
      t.is(data.length, 1)
      const methods = (await shop.api.get(`/storefronts/us-store/customers/${customerId}`)).body.paymentMethods
      t.deepEqual(
        methods.map(({ id }: { id: string }) => id),
        [data[0].paymentMethod],
        'who is refused leaves no payment method behind',
      )
    }
  })

  story(`one in each three of ${ROUNDS} × 3 trials at the same moment is given`, async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, { bundle: { trialDays: 14 } })
    for (let round = 0; round < ROUNDS; round += 1) {
      const answers = await Promise.all([0, 1, 2].map(() => buy(shop, `c${round}`, { paymentMethod: undefined })))
      const told = JSON.stringify(answers.map(({ body }) => body))
      t.is(statuses(answers).filter((status) => status === 201).length, 1, told)
      // The trial has been given away, or on a slow server may still be.
      for (const { status, body } of answers)
        if (status !== 201) t.regex(body.detail, status === 400 ? /used their free trial/ : /being created right now/, told)
    }
  })

  story('thirty purchases of one customer at the same moment are all made where no rule forbids it', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const answers = await Promise.all(Array.from({ length: 30 }, (_, n) => buy(shop, 'c', { paymentMethod: `pm_${n}` })))
    t.deepEqual(new Set(statuses(answers)), new Set([201]), JSON.stringify(answers.find(({ status }) => status !== 201)?.body))
    t.is((await shop.api.get('/storefronts/us-store/customers/c')).body.paymentMethods.length, 30)
  })

  story('a customer who has had the trial of a bundle pays from the start', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, { bundle: { trialDays: 14 } })
    const { body: first } = await buy(shop, 'c', { paymentMethod: undefined })
    t.like(first, { status: 'trialing', trialEnd: '2024-03-29T00:00:00.000Z' })
    await shop.api.post(`/subscriptions/${first.id}/cancel`, { at: 'now' })

    const without = await buy(shop, 'c', { paymentMethod: undefined })
    t.like(without, { status: 400 })
    t.is(without.body.field, 'paymentMethod')
    t.regex(without.body.detail, /used their free trial/)
    t.like((await buy(shop, 'c')).body, { status: 'active', trialEnd: null, payment: { amount: 2900, status: 'succeeded' } })

    // Another bundle has a trial of its own.
    await shop.api.post('/bundles', { ...bundleDocument, id: 'team', trialDays: 7 })
    t.like((await buy(shop, 'c', { bundleId: 'team' })).body, { status: 'trialing' })
  })

  story('a trial that was changed to another bundle is still the trial of the first', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, { bundle: { trialDays: 14 } })
    await shop.api.post('/bundles', { ...bundleDocument, id: 'team', trialDays: 7 })
    const { body: first } = await buy(shop, 'c')
    t.is((await shop.api.post(`/subscriptions/${first.id}/change`, { bundleId: 'team' })).body.status, 'trialing')
    await shop.api.post(`/subscriptions/${first.id}/cancel`, { at: 'now' })
    t.like((await buy(shop, 'c')).body, { status: 'active', trialEnd: null })
  })

  story('a trial that was canceled before it began is not used; one that is still to come is spoken for', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, { bundle: { trialDays: 14 } })
    const { body: later } = await buy(shop, 'c', { startDate: '2024-05-01' })
    t.like(later, { status: 'scheduled', trialEnd: '2024-05-15T00:00:00.000Z' })
    const { body: now } = await buy(shop, 'c')
    t.like(now, { status: 'active', trialEnd: null })
    await shop.api.post(`/subscriptions/${later.id}/cancel`, { at: 'now' })
    t.like((await buy(shop, 'c')).body, { status: 'trialing' })
  })

  story('a storefront says how many trials there are, and its present rule counts', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, { bundle: { trialDays: 14 } })
    await shop.api.post('/bundles', { ...bundleDocument, id: 'team', trialDays: 7 })
    t.is((await shop.api.get('/storefronts/us-store')).body.billing.trialOncePer, 'bundle')
    const rule = async (trialOncePer: string) => {
      const { status, body } = await shop.api.patch('/storefronts/us-store', { billing: { trialOncePer } })
      t.is(status, 200)
      t.is(body.billing.trialOncePer, trialOncePer)
    }
    await rule('none')
    for (let n = 0; n < 3; n += 1) t.is((await buy(shop, 'c')).body.status, 'trialing')
    await rule('customer')
    t.is((await buy(shop, 'c', { bundleId: 'team' })).body.status, 'active')
    t.is((await buy(shop, 'd', { bundleId: 'team' })).body.status, 'trialing')
    await rule('bundle')
    t.is((await buy(shop, 'c', { bundleId: 'team' })).body.status, 'trialing')
  })
})
