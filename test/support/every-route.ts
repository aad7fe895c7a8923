/** A tenant in which every route has something to do, and for each route a request that does it. */
import { eventually } from './eventually.ts'
import type { HttpAnswer } from './http-client.ts'
import { bundleDocument, subscriptionDocument, tenantDocument } from './platform-model.ts'
import type { Shop } from './shop.ts'
import { PLATFORM_KEY } from './tollgate.ts'

/** A request that would do what the route is for. */
export interface RouteRequest {
  path: string
  body?: unknown
  headers?: Record<string, string>
  /** Where the ETag is that it is compared with; or the ETag itself, where no GET answers it. */
  read?: string
  etag?: string
  /** What it is answered with the right ETag, where that is not the route's success. */
  status?: number
}

const customerPath = '/v1/storefronts/us-store/customers/c'
const csv = 'type,reference,currency,gross,fee,net\nfee,,USD,-1,0,-1\n'

/** @returns by `method path`. */
export const openEverything = async (shop: Shop): Promise<Record<string, RouteRequest>> => {
  const { api } = shop
  const made = async (answer: Promise<HttpAnswer>): Promise<HttpAnswer> => {
    const { status, body, headers } = await answer
    if (status >= 300) throw new Error(JSON.stringify(body))
    return { status, body, headers }
  }
  const buy = async (customerId: string, paymentMethod = 'pm_card') => (await made(shop.subscribe(customerId, paymentMethod))).body
  const tell = (id: string, command: string, body: object) => made(api.post(`/subscriptions/${id}/${command}`, body))
  // Announced at once: one that is made by a purchase is marked until the worker has seen that it is, which gives it another ETag.
  await made(api.post('/customers', { id: 'c', storefrontId: 'us-store' }))
  const { id: sub, payment } = await buy('c')
  await made(api.post(`${customerPath}/payment-methods`, { id: 'spare', tokens: { '*': 'pm_spare' } }))
  const [canceled, reactivated, paused, resumed] = [(await buy('c1')).id, (await buy('c2')).id, (await buy('c3')).id, (await buy('c4')).id]
  await tell(reactivated, 'cancel', { at: 'period_end' })
  await tell(resumed, 'pause', {})
  const one = { storefrontId: 'us-store', customerId: 'c', amount: 100, currency: 'USD' }
  const asked = (await made(api.post('/payments', { ...one, paymentMethod: 'pm_sca' }))).body
  const lost = (await made(api.post('/payments', { ...one, paymentMethod: 'pm_sca_2' }))).body
  const unpaid = (await made(api.post('/payments', { ...one, paymentMethod: 'pm_decline_funds' }))).body
  const [left, waiting] = [
    (await made(api.post('/payments', { ...one, paymentMethod: 'pm_sca_3' }))).body,
    (await made(api.post('/payments', { ...one, paymentMethod: 'pm_sca_4' }))).body,
  ]
  await made(api.post('/customers', { id: 'gone', storefrontId: 'us-store' }))
  const grant = (await made(api.post(`${customerPath}/grants`, { entitlements: [{ type: 'feature_flag', value: 'beta' }], reason: 'a trial' }))).body
  const given = (await made(api.post(`/payments/${(await made(api.post('/payments', one))).body.id}/refund`, {}))).body
  await made(api.post('/payments', { ...one, paymentMethod: 'pm_pending_1h' }))
  await made(shop.setClock('2024-03-15T06:00:00Z'))
  await eventually(async () => (await api.get('/webhook-events?status=applied')).body.data.length > 0)
  const event = (await api.get('/webhook-events')).body.data[0]
  await eventually(async () => (await api.get('/events')).body.data.length > 0)
  const happened = (await api.get('/events')).body.data[0]
  await made(api.post('/psp-accounts', { id: 'acc', provider: 'stripe' }))
  await made(api.post('/roles', { id: 'looker', permissions: ['catalog:read', 'customers:read'] }))
  const endpoint = await made(api.post('/webhook-endpoints', { url: 'https://hooks.invalid/tollgate', types: ['subscription.*'] }))
  const [{ id: oldSecret }] = endpoint.body.secrets
  await made(api.post(`/webhook-endpoints/${endpoint.body.id}/rotate-secret`, {}))
  await made(api.post(`/webhook-endpoints/${endpoint.body.id}/deliveries/${happened.id}/replay`, {}))
  const key = await made(api.post('/api-keys', { role: 'read' }))
  const user = (await made(api.post('/users', { email: 'ann@example.com', role: 'read' }))).body
  const provider = { issuer: 'https://login.example.com', clientId: 'tollgate', groups: [{ group: 'ops', role: 'billing' }] }
  await made(api.put('/identity-provider', provider))
  // Cut off at once: it is there, and may be begun anew.
  for (const id of ['r1', 'r2']) await api.call('POST', `/settlement-reports/${id}/csv?account=stripe`, 'x\n1\n', { 'content-type': 'text/csv' })

  const endpointPath = `/v1/webhook-endpoints/${endpoint.body.id}`
  const deliveryPath = `${endpointPath}/deliveries/${happened.id}`
  const eventPath = `/v1/webhook-events/${event.account}/${event.id}`
  const reportPath = '/v1/settlement-reports/r1'
  const command = (id: string, name: string, body: object = {}) => ({ path: `/v1/subscriptions/${id}/${name}`, body, read: `/v1/subscriptions/${id}` })
  const document = (path: string, body?: object) => ({ path, ...(body ? { body } : {}), read: path })
  const resolution = { outcome: 'not_sent', reason: 'their books', tryElsewhere: false }
  const list = (path: string) => ({ path })
  return {
    'post /v1/tenants': { path: '/v1/tenants', body: { ...tenantDocument, id: 'other' }, headers: { authorization: `Bearer ${PLATFORM_KEY}` } },
    'get /v1/tenants': { path: '/v1/tenants', headers: { authorization: `Bearer ${PLATFORM_KEY}` } },
    'patch /v1/tenants/{tenant}': document(`/v1/tenants/${shop.tenantId}`, { name: 'Changed' }),
    'get /v1/tenants/{tenant}': document(`/v1/tenants/${shop.tenantId}`),
    'get /v1/sidecars': { path: '/v1/sidecars', headers: { authorization: `Bearer ${PLATFORM_KEY}` } },
    'get /v1/caller': list('/v1/caller'),
    'get /v1/permissions': list('/v1/permissions'),
    'post /v1/roles': { path: '/v1/roles', body: { id: 'new', permissions: ['catalog:read'] } },
    'get /v1/roles': list('/v1/roles'),
    'get /v1/roles/{role}': document('/v1/roles/looker'),
    'patch /v1/roles/{role}': document('/v1/roles/looker', { permissions: ['catalog:read'] }),
    'delete /v1/roles/{role}': document('/v1/roles/looker'),
    'get /v1/audit-log': list('/v1/audit-log'),
    'get /v1/audit-log/export': list('/v1/audit-log/export'),
    'get /v1/platform/audit-log': { path: '/v1/platform/audit-log', headers: { authorization: `Bearer ${PLATFORM_KEY}` } },
    // Subscriptions live.
    'delete /v1/tenants/{tenant}': { ...document(`/v1/tenants/${shop.tenantId}`), status: 409 },
    'post /v1/api-keys': { path: '/v1/api-keys', body: { role: 'read' } },
    'get /v1/api-keys': list('/v1/api-keys'),
    'get /v1/api-keys/{key}': document(`/v1/api-keys/${key.body.id}`),
    'post /v1/api-keys/{key}/rotate': { path: `/v1/api-keys/${key.body.id}/rotate`, body: {}, read: `/v1/api-keys/${key.body.id}` },
    'delete /v1/api-keys/{key}': document(`/v1/api-keys/${key.body.id}`),
    'post /v1/storefronts': { path: '/v1/storefronts', body: { id: 'new', currency: 'USD' } },
    'get /v1/storefronts': list('/v1/storefronts'),
    'get /v1/storefronts/{storefront}': document('/v1/storefronts/us-store'),
    'patch /v1/storefronts/{storefront}': document('/v1/storefronts/us-store', { name: 'Changed' }),
    'post /v1/psp-accounts': { path: '/v1/psp-accounts', body: { id: 'new', provider: 'stripe' } },
    'get /v1/psp-accounts': list('/v1/psp-accounts'),
    'get /v1/psp-accounts/{account}': document('/v1/psp-accounts/acc'),
    'patch /v1/psp-accounts/{account}': document('/v1/psp-accounts/acc', { capture: 'separate' }),
    // In a sandbox the simulator stands in for the provider, and needs none.
    'post /v1/psp-accounts/{account}/register-webhook': {
      path: '/v1/psp-accounts/acc/register-webhook',
      body: {},
      read: '/v1/psp-accounts/acc',
      status: 422,
    },
    'post /v1/bundles': { path: '/v1/bundles', body: { ...bundleDocument, id: 'new' } },
    'get /v1/storefronts/{storefront}/bundles': list('/v1/storefronts/us-store/bundles'),
    'get /v1/storefronts/{storefront}/bundles/{bundle}': document('/v1/storefronts/us-store/bundles/pro-plan'),
    'put /v1/storefronts/{storefront}/bundles/{bundle}': document('/v1/storefronts/us-store/bundles/pro-plan', {
      ...bundleDocument,
      id: undefined,
      storefrontId: undefined,
    }),
    'patch /v1/storefronts/{storefront}/bundles/{bundle}': document('/v1/storefronts/us-store/bundles/pro-plan', { name: 'Changed' }),
    'post /v1/customers': { path: '/v1/customers', body: { id: 'new', storefrontId: 'us-store' } },
    'get /v1/storefronts/{storefront}/customers': list('/v1/storefronts/us-store/customers'),
    'get /v1/storefronts/{storefront}/customers/{customer}': document(customerPath),
    'patch /v1/storefronts/{storefront}/customers/{customer}': document(customerPath, { name: 'Changed' }),
    'delete /v1/storefronts/{storefront}/customers/{customer}': document('/v1/storefronts/us-store/customers/gone'),
    'get /v1/storefronts/{storefront}/customers/{customer}/entitlements': document(`${customerPath}/entitlements`),
    'get /v1/storefronts/{storefront}/customers/{customer}/export': list(`${customerPath}/export`),
    'post /v1/storefronts/{storefront}/customers/{customer}/grants': {
      path: `${customerPath}/grants`,
      body: {
        entitlements: [{ type: 'api_limit', value: 500, unit: 'calls_per_month' }],
        until: '2024-06-01',
        reason: 'make-good for the outage of March 14',
        source: 'external',
        externalId: 'ticket-4711',
      },
    },
    'get /v1/storefronts/{storefront}/customers/{customer}/grants': list(`${customerPath}/grants`),
    'get /v1/storefronts/{storefront}/customers/{customer}/grants/{grant}': document(`${customerPath}/grants/${grant.id}`),
    'delete /v1/storefronts/{storefront}/customers/{customer}/grants/{grant}': document(`${customerPath}/grants/${grant.id}`),
    'post /v1/users': { path: '/v1/users', body: { email: 'bob@example.com', role: 'read' } },
    'get /v1/users': list('/v1/users'),
    'get /v1/users/{user}': document(`/v1/users/${user.id}`),
    'patch /v1/users/{user}': document(`/v1/users/${user.id}`, { name: 'Ann' }),
    'post /v1/users/{user}/invitation': { path: `/v1/users/${user.id}/invitation`, body: {}, read: `/v1/users/${user.id}` },
    'delete /v1/users/{user}': document(`/v1/users/${user.id}`),
    'put /v1/identity-provider': document('/v1/identity-provider', provider),
    'get /v1/identity-provider': document('/v1/identity-provider'),
    'delete /v1/identity-provider': document('/v1/identity-provider'),
    'post /v1/sign-in': { path: '/v1/sign-in', body: { tenant: shop.tenantId, email: 'ann@example.com', password: 'wrong', code: '000000' } },
    'post /v1/sign-in/invitation': { path: '/v1/sign-in/invitation', body: { invitation: 'none' } },
    'post /v1/sign-in/invitation/take': {
      path: '/v1/sign-in/invitation/take',
      body: { invitation: 'none', password: 'long enough for anybody', code: '000000' },
    },
    'get /v1/sign-in/{tenant}/start': list(`/v1/sign-in/${shop.tenantId}/start`),
    'get /v1/sign-in/{tenant}/callback': list(`/v1/sign-in/${shop.tenantId}/callback`),
    'get /v1/session': list('/v1/session'),
    'post /v1/sign-out': { path: '/v1/sign-out', body: {} },
    'post /v1/usage': { path: '/v1/usage', body: { storefrontId: 'us-store', customerId: 'c', entitlement: 'api_limit', amount: 1 } },
    'get /v1/storefronts/{storefront}/customers/{customer}/timeline': list(`${customerPath}/timeline`),
    'get /v1/usage': list('/v1/usage?storefrontId=us-store&customerId=c&entitlement=api_limit&from=2024-03-14&granularity=day'),
    'post /v1/usage-events': {
      path: '/v1/usage-events',
      headers: { 'content-type': 'application/cloudevents-batch+json' },
      body: [
        {
          specversion: '1.0',
          id: 'call-1',
          source: '/gateway',
          type: 'api_limit',
          subject: 'c',
          time: '2024-03-15T05:00:00Z',
          data: { storefrontId: 'us-store', amount: 1 },
        },
      ],
    },
    'get /v1/storefronts/{storefront}/customers/{customer}/entitlements/{entitlement}/ledger': list(`${customerPath}/entitlements/api_limit/ledger`),
    'post /v1/storefronts/{storefront}/customers/{customer}/entitlements/{entitlement}/release': {
      path: `${customerPath}/entitlements/api_limit/release`,
      body: { holder: 'seat:1', reason: 'a test had it' },
    },
    'put /v1/storefronts/{storefront}/customers/{customer}/entitlements/{entitlement}/used': {
      path: `${customerPath}/entitlements/api_limit/used`,
      body: { used: 7, reason: 'a test was counted' },
    },
    'post /v1/storefronts/{storefront}/customers/{customer}/payment-methods': {
      path: `${customerPath}/payment-methods`,
      body: { id: 'third', tokens: { '*': 'pm_third' } },
      read: customerPath,
    },
    'patch /v1/storefronts/{storefront}/customers/{customer}/payment-methods/{method}': {
      path: `${customerPath}/payment-methods/spare`,
      body: { position: 0 },
      read: customerPath,
    },
    'delete /v1/storefronts/{storefront}/customers/{customer}/payment-methods/{method}': {
      path: `${customerPath}/payment-methods/spare`,
      read: customerPath,
    },
    'post /v1/subscriptions': { path: '/v1/subscriptions', body: subscriptionDocument },
    'get /v1/subscriptions': list('/v1/subscriptions'),
    'get /v1/subscriptions/{subscription}': document(`/v1/subscriptions/${sub}`),
    'get /v1/subscriptions/{subscription}/timeline': list(`/v1/subscriptions/${sub}/timeline`),
    'patch /v1/subscriptions/{subscription}': document(`/v1/subscriptions/${sub}`, { metadata: { a: 'b' } }),
    'post /v1/subscriptions/{subscription}/cancel': command(canceled, 'cancel', { at: 'now' }),
    'post /v1/subscriptions/{subscription}/reactivate': command(reactivated, 'reactivate'),
    'post /v1/subscriptions/{subscription}/pause': command(paused, 'pause'),
    'post /v1/subscriptions/{subscription}/resume': command(resumed, 'resume'),
    'post /v1/subscriptions/{subscription}/preview-change': command(sub, 'preview-change', { quantity: 5 }),
    'post /v1/subscriptions/{subscription}/change': command(sub, 'change', { quantity: 2 }),
    'post /v1/payments': { path: '/v1/payments', body: one },
    'get /v1/payments': list('/v1/payments'),
    'get /v1/payments/{payment}': document(`/v1/payments/${payment.id}`),
    'post /v1/payments/{payment}/refund': { path: `/v1/payments/${payment.id}/refund`, body: { amount: 100 }, read: `/v1/payments/${payment.id}` },
    'post /v1/payments/{payment}/pay': { path: `/v1/payments/${unpaid.id}/pay`, body: { paymentMethod: 'pm_good' }, read: `/v1/payments/${unpaid.id}` },
    'post /v1/payments/{payment}/cancel': { path: `/v1/payments/${left.id}/cancel`, body: {}, read: `/v1/payments/${left.id}` },
    'post /v1/payments/{payment}/attempts/{attempt}/cancel': {
      path: `/v1/payments/${waiting.id}/attempts/${waiting.attempts[0].id}/cancel`,
      body: {},
      read: `/v1/payments/${waiting.id}`,
    },
    'post /v1/payments/{payment}/attempts/{attempt}/complete': {
      path: `/v1/payments/${asked.id}/attempts/${asked.attempts[0].id}/complete`,
      body: {},
      read: `/v1/payments/${asked.id}`,
    },
    'post /v1/payments/{payment}/attempts/{attempt}/resolve': {
      path: `/v1/payments/${lost.id}/attempts/${lost.attempts[0].id}/resolve`,
      body: resolution,
      read: `/v1/payments/${lost.id}`,
      // It waits for its customer: by hand only what is unknown is resolved.
      status: 409,
    },
    'post /v1/payments/{payment}/refunds/{refund}/resolve': {
      path: `/v1/payments/${given.id}/refunds/${given.refunds[0].id}/resolve`,
      body: { outcome: 'failed', reason: 'their books' },
      read: `/v1/payments/${given.id}`,
      // The provider has answered for it.
      status: 409,
    },
    'post /v1/routing/simulate': { path: '/v1/routing/simulate', body: { storefrontId: 'us-store', amount: 100 } },
    'post /v1/settlement-reports': { path: '/v1/settlement-reports', body: { id: 'r2', account: 'stripe', lines: [] }, read: '/v1/settlement-reports/r2' },
    'post /v1/settlement-reports/{report}/csv': {
      path: `${reportPath}/csv?account=stripe&format=tollgate`,
      body: csv,
      headers: { 'content-type': 'text/csv' },
      read: reportPath,
    },
    'get /v1/settlement-reports': list('/v1/settlement-reports'),
    'get /v1/settlement-reports/{report}': document(reportPath),
    'get /v1/settlement-reports/{report}/differences': list(`${reportPath}/differences`),
    'post /v1/webhooks/psp/{tenant}/{account}': { path: `/v1/webhooks/psp/${shop.tenantId}/stripe`, body: {} },
    'get /v1/webhook-events': list('/v1/webhook-events'),
    'get /v1/webhook-events/{account}/{event}': document(eventPath),
    'post /v1/webhook-events/{account}/{event}/replay': { path: `${eventPath}/replay`, body: {}, read: eventPath },
    'get /v1/events': list('/v1/events'),
    'get /v1/events/{event}': document(`/v1/events/${happened.id}`),
    'get /v1/event-types': list('/v1/event-types'),
    'get /v1/event-types/{type}': document('/v1/event-types/subscription.renewed'),
    'post /v1/webhook-endpoints': { path: '/v1/webhook-endpoints', body: { url: 'https://hooks.invalid/new', types: ['*'] } },
    'get /v1/webhook-endpoints': list('/v1/webhook-endpoints'),
    'get /v1/webhook-endpoints/{endpoint}': document(endpointPath),
    'patch /v1/webhook-endpoints/{endpoint}': document(endpointPath, { enabled: false }),
    'post /v1/webhook-endpoints/{endpoint}/rotate-secret': { path: `${endpointPath}/rotate-secret`, body: {}, read: endpointPath },
    'delete /v1/webhook-endpoints/{endpoint}/secrets/{secret}': { path: `${endpointPath}/secrets/${oldSecret}`, read: endpointPath },
    'post /v1/webhook-endpoints/{endpoint}/test': { path: `${endpointPath}/test`, body: {}, read: endpointPath },
    'get /v1/webhook-endpoints/{endpoint}/deliveries': list(`${endpointPath}/deliveries`),
    'get /v1/webhook-endpoints/{endpoint}/deliveries/{event}': document(deliveryPath),
    'post /v1/webhook-endpoints/{endpoint}/deliveries/{event}/replay': { path: `${deliveryPath}/replay`, body: {}, read: deliveryPath },
    'post /v1/webhook-endpoints/{endpoint}/replay': { path: `${endpointPath}/replay`, body: { failed: true }, read: endpointPath },
    'delete /v1/webhook-endpoints/{endpoint}': document(endpointPath),
    'get /v1/test-clock': document('/v1/test-clock'),
    'put /v1/test-clock': document('/v1/test-clock', { now: '2024-05-15T00:00:00Z' }),
  }
}

/** Everything of a tenant, to compare before and after. */
export const everything = async ({ api, tenantId }: Shop): Promise<unknown> => {
  const lists = [
    'storefronts',
    'psp-accounts',
    'api-keys',
    'roles',
    'users',
    'subscriptions',
    'payments',
    'settlement-reports',
    'webhook-events',
    'storefronts/us-store/bundles',
  ]
  const paths = [
    ...lists.map((one) => `/${one}`),
    '/identity-provider',
    '/storefronts/us-store/customers',
    '/storefronts/us-store/customers/c/entitlements',
    `${customerPath}/grants`,
    `/tenants/${tenantId}`,
  ]
  const documents = await Promise.all(paths.map(async (path) => (await api.get(path)).body))
  // Who has been told nothing new has the same ETag.
  const subscriptions = (await api.get('/subscriptions')).body.data.map(({ id }: { id: string }) => `/subscriptions/${id}`)
  const payments = (await api.get('/payments')).body.data.map(({ id }: { id: string }) => `/payments/${id}`)
  const etags = await Promise.all([...subscriptions, ...payments, '/test-clock', customerPath].map(async (path) => (await api.get(path)).headers.get('etag')))
  return [documents, etags].map((part) => JSON.stringify(part).replaceAll(/"(asOf|lastUsedAt)":("[^"]*"|null)/g, ''))
}
