/** How access follows a subscription through its life, at the sidecar, by the tenant's own clock. */
import test from 'ava'
import { Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'

inWorlds(test, (story) => {
  story('canceled now: access closes at once', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const question = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'analytics_dashboard' }
    const { body } = await shop.subscribe('c')
    t.true((await grpc.check({ ...question, minRevision: body.entitlementRevision })).allowed)
    const canceled = await shop.api.post(`/subscriptions/${body.id}/cancel`, { at: 'now' })
    t.like(canceled.body, { status: 'canceled', nextPayment: null, endReason: 'canceled' })
    t.true(canceled.body.entitlementRevision > body.entitlementRevision)
    t.like(await grpc.check({ ...question, minRevision: canceled.body.entitlementRevision }), { allowed: false, reason: Reason.REASON_SUBSCRIPTION_INACTIVE })
  })

  story('canceled at period end: access runs to the last second, can be taken back, and then ends by itself', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const question = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'analytics_dashboard' }
    const { body } = await shop.subscribe('c')
    const cancel = () => shop.api.post(`/subscriptions/${body.id}/cancel`, { at: 'period_end' })
    t.like((await cancel()).body, { status: 'active', cancelAtPeriodEnd: true, nextPayment: null })
    t.like((await shop.api.post(`/subscriptions/${body.id}/reactivate`)).body, { cancelAtPeriodEnd: false, nextPayment: { on: '2024-04-15' } })
    t.is((await shop.api.post(`/subscriptions/${body.id}/reactivate`)).status, 409)
    const { entitlementRevision: minRevision } = (await cancel()).body
    const before = await grpc.check({ ...question, minRevision })
    t.true(before.allowed)
    t.is(before.validUntil?.toISOString(), '2024-04-15T00:00:00.000Z')

    await shop.setClock('2024-04-14T23:59:59Z')
    t.true((await grpc.check(question)).allowed)
    await shop.setClock('2024-04-15T00:00:00Z')
    await eventually(async () => !(await grpc.check(question)).allowed)
    t.is((await grpc.check(question)).reason, Reason.REASON_EXPIRED)
    t.like((await shop.api.get(`/subscriptions/${body.id}`)).body, { status: 'canceled', endReason: 'period_end', endedAt: '2024-04-15T00:00:00.000Z' })
    t.is((await shop.api.post(`/subscriptions/${body.id}/cancel`, { at: 'now' })).status, 409)
    t.is((await shop.api.get(`/payments?subscriptionId=${body.id}`)).body.data.length, 1)
  })

  story('two subscriptions: limits add up, and the end of one leaves the other alone', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const question = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'api_limit' }
    const first = (await shop.subscribe('c')).body
    const second = (await shop.subscribe('c')).body
    t.is((await grpc.check({ ...question, minRevision: second.entitlementRevision })).limit, 20_000n)
    const { entitlementRevision: minRevision } = (await shop.api.post(`/subscriptions/${first.id}/cancel`, { at: 'now' })).body
    t.like(await grpc.check({ ...question, minRevision }), { allowed: true, limit: 10_000n, subscriptionId: second.id })
  })

  story('a start in the future opens access then, and a start in the past anchors there', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const order = { bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod: 'pm_card' }
    const question = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'later', entitlement: 'analytics_dashboard' }
    const later = await shop.api.post('/subscriptions', { ...order, customerId: 'later', startDate: '2024-03-20' })
    t.like(later.body, { status: 'scheduled', nextPayment: { amount: 2900, on: '2024-03-20' } })
    t.like(await grpc.check({ ...question, minRevision: later.body.entitlementRevision }), { allowed: false, reason: Reason.REASON_SUBSCRIPTION_INACTIVE })
    await shop.setClock('2024-03-20T00:00:00Z')
    t.like((await shop.api.get(`/subscriptions/${later.body.id}`)).body, { status: 'active', nextPayment: { on: '2024-04-20' } })
    await eventually(async () => (await grpc.check(question)).allowed)

    const past = await shop.api.post('/subscriptions', { ...order, customerId: 'past', startDate: '2024-01-31' })
    t.like(past.body, { status: 'active', currentPeriod: { start: '2024-02-29T00:00:00.000Z', end: '2024-03-31T00:00:00.000Z' } })
  })

  story('a trial gives access to the second, is then paid for, and without a payment method pauses', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate, { bundle: { trialDays: 14 }, now: '2024-03-15T09:30:00Z' })
    const ask = (customerId: string) => grpc.check({ tenantId: shop.tenantId, storefrontId: 'us-store', customerId, entitlement: 'analytics_dashboard' })
    const paying = (await shop.subscribe('paying')).body
    t.like(paying, { status: 'trialing', trialEnd: '2024-03-29T09:30:00.000Z', payment: null, nextPayment: { amount: 2900, on: '2024-03-29' } })
    const guest = (await shop.api.post('/subscriptions', { customerId: 'guest', bundleId: 'pro-plan', storefrontId: 'us-store' })).body
    t.is(guest.status, 'trialing')
    await shop.setClock('2024-03-29T09:29:59Z')
    await eventually(async () => (await ask('guest')).allowed)
    await shop.setClock('2024-03-29T09:30:00Z')
    await eventually(async () => !(await ask('guest')).allowed)
    t.is((await shop.api.get(`/subscriptions/${guest.id}`)).body.status, 'paused')
    t.like((await shop.api.get(`/subscriptions/${paying.id}`)).body, { status: 'active', nextPayment: { on: '2024-04-29' } })
    t.true((await ask('paying')).allowed)
  })

  story('renewals are charged on the anchor day, and a failed one leaves grace, then closes access until it is paid', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate, { now: '2024-01-31T00:00:00Z' })
    const question = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'analytics_dashboard' }
    const { body } = await shop.subscribe('c')
    await shop.setClock('2024-04-01T00:00:00Z')
    const { data } = (await shop.api.get(`/payments?subscriptionId=${body.id}`)).body
    t.deepEqual(
      data.map((payment: { status: string; period: { start: string } }) => [payment.status, payment.period.start.slice(0, 10)]),
      [
        ['succeeded', '2024-01-31'],
        ['succeeded', '2024-02-29'],
        ['succeeded', '2024-03-31'],
      ],
    )
    await shop.api.patch(`/subscriptions/${body.id}`, { paymentMethod: 'pm_decline_funds' })
    await shop.setClock('2024-04-30T00:00:00Z')
    t.like((await shop.api.get(`/subscriptions/${body.id}`)).body, { status: 'past_due', graceUntil: '2024-05-03T00:00:00.000Z' })
    t.true((await grpc.check(question)).allowed)
    await shop.setClock('2024-05-03T00:00:00Z')
    await eventually(async () => !(await grpc.check(question)).allowed)
    t.is((await shop.api.get(`/subscriptions/${body.id}`)).body.status, 'suspended')
    const paid = (await shop.api.patch(`/subscriptions/${body.id}`, { paymentMethod: 'pm_good' })).body
    t.like(paid, { status: 'active', nextPayment: { on: '2024-05-31' } })
    t.true((await grpc.check({ ...question, minRevision: paid.entitlementRevision })).allowed)
  })

  story('a free bundle needs no payment', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate, { bundle: { pricing: { amount: 0, currency: 'USD', interval: 'month' } } })
    const { body } = await shop.api.post('/subscriptions', { customerId: 'c', bundleId: 'pro-plan', storefrontId: 'us-store' })
    t.like(body, { status: 'active', payment: null, nextPayment: null })
    const question = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'analytics_dashboard' }
    t.true((await grpc.check({ ...question, minRevision: body.entitlementRevision })).allowed)
    await shop.setClock('2024-09-20T00:00:00Z')
    t.like((await shop.api.get(`/subscriptions/${body.id}`)).body, { status: 'active', currentPeriod: { start: '2024-09-15T00:00:00.000Z' } })
    t.true((await grpc.check(question)).allowed)
  })

  story('a new version of a bundle changes nothing for those who subscribed before', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const before = (await shop.subscribe('before')).body
    const next = { name: 'Pro Plan', pricing: { amount: 3900, currency: 'USD', interval: 'month' }, entitlements: [] }
    t.like((await shop.api.put('/storefronts/us-store/bundles/pro-plan', next)).body, { version: 2, pricing: { amount: 3900 } })
    const after = (await shop.subscribe('after')).body
    t.like(after, { bundleVersion: 2, nextPayment: { amount: 3900 } })
    t.like((await shop.api.get(`/subscriptions/${before.id}`)).body, { bundleVersion: 1, nextPayment: { amount: 2900 } })
    t.like((await shop.api.get('/storefronts/us-store/bundles/pro-plan?version=1')).body, { version: 1, pricing: { amount: 2900 } })
    t.is((await shop.api.get('/storefronts/us-store/bundles/pro-plan?version=7')).status, 404)
  })

  story('usage counts against a quota, starts again with its period, and is not counted twice', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const question = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'api_limit' }
    await shop.subscribe('c')
    const usage = { storefrontId: 'us-store', customerId: 'c', entitlement: 'api_limit', amount: 9_000 }
    const key = { 'idempotency-key': 'report-1' }
    const first = await shop.api.post('/usage', usage, key)
    t.like(first.body, { used: 9_000, limit: 10_000, remaining: 1_000, resetsAt: '2024-04-15T00:00:00.000Z' })
    t.is((await shop.api.post('/usage', usage, key)).body.used, 9_000)
    const { entitlementRevision: minRevision } = first.body
    t.like(await grpc.check({ ...question, amount: 1_000, minRevision }), { allowed: true, used: 9_000n, remaining: 1_000n })
    t.like(await grpc.check({ ...question, amount: 1_001 }), { allowed: false, reason: Reason.REASON_LIMIT_EXCEEDED })
    await shop.setClock('2024-04-15T00:00:00Z')
    await eventually(async () => (await grpc.check(question)).used === 0n)
    t.is((await grpc.check(question)).resetsAt?.toISOString(), '2024-05-15T00:00:00.000Z')
    t.like(await shop.api.post('/usage', { ...usage, entitlement: 'analytics_dashboard' }), { status: 422, body: { field: 'entitlement' } })
    t.like(await shop.api.post('/usage', { ...usage, amount: -1 }), { status: 400, body: { field: 'amount' } })
  })
})
