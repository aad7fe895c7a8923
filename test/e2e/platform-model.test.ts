/** The platform model works: its documents are taken to the letter, and its example tree reads as it is drawn. */
import test from 'ava'
import { Kind, Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { httpClient } from '../support/http-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { bundleDocument, subscriptionDocument, tenantDocument } from '../support/platform-model.ts'

inWorlds(test, (story) => {
  story('the three sample documents are accepted unchanged, and access opens', async ({ t, tollgate, grpc }) => {
    const platform = httpClient(tollgate.http)
    const tenant = await platform.post('/tenants', { ...tenantDocument, mode: 'sandbox' })
    t.is(tenant.status, 201)
    t.deepEqual(
      tenant.body.storefronts.map(({ id, currency, paymentProviders }: Record<string, unknown>) => ({ id, currency, paymentProviders })),
      [
        { id: 'us-store', currency: 'USD', paymentProviders: ['stripe', 'paypal'] },
        { id: 'eu-store', currency: 'EUR', paymentProviders: ['stripe', 'adyen'] },
      ],
    )
    const api = httpClient(tollgate.http, { tenant: 'globalcorp' })
    t.deepEqual((await api.put('/test-clock', { now: '2024-03-15' })).body, { now: '2024-03-15T00:00:00.000Z' })
    t.is((await api.post('/bundles', bundleDocument)).status, 201)

    const subscription = await api.post('/subscriptions', subscriptionDocument)
    t.is(subscription.status, 201)
    t.is(subscription.body.status, 'active')
    t.is(subscription.body.bundleId, 'pro-plan')
    t.deepEqual(subscription.body.currentPeriod, { start: '2024-03-15T00:00:00.000Z', end: '2024-04-15T00:00:00.000Z' })
    t.deepEqual(subscription.body.nextPayment, { amount: 2900, currency: 'USD', on: '2024-04-15' })

    const customer = { tenantId: 'globalcorp', storefrontId: 'us-store', customerId: 'cust_abc123' }
    const minRevision = subscription.body.entitlementRevision
    const analytics = await grpc.check({ ...customer, entitlement: 'analytics_dashboard', minRevision })
    t.like(analytics, {
      allowed: true,
      reason: Reason.REASON_GRANTED,
      kind: Kind.KIND_FLAG,
      bundleId: 'pro-plan',
      subscriptionId: subscription.body.id,
      stale: false,
    })
    const calls = await grpc.check({ ...customer, entitlement: 'api_limit' })
    t.like(calls, { allowed: true, kind: Kind.KIND_QUOTA, limit: 10_000n, used: 0n, remaining: 10_000n })
    t.is(calls.resetsAt?.toISOString(), '2024-04-15T00:00:00.000Z')

    const { data: payments } = (await api.get(`/payments?subscriptionId=${subscription.body.id}`)).body
    t.is(payments.length, 1)
    t.like(payments[0], { status: 'succeeded', amount: 2900, currency: 'USD' })
    t.like(payments[0].attempts[0], { account: 'stripe', status: 'succeeded', why: { rule: 'split', slot: 0, candidates: ['stripe', 'paypal'] } })
  })

  story('GlobalCorp: three storefronts, six bundles, four kinds of entitlement, and john@example.com', async ({ t, tollgate, grpc }) => {
    const tenantId = 'globalcorp-tree'
    const platform = httpClient(tollgate.http)
    const storefronts = [
      { id: 'us', name: 'US Store', currency: 'USD', paymentProviders: ['stripe'], pro: 2900, enterprise: 9900 },
      { id: 'eu', name: 'EU Store', currency: 'EUR', paymentProviders: ['paypal'], pro: 2500, enterprise: 8500 },
      { id: 'apac', name: 'APAC Store', currency: 'JPY', paymentProviders: ['local-psp'], pro: 3200, enterprise: 9800 },
    ]
    const tenant = { id: tenantId, name: 'GlobalCorp', mode: 'sandbox', storefronts: storefronts.map(({ pro, enterprise, ...storefront }) => storefront) }
    t.is((await platform.post('/tenants', tenant)).status, 201)
    const api = httpClient(tollgate.http, { tenant: tenantId })
    await api.put('/test-clock', { now: '2024-03-15' })
    const entitlements = [
      { key: 'api_access', kind: 'quota', limit: 10_000, unit: 'calls_per_month' },
      { key: 'analytics_dashboard', kind: 'flag', enabled: true },
      { key: 'integrations', kind: 'capacity', limit: 5 },
      { key: 'email_support', kind: 'value', value: 'business hours' },
    ]
    for (const { id, currency, pro, enterprise } of storefronts) {
      for (const [bundle, name, amount] of [
        ['pro', 'Pro Plan', pro],
        ['enterprise', 'Enterprise', enterprise],
      ]) {
        const document = { id: bundle, name, storefrontId: id, pricing: { amount, currency, interval: 'month' }, entitlements }
        t.is((await api.post('/bundles', document)).status, 201)
      }
      t.is((await api.get(`/storefronts/${id}/bundles`)).body.data.length, 2)
    }
    t.is((await api.get(`/tenants/${tenantId}`)).body.storefronts.length, 3)

    const john = { storefrontId: 'us', customerId: 'john@example.com' }
    const method = { id: 'card', type: 'card', tokens: { stripe: 'pm_john' } }
    t.is((await api.post('/customers', { id: john.customerId, storefrontId: 'us', email: 'john@example.com', paymentMethods: [method] })).status, 201)
    const subscription = (
      await api.post('/subscriptions', { ...john, bundleId: 'pro', billingCycle: 'monthly', startDate: '2024-03-15', paymentMethod: 'card' })
    ).body
    t.like(subscription, { status: 'active', nextPayment: { amount: 2900, currency: 'USD', on: '2024-04-15' } })
    const used = await api.post('/usage', { ...john, entitlement: 'integrations', used: 5 })
    t.like(used.body, { used: 5, limit: 5, remaining: 0 })

    const { entitlements: held, customerKnown } = await grpc.list({ tenantId, ...john, minRevision: used.body.entitlementRevision })
    t.true(customerKnown)
    const decisions = Object.fromEntries(held.map(({ key, decision }) => [key, decision]))
    t.like(decisions.api_access, { allowed: true, kind: Kind.KIND_QUOTA, limit: 10_000n })
    t.like(decisions.analytics_dashboard, { allowed: true, kind: Kind.KIND_FLAG })
    t.like(decisions.integrations, { allowed: false, reason: Reason.REASON_LIMIT_EXCEEDED, kind: Kind.KIND_CAPACITY, limit: 5n, used: 5n, remaining: 0n })
    t.like(decisions.email_support, { allowed: true, kind: Kind.KIND_VALUE, value: 'business hours' })

    // The same id in another storefront is another customer.
    const elsewhere = await grpc.check({ tenantId, storefrontId: 'eu', customerId: john.customerId, entitlement: 'analytics_dashboard' })
    t.like(elsewhere, { allowed: false, reason: Reason.REASON_CUSTOMER_UNKNOWN })
  })
})
