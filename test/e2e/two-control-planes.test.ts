/** Two control planes on one storage and one feed: the shape of production. */
import test from 'ava'
import { grpcClient } from '../support/grpc-client.ts'
import { httpClient } from '../support/http-client.ts'
import { ledgerOf } from '../support/ledger.ts'
import { subscriptionDocument } from '../support/platform-model.ts'
import { openShop } from '../support/shop.ts'
import { startProcess, worlds } from '../support/tollgate.ts'

for (const world of worlds.filter(({ name }) => name.includes('NATS'))) {
  const run = world.missing === undefined ? test : test.skip
  const why = world.missing === undefined ? '' : ` (${world.missing})`

  run(`${world.name}: what one control plane is told the other knows, and of two that write one document exactly one wins${why}`, async (t) => {
    const tollgate = await world.start()
    t.teardown(tollgate.close)
    const second = await startProcess('control-plane/main.ts', { ...tollgate.env, HTTP_PORT: '0' })
    t.teardown(() => second.stop('SIGKILL'))
    const shop = await openShop(t, tollgate)
    const [here, there] = [shop.api, httpClient(second.ready, { key: shop.apiKey })]
    const grpc = grpcClient(tollgate.grpc)
    t.teardown(grpc.close)

    const { body } = await here.post('/subscriptions', subscriptionDocument)
    const canceled = await there.post(`/subscriptions/${body.id}/cancel`, { at: 'now' })
    t.is(canceled.body.status, 'canceled')
    const question = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'cust_abc123', entitlement: 'analytics_dashboard' }
    t.false((await grpc.check({ ...question, minRevision: canceled.body.entitlementRevision })).allowed)

    for (let round = 0; round < 10; round += 1) {
      const etag = (await here.get('/storefronts/us-store')).headers.get('etag') ?? ''
      const rename = (on: typeof here, name: string) => on.patch('/storefronts/us-store', { name }, { 'if-match': etag })
      const statuses = (await Promise.all([rename(here, `here ${round}`), rename(there, `there ${round}`)])).map(({ status }) => status)
      t.deepEqual(statuses.toSorted(), [200, 412])
    }

    // The same order sent to both under one key is one order, and one charge.
    const before = (await ledgerOf(tollgate, shop.tenantId)).charges.length
    const order = { ...subscriptionDocument, customerId: 'twice' }
    const answers = await Promise.all([here, there, here, there].map((on) => on.post('/subscriptions', order, { 'idempotency-key': 'order' })))
    t.true(answers.some(({ status }) => status === 201))
    t.is((await here.get('/subscriptions?storefrontId=us-store&customerId=twice')).body.data.length, 1)
    t.is((await ledgerOf(tollgate, shop.tenantId)).charges.length, before + 1)

    // Canceled at one while the other pays for it with a second card: whatever comes first, the books agree.
    for (let round = 0; round < 5; round += 1) {
      const declined = (await here.post('/subscriptions', { ...subscriptionDocument, customerId: `torn-${round}`, paymentMethod: 'pm_decline_hard' })).body
      await Promise.all([
        here.patch(`/subscriptions/${declined.id}`, { paymentMethod: 'pm_good' }),
        there.post(`/subscriptions/${declined.id}/cancel`, { at: 'now' }),
      ])
      const payment = (await here.get(`/payments/${declined.payment.id}`)).body
      t.is((await here.get(`/subscriptions/${declined.id}`)).body.status, 'canceled')
      const { charges, refunds } = await ledgerOf(tollgate, shop.tenantId)
      const charged = charges.filter(({ reference, status }) => reference.startsWith(payment.id) && status === 'succeeded')
      const returned = refunds.filter(({ chargeReference }) => chargeReference.startsWith(payment.id))
      t.is(
        payment.refundedAmount,
        returned.reduce((sum, { amount }) => sum + amount, 0),
      )
      // Paid in time, the period was the customer's until the cancellation; too late, the money went back.
      t.true(charged.length - returned.length === 0 || payment.status === 'succeeded', JSON.stringify({ payment, charged, returned }))
    }
  })
}
