/** What can be cleared of a customer, and how one is taken away: seen as users see it, over HTTP and at the sidecar. */
import test from 'ava'
import { Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { httpClient } from '../support/http-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'

const facts = { email: 'john@example.com', name: 'John', country: 'US', metadata: { note: 'met at the fair' } }

inWorlds(test, (story) => {
  story("null clears a customer's field, and nothing else", async ({ t, tollgate }) => {
    const { api } = await openShop(t, tollgate)
    const at = '/storefronts/us-store/customers/c'
    t.is((await api.post('/customers', { id: 'c', storefrontId: 'us-store', ...facts })).status, 201)
    for (const field of ['email', 'name', 'country'] as const) {
      const before = (await api.get(at)).body
      const { body, status } = await api.patch(at, { [field]: null })
      t.is(status, 200)
      t.deepEqual(body, { ...before, [field]: null })
      t.deepEqual((await api.get(at)).body, body)
    }
    t.deepEqual((await api.patch(at, { metadata: null })).body.metadata, {})
    t.is((await api.patch(at, { paymentMethods: null })).body.field, 'paymentMethods')
    t.is((await api.post('/customers', { id: 'd', storefrontId: 'us-store', email: null })).body.field, 'email')
    t.is((await api.patch(at, { email: 'new@example.com' })).body.email, 'new@example.com')
  })

  story('a customer is found by e-mail address, and by payment; until it is erased', async ({ t, tollgate }) => {
    const { api, subscribe } = await openShop(t, tollgate)
    const find = async (query: string, storefront = 'us-store', by = api) => (await by.get(`/storefronts/${storefront}/customers?${query}`)).body.data
    const idsOf = async (email: string) => (await find(`email=${encodeURIComponent(email)}`)).map(({ id }: { id: string }) => id)
    for (const [id, email] of Object.entries({ c: 'John+Shop@Example.com', d: 'john+shop@example.com', e: 'john@example.com' }))
      t.is((await api.post('/customers', { id, storefrontId: 'us-store', email })).status, 201)
    t.deepEqual(await idsOf('John+Shop@Example.com'), ['c', 'd'], 'as it is stored, or in small letters')
    t.deepEqual(await idsOf('john+shop@example.com'), ['d'])
    t.is((await find('email=John%2BShop@Example.com'))[0].email, 'John+Shop@Example.com')
    t.deepEqual(await idsOf('ohn@example.com'), [], 'the whole address')
    t.deepEqual(await find('email=john@example.com', 'eu-store'), [])
    await api.patch('/storefronts/us-store/customers/d', { email: 'jane@example.com' })
    await api.patch('/storefronts/us-store/customers/e', { email: null })
    t.deepEqual([await idsOf('John+Shop@Example.com'), await idsOf('Jane@example.com'), await idsOf('john@example.com')], [['c'], ['d'], []])
    const first = await api.get('/storefronts/us-store/customers?email=jane@example.com&limit=1')
    t.deepEqual([first.body.data.length, first.body.nextCursor], [1, undefined])

    const { payment } = (await subscribe('c')).body
    const made = (await find(`paymentId=${payment.id}`)).map(({ id }: { id: string }) => id)
    t.deepEqual(made, ['c'])
    t.deepEqual(await find(`paymentId=${payment.id}`, 'eu-store'), [])
    t.deepEqual(await find('paymentId=none'), [])

    const limited = httpClient(tollgate.http, { key: (await api.post('/api-keys', { role: 'read', storefronts: ['eu-store'] })).body.secret })
    t.is((await limited.get('/storefronts/us-store/customers?email=jane@example.com')).status, 403)
    t.deepEqual(await find(`paymentId=${payment.id}`, 'eu-store', limited), [])

    t.is((await api.call('DELETE', '/storefronts/us-store/customers/c?cancel=now')).status, 200)
    t.deepEqual([await idsOf('John+Shop@Example.com'), await find(`paymentId=${payment.id}`)], [[], []])
  })

  story('an erased customer is gone everywhere, its books are kept under another name, and the id may be used again', async ({ t, tollgate, grpc }) => {
    const { api, subscribe, tenantId } = await openShop(t, tollgate)
    const id = 'john@example.com'
    const at = `/storefronts/us-store/customers/${encodeURIComponent(id)}`
    t.is((await api.post('/customers', { id, storefrontId: 'us-store', ...facts })).status, 201)
    const bought = await subscribe(id)
    t.is(bought.status, 201)
    const { id: subscription, payment, entitlementRevision } = bought.body
    await api.patch(`/subscriptions/${subscription}`, { metadata: { note: 'John' } })
    const paid = await api.post('/payments', {
      storefrontId: 'us-store',
      customerId: id,
      amount: 500,
      currency: 'USD',
      paymentMethod: 'pm_pending',
      description: 'for John',
    })
    await eventually(async () => (await api.get(`/payments/${paid.body.id}`)).body.status === 'succeeded')
    const event = await eventuallyAnEvent(api, paid.body.id)
    const question = { tenantId, storefrontId: 'us-store', customerId: id, entitlement: 'analytics_dashboard' }
    t.is((await grpc.check({ ...question, minRevision: entitlementRevision })).reason, Reason.REASON_GRANTED)

    const refused = await api.call('DELETE', at)
    t.is(refused.status, 409)
    t.is(refused.body.code, 'not_allowed_in_state')
    t.regex(refused.body.detail, new RegExp(`subscriptions that have not ended: ${subscription}.*cancel=now`))
    t.is((await api.call('DELETE', `${at}?cancel=later`)).body.field, 'cancel')
    t.is((await api.call('DELETE', `${at}?cancel=now`, undefined, { 'if-match': '"1"' })).status, 412)
    t.is((await api.get(at)).body.email, facts.email, 'what is refused changes nothing')

    const { body, status } = await api.call('DELETE', `${at}?cancel=now`)
    t.is(status, 200, JSON.stringify(body))
    t.true(body.finished)
    t.regex(body.keptAs, /^erased_[0-9a-f]{32}$/)
    for (const path of [at, `${at}/entitlements`]) t.is((await api.get(path)).status, 404, path)
    t.is((await api.call('DELETE', at)).status, 404)
    t.is((await api.patch(at, { name: 'John' })).status, 404)
    t.deepEqual((await api.get('/storefronts/us-store/customers')).body.data, [])
    await eventually(async () => (await grpc.check(question)).reason === Reason.REASON_CUSTOMER_UNKNOWN)

    const kept = await api.get(`/payments?storefrontId=us-store&customerId=${body.keptAs}`)
    t.deepEqual(kept.body.data.map((one: { id: string }) => one.id).toSorted(), [payment.id, paid.body.id].toSorted())
    t.like(
      kept.body.data.find((one: { id: string }) => one.id === paid.body.id),
      { amount: 500, status: 'succeeded', description: null },
    )
    t.like((await api.get(`/subscriptions/${subscription}`)).body, { status: 'canceled', customerId: body.keptAs, metadata: {} })
    for (const path of ['/payments', '/subscriptions', `/subscriptions/${subscription}/timeline`, '/webhook-events']) {
      t.false(/john/i.test(JSON.stringify((await api.get(path)).body)), path)
    }
    const inbox = await api.get(`/webhook-events/${event.account}/${event.id}`)
    t.like(inbox.body, { id: event.id, type: event.type, receivedAt: event.receivedAt, status: 'applied', body: null })
    t.truthy(inbox.body.erasedAt)
    const replayed = await api.post(`/webhook-events/${event.account}/${event.id}/replay`)
    t.is(replayed.status, 409)
    t.regex(replayed.body.detail, /erased with its customer/)

    for (const door of ['/customers', '/subscriptions'] as const) {
      const named = door === '/customers' ? { id: body.keptAs } : { customerId: body.keptAs, bundleId: 'pro-plan', paymentMethod: 'pm' }
      t.is((await api.post(door, { storefrontId: 'us-store', ...named })).status, 400, "the name of an erased customer is nobody else's")
    }
    const anew = await subscribe(id)
    t.is(anew.status, 201)
    t.true(anew.body.entitlementRevision > entitlementRevision)
    t.is((await grpc.check({ ...question, minRevision: anew.body.entitlementRevision })).reason, Reason.REASON_GRANTED)
    t.is((await api.get(at)).body.email, null)
  })
})

const eventuallyAnEvent = async (
  api: { get(path: string): Promise<{ body: { data: { account: string; id: string; type: string; receivedAt: string; paymentId: string }[] } }> },
  paymentId: string,
) => {
  const find = async () => (await api.get('/webhook-events')).body.data.find((one) => one.paymentId === paymentId)
  await eventually(async () => (await find()) !== undefined)
  const found = await find()
  if (!found) throw new Error('no event of the payment is in the inbox')
  return found
}
