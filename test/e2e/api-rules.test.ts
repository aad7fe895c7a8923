/** What holds for every call of the HTTP API: bad input, keys and roles, tenants apart, repeats, preconditions. */

import type { ExecutionContext } from 'ava'
import test from 'ava'
import { routes } from '../../control-plane/http/routes/index.ts'
import { type HttpAnswer, httpClient } from '../support/http-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { bundleDocument, subscriptionDocument, tenantDocument } from '../support/platform-model.ts'
import { openShop, type Shop } from '../support/shop.ts'
import { PLATFORM_KEY } from '../support/tollgate.ts'

/** Everything of a tenant that can be read, to compare before and after. */
const everything = async (shop: Shop): Promise<unknown> => {
  const paths = [
    '/storefronts',
    '/psp-accounts',
    '/api-keys',
    '/subscriptions',
    '/payments',
    '/storefronts/us-store/bundles',
    '/storefronts/us-store/customers',
    '/test-clock',
    `/tenants/${shop.tenantId}`,
  ]
  return Promise.all(paths.map(async (path) => (await shop.api.get(path)).body))
}

const isProblem = (t: ExecutionContext, answer: HttpAnswer, status: number, code: string, field: string | undefined, what: string) => {
  t.is(answer.status, status, `${what}: ${JSON.stringify(answer.body)}`)
  t.regex(answer.headers.get('content-type') ?? '', /^application\/problem\+json/, what)
  t.is(answer.body.code, code, what)
  t.is(answer.body.status, status, what)
  t.is(answer.body.field, field, `${what}: ${JSON.stringify(answer.body)}`)
}

const storefront = { id: 'new', currency: 'USD' }
const customer = { id: 'new', storefrontId: 'us-store' }
const account = { id: 'new', provider: 'stripe' }
const grant = { entitlements: [{ key: 'beta', kind: 'flag' }], reason: 'a trial' }
const order = { storefrontId: 'us-store', customerId: 'c', amount: 100, currency: 'USD', paymentMethod: 'pm' }

/** [method, path, body, status, code, field]; a path may name the shop's subscription as {sub}, its payment as {pay}. */
const hook = { url: 'https://hooks.example/', types: ['subscription.*'] }
const badInput: [method: string, path: string, body: unknown, status: number, code: string, field: string | undefined][] = [
  ['POST', '/tenants', {}, 400, 'invalid_request', 'name'],
  ['POST', '/tenants', { ...tenantDocument, id: 7 }, 400, 'invalid_request', 'id'],
  ['POST', '/tenants', { ...tenantDocument, id: 'a/b' }, 400, 'invalid_request', 'id'],
  ['POST', '/tenants', { ...tenantDocument, mode: 'test' }, 400, 'invalid_request', 'mode'],
  ['POST', '/tenants', { ...tenantDocument, storefronts: [{ id: 'x', currency: 'DOLLARS' }] }, 400, 'invalid_request', 'storefronts[0].currency'],
  ['POST', '/tenants', { ...tenantDocument, storefronts: [storefront, storefront] }, 400, 'invalid_request', 'storefronts'],
  ['POST', '/tenants', { ...tenantDocument, colour: 'red' }, 400, 'invalid_request', 'colour'],
  ['GET', '/tenants?limit=0', undefined, 400, 'invalid_request', 'limit'],
  ['GET', '/sidecars?cursor=WzFd', undefined, 400, 'invalid_request', 'cursor'],
  ['PATCH', '/tenants/none', { name: 'None' }, 404, 'not_found', undefined],
  ['PATCH', '/tenants/{tenant}', { name: '' }, 400, 'invalid_request', 'name'],
  ['PATCH', '/tenants/{tenant}', { mode: 'live' }, 400, 'invalid_request', 'mode'],
  ['POST', '/api-keys', {}, 400, 'invalid_request', 'role'],
  ['POST', '/api-keys', { role: 'platform' }, 400, 'invalid_request', 'role'],
  ['POST', '/api-keys', { role: 'read', name: '' }, 400, 'invalid_request', 'name'],
  ['POST', '/api-keys', { role: 'read', expiresAt: '2020-01-01T00:00:00Z' }, 400, 'invalid_request', 'expiresAt'],
  ['POST', '/api-keys', { role: 'no-such-role' }, 400, 'invalid_request', 'role'],
  ['POST', '/api-keys', { role: 'read', storefronts: ['none'] }, 422, 'unknown_reference', 'storefronts[0]'],
  ['POST', '/api-keys', { role: 'read', storefronts: [] }, 400, 'invalid_request', 'storefronts'],
  ['POST', '/roles', { id: 'new', permissions: [] }, 400, 'invalid_request', 'permissions'],
  ['POST', '/roles', { id: 'new', permissions: ['everything'] }, 400, 'invalid_request', 'permissions[0]'],
  ['POST', '/roles', { id: 'admin', permissions: ['catalog:read'] }, 400, 'invalid_request', 'id'],
  ['GET', '/storefronts/us-store/customers/none/export', undefined, 404, 'not_found', undefined],
  ['DELETE', '/tenants/none', undefined, 404, 'not_found', undefined],
  ['GET', '/audit-log?cursor=x', undefined, 400, 'invalid_request', 'cursor'],
  ['GET', '/audit-log?event=over', undefined, 400, 'invalid_request', 'event'],
  ['GET', '/audit-log/export?from=yesterday', undefined, 400, 'invalid_request', 'from'],
  ['POST', '/users', { email: 'nobody', role: 'read' }, 400, 'invalid_request', 'email'],
  ['POST', '/users', { email: 'a@example.com', role: 'chef' }, 400, 'invalid_request', 'role'],
  ['GET', '/users?limit=0', undefined, 400, 'invalid_request', 'limit'],
  ['GET', '/users/none', undefined, 404, 'not_found', undefined],
  ['PATCH', '/users/none', {}, 404, 'not_found', undefined],
  ['POST', '/users/none/invitation', {}, 404, 'not_found', undefined],
  ['DELETE', '/users/none', undefined, 404, 'not_found', undefined],
  ['PUT', '/identity-provider', { issuer: 'login', clientId: 'c', groups: [{ group: 'g', role: 'read' }] }, 400, 'invalid_request', 'issuer'],
  [
    'PUT',
    '/identity-provider',
    { issuer: 'https://login.example.com', clientId: 'c', groups: [{ group: 'g', role: 'chef' }] },
    400,
    'invalid_request',
    'groups[0].role',
  ],
  ['DELETE', '/identity-provider', undefined, 404, 'not_found', undefined],
  ['GET', '/session', undefined, 404, 'not_found', undefined],
  ['POST', '/sign-out', { at: 'once' }, 400, 'invalid_request', 'at'],
  ['GET', '/roles?limit=0', undefined, 400, 'invalid_request', 'limit'],
  ['GET', '/roles/none', undefined, 404, 'not_found', undefined],
  ['PATCH', '/roles/none', {}, 404, 'not_found', undefined],
  ['PATCH', '/roles/admin', { name: 'Chef' }, 409, 'not_allowed_in_state', undefined],
  ['DELETE', '/roles/admin', undefined, 409, 'not_allowed_in_state', undefined],
  ['DELETE', '/roles/none', undefined, 404, 'not_found', undefined],
  ['GET', '/api-keys/none', undefined, 404, 'not_found', undefined],
  ['POST', '/api-keys/none/rotate', {}, 404, 'not_found', undefined],
  ['POST', '/api-keys/none/rotate', { overlapHours: -1 }, 400, 'invalid_request', 'overlapHours'],
  ['DELETE', '/api-keys/none', undefined, 404, 'not_found', undefined],
  ['POST', '/storefronts', { id: 'new' }, 400, 'invalid_request', 'currency'],
  ['POST', '/storefronts', { ...storefront, currency: 'usd' }, 400, 'invalid_request', 'currency'],
  ['POST', '/storefronts', { ...storefront, currency: 'XXX' }, 400, 'invalid_request', 'currency'],
  ['POST', '/storefronts', { ...storefront, timeZone: 'Mars/Olympus' }, 400, 'invalid_request', 'timeZone'],
  ['POST', '/storefronts', { ...storefront, paymentProviders: 'stripe' }, 400, 'invalid_request', 'paymentProviders'],
  ['POST', '/storefronts', { ...storefront, paymentProviders: ['a', 'a'] }, 400, 'invalid_request', 'paymentProviders'],
  ['POST', '/storefronts', { ...storefront, paymentProviders: [], routing: {} }, 400, 'invalid_request', 'routing'],
  ['POST', '/storefronts', { ...storefront, routing: { split: [{ account: 'a', weight: 0 }] } }, 400, 'invalid_request', 'routing.split[0].weight'],
  ['POST', '/storefronts', { ...storefront, billing: { graceHours: -1 } }, 400, 'invalid_request', 'billing.graceHours'],
  ['POST', '/storefronts', { ...storefront, billing: { retryHours: [] } }, 400, 'invalid_request', 'billing.retryHours'],
  ['POST', '/storefronts', { ...storefront, billing: { retryHours: [72, 24] } }, 400, 'invalid_request', 'billing.retryHours'],
  ['POST', '/storefronts', { ...storefront, billing: { proration: 'hour' } }, 400, 'invalid_request', 'billing.proration'],
  ['POST', '/storefronts', { ...storefront, id: 'us-store' }, 409, 'already_exists', undefined],
  ['GET', '/storefronts/none', undefined, 404, 'not_found', undefined],
  ['PATCH', '/storefronts/none', {}, 404, 'not_found', undefined],
  ['PATCH', '/storefronts/us-store', { currency: 'EUR' }, 400, 'invalid_request', 'currency'],
  ['POST', '/psp-accounts', { id: 'new' }, 400, 'invalid_request', 'provider'],
  ['POST', '/psp-accounts', { ...account, provider: 'cash' }, 400, 'invalid_request', 'provider'],
  ['POST', '/psp-accounts', { ...account, credentials: 'sk_live' }, 400, 'invalid_request', 'credentials'],
  ['POST', '/psp-accounts', { ...account, capabilities: { currencies: ['EURO'] } }, 400, 'invalid_request', 'capabilities.currencies[0]'],
  ['GET', '/payments?status=lost', undefined, 400, 'invalid_request', 'status'],
  ['GET', '/payments?status=failed&subscriptionId=x', undefined, 400, 'invalid_request', 'status'],
  ['POST', '/storefronts/us-store/customers/c/payment-methods', { tokens: { stripe: '4242 4242 4242 4242' } }, 400, 'invalid_request', 'tokens.stripe'],
  ['POST', '/payments', { ...order, paymentMethod: '4111111111111111' }, 400, 'invalid_request', 'paymentMethod'],
  ['POST', '/psp-accounts', { ...account, capture: 'later' }, 400, 'invalid_request', 'capture'],
  ['POST', '/psp-accounts', { ...account, returnUrl: 'javascript:alert(1)' }, 400, 'invalid_request', 'returnUrl'],
  ['GET', '/psp-accounts/none', undefined, 404, 'not_found', undefined],
  ['PATCH', '/psp-accounts/none', {}, 404, 'not_found', undefined],
  ['POST', '/psp-accounts/none/register-webhook', {}, 404, 'not_found', undefined],
  ['POST', '/psp-accounts/none/register-webhook', { url: 'https://elsewhere.example' }, 400, 'invalid_request', 'url'],
  ['POST', '/bundles', { ...bundleDocument, id: 'new', storefrontId: undefined }, 400, 'invalid_request', 'storefrontId'],
  ['POST', '/bundles', { ...bundleDocument, id: 'new', storefrontId: 'none' }, 422, 'unknown_reference', 'storefrontId'],
  ['POST', '/bundles', { ...bundleDocument, id: 'new', pricing: { ...bundleDocument.pricing, amount: 29.5 } }, 400, 'invalid_request', 'pricing.amount'],
  ['POST', '/bundles', { ...bundleDocument, id: 'new', pricing: { ...bundleDocument.pricing, amount: -1 } }, 400, 'invalid_request', 'pricing.amount'],
  ['POST', '/bundles', { ...bundleDocument, id: 'new', pricing: { ...bundleDocument.pricing, amount: '2900' } }, 400, 'invalid_request', 'pricing.amount'],
  ['POST', '/bundles', { ...bundleDocument, id: 'new', pricing: { ...bundleDocument.pricing, currency: 'EUR' } }, 400, 'invalid_request', 'pricing.currency'],
  [
    'POST',
    '/bundles',
    { ...bundleDocument, id: 'new', pricing: { ...bundleDocument.pricing, interval: 'fortnight' } },
    400,
    'invalid_request',
    'pricing.interval',
  ],
  ['POST', '/bundles', { ...bundleDocument, id: 'new', trialDays: -1 }, 400, 'invalid_request', 'trialDays'],
  [
    'POST',
    '/bundles',
    { ...bundleDocument, id: 'new', intervalCount: 2, pricing: { ...bundleDocument.pricing, intervalCount: 3 } },
    400,
    'invalid_request',
    'intervalCount',
  ],
  ['POST', '/bundles', { ...bundleDocument, id: 'new', entitlements: [{ type: 'magic' }] }, 400, 'invalid_request', 'entitlements[0].kind'],
  [
    'POST',
    '/bundles',
    { ...bundleDocument, id: 'new', entitlements: [{ type: 'api_limit', value: 1, unit: 'x' }] },
    400,
    'invalid_request',
    'entitlements[0].unit',
  ],
  ['POST', '/bundles', bundleDocument, 409, 'already_exists', undefined],
  ['GET', '/storefronts/none/bundles', undefined, 404, 'not_found', undefined],
  ['GET', '/storefronts/us-store/bundles?limit=0', undefined, 400, 'invalid_request', 'limit'],
  ['GET', '/storefronts/us-store/bundles?limit=501', undefined, 400, 'invalid_request', 'limit'],
  ['GET', '/storefronts/us-store/bundles?cursor=rubbish', undefined, 400, 'invalid_request', 'cursor'],
  ['GET', '/storefronts/us-store/bundles?colour=red', undefined, 400, 'invalid_request', 'colour'],
  ['GET', '/storefronts/us-store/bundles/none', undefined, 404, 'not_found', undefined],
  ['PUT', '/storefronts/us-store/bundles/none', { name: 'N', pricing: bundleDocument.pricing, entitlements: [] }, 404, 'not_found', undefined],
  ['PUT', '/storefronts/us-store/bundles/pro-plan', { ...bundleDocument, id: 'other' }, 400, 'invalid_request', 'id'],
  [
    'PUT',
    '/storefronts/us-store/bundles/pro-plan',
    { ...bundleDocument, pricing: { ...bundleDocument.pricing, currency: 'EUR' } },
    400,
    'invalid_request',
    'pricing.currency',
  ],
  ['POST', '/bundles', { ...bundleDocument, id: 'new', onSale: 'no' }, 400, 'invalid_request', 'onSale'],
  ['PATCH', '/storefronts/us-store/bundles/none', { onSale: false }, 404, 'not_found', undefined],
  ['PATCH', '/storefronts/us-store/bundles/pro-plan', { onePerCustomer: 1 }, 400, 'invalid_request', 'onePerCustomer'],
  ['PATCH', '/storefronts/us-store/bundles/pro-plan', { pricing: bundleDocument.pricing }, 400, 'invalid_request', 'pricing'],
  ['PATCH', '/storefronts/us-store', { billing: { trialOncePer: 'year' } }, 400, 'invalid_request', 'billing.trialOncePer'],
  ['PATCH', '/storefronts/us-store', { billing: { trialNoticeDays: -1 } }, 400, 'invalid_request', 'billing.trialNoticeDays'],
  ['PATCH', '/storefronts/us-store', { billing: { renewalNoticeDays: 367 } }, 400, 'invalid_request', 'billing.renewalNoticeDays'],
  ['POST', '/customers', { id: 'new' }, 400, 'invalid_request', 'storefrontId'],
  ['POST', '/customers', { ...customer, storefrontId: 'none' }, 422, 'unknown_reference', 'storefrontId'],
  ['POST', '/customers', { ...customer, email: 'not an address' }, 400, 'invalid_request', 'email'],
  ['POST', '/customers', { ...customer, country: 'USA' }, 400, 'invalid_request', 'country'],
  ['POST', '/customers', { ...customer, paymentMethods: [{ id: 'm', tokens: {} }] }, 400, 'invalid_request', 'paymentMethods[0].tokens'],
  ['POST', '/customers', { ...customer, metadata: { 'a.b': 'c' } }, 400, 'invalid_request', 'metadata.a.b'],
  ['POST', '/storefronts/us-store/customers/none/payment-methods', { id: 'm', tokens: { stripe: 't' } }, 404, 'not_found', undefined],
  ['POST', '/storefronts/us-store/customers/john@example.com/payment-methods', {}, 400, 'invalid_request', 'tokens'],
  ['POST', '/storefronts/us-store/customers/c/payment-methods', { tokens: { 'a/b': 't' } }, 400, 'invalid_request', 'tokens.a/b'],
  [
    'POST',
    '/storefronts/us-store/customers/c/payment-methods',
    { tokens: { a: 't' }, expiry: { month: 13, year: 2030 } },
    400,
    'invalid_request',
    'expiry.month',
  ],
  ['PATCH', '/storefronts/us-store/customers/c/payment-methods/m', { position: -1 }, 400, 'invalid_request', 'position'],
  ['PATCH', '/storefronts/us-store/customers/none/payment-methods/m', {}, 404, 'not_found', undefined],
  ['DELETE', '/storefronts/us-store/customers/none/payment-methods/m', undefined, 404, 'not_found', undefined],
  ['DELETE', '/storefronts/us-store/customers/none', undefined, 404, 'not_found', undefined],
  ['DELETE', '/storefronts/us-store/customers/none?cancel=later', undefined, 400, 'invalid_request', 'cancel'],
  ['DELETE', '/storefronts/us-store/customers/c?force=true', undefined, 400, 'invalid_request', 'force'],
  ['POST', '/payments/none/pay', {}, 404, 'not_found', undefined],
  ['POST', '/payments/none/pay', { returnUrl: 'ftp://shop.example' }, 400, 'invalid_request', 'returnUrl'],
  ['POST', '/payments/none/pay', { paymentMethod: '4111111111111111' }, 400, 'invalid_request', 'paymentMethod'],
  ['POST', '/payments/none/cancel', {}, 404, 'not_found', undefined],
  ['POST', '/payments/none/cancel', { reason: 'x' }, 400, 'invalid_request', 'reason'],
  ['POST', '/payments/none/attempts/none-1/cancel', {}, 404, 'not_found', undefined],
  ['POST', '/payments/none/attempts/none-1/cancel', { why: 'x' }, 400, 'invalid_request', 'why'],
  ['GET', '/storefronts/us-store/customers/none', undefined, 404, 'not_found', undefined],
  ['GET', '/storefronts/us-store/customers/none/entitlements', undefined, 404, 'not_found', undefined],
  ['PATCH', '/storefronts/us-store/customers/none', {}, 404, 'not_found', undefined],
  ['POST', '/storefronts/us-store/customers/none/grants', grant, 404, 'not_found', undefined],
  ['POST', '/storefronts/us-store/customers/c/grants', { ...grant, reason: ' ' }, 400, 'invalid_request', 'reason'],
  ['POST', '/storefronts/us-store/customers/c/grants', { ...grant, entitlements: [] }, 400, 'invalid_request', 'entitlements'],
  ['POST', '/storefronts/us-store/customers/c/grants', { ...grant, mode: 'ceiling' }, 400, 'invalid_request', 'mode'],
  ['POST', '/storefronts/us-store/customers/c/grants', { ...grant, source: 'subscription' }, 400, 'invalid_request', 'source'],
  ['POST', '/storefronts/us-store/customers/c/grants', { ...grant, externalId: 'a\nb' }, 400, 'invalid_request', 'externalId'],
  ['POST', '/storefronts/us-store/customers/c/grants', { ...grant, from: '1969-12-31' }, 400, 'invalid_request', 'from'],
  ['POST', '/storefronts/us-store/customers/c/grants', { ...grant, until: '2024-03-15' }, 400, 'invalid_request', 'until'],
  ['POST', '/storefronts/us-store/customers/c/grants', { ...grant, until: '2201-01-01' }, 400, 'invalid_request', 'until'],
  ['GET', '/storefronts/us-store/customers/c/grants?cursor=x', undefined, 400, 'invalid_request', 'cursor'],
  ['GET', '/storefronts/us-store/customers/c/grants/none', undefined, 404, 'not_found', undefined],
  ['DELETE', '/storefronts/us-store/customers/c/grants/none', undefined, 404, 'not_found', undefined],
  ['GET', '/storefronts/us-store/customers/none/timeline', undefined, 404, 'not_found', undefined],
  ['GET', '/storefronts/us-store/customers/none/entitlements/api_limit/ledger', undefined, 404, 'not_found', undefined],
  ['GET', '/storefronts/us-store/customers/c/entitlements/none/ledger', undefined, 404, 'not_found', undefined],
  ['POST', '/storefronts/us-store/customers/none/entitlements/seats/release', { holder: 'x', reason: 'a test' }, 404, 'not_found', undefined],
  ['POST', '/storefronts/us-store/customers/c/entitlements/seats/release', { holder: '', reason: 'a test' }, 400, 'invalid_request', 'holder'],
  ['POST', '/storefronts/us-store/customers/c/entitlements/seats/release', { holder: 'x' }, 400, 'invalid_request', 'reason'],
  ['PUT', '/storefronts/us-store/customers/none/entitlements/api_limit/used', { used: 1, reason: 'a test' }, 422, 'unknown_reference', 'customerId'],
  ['PUT', '/storefronts/us-store/customers/c/entitlements/api_limit/used', { used: -1, reason: 'a test' }, 400, 'invalid_request', 'used'],
  ['PUT', '/storefronts/us-store/customers/c/entitlements/api_limit/used', { used: 1 }, 400, 'invalid_request', 'reason'],
  ['POST', '/usage', { storefrontId: 'us-store', customerId: 'none', entitlement: 'api_limit', amount: 1 }, 422, 'unknown_reference', 'customerId'],
  ['POST', '/usage', { storefrontId: 'us-store', customerId: 'c', entitlement: 'api_limit' }, 400, 'invalid_request', 'amount'],
  ['POST', '/usage', { storefrontId: 'us-store', customerId: 'c', entitlement: 'api_limit', amount: 1, id: '' }, 400, 'invalid_request', 'id'],
  ['POST', '/usage-events', 7, 400, 'invalid_request', 'body'],
  ['POST', '/usage-events', Array.from({ length: 1_001 }, () => ({})), 400, 'invalid_request', 'body'],
  ['GET', '/usage?storefrontId=us-store&customerId=c&entitlement=calls', undefined, 400, 'invalid_request', 'from'],
  ['GET', '/usage?storefrontId=us-store&customerId=c&entitlement=calls&from=2024-03-15&to=2024-03-14', undefined, 400, 'invalid_request', 'to'],
  ['GET', '/usage?storefrontId=us-store&customerId=c&entitlement=calls&from=2024-03-15&granularity=week', undefined, 400, 'invalid_request', 'granularity'],
  ['GET', '/usage?storefrontId=us-store&customerId=c&entitlement=calls&from=2020-01-01&granularity=hour', undefined, 400, 'invalid_request', 'from'],
  ['GET', '/usage?storefrontId=none&customerId=c&entitlement=calls&from=2024-03-01', undefined, 422, 'unknown_reference', 'storefrontId'],
  ['GET', '/usage?storefrontId=us-store&customerId=none&entitlement=calls&from=2024-03-01', undefined, 404, 'not_found', undefined],
  ['POST', '/subscriptions', {}, 400, 'invalid_request', 'customerId'],
  ['POST', '/subscriptions', { ...subscriptionDocument, bundleId: 'none' }, 422, 'unknown_reference', 'bundleId'],
  ['POST', '/subscriptions', { ...subscriptionDocument, storefrontId: 'none' }, 422, 'unknown_reference', 'storefrontId'],
  ['POST', '/subscriptions', { ...subscriptionDocument, billingCycle: 'yearly' }, 400, 'invalid_request', 'billingCycle'],
  ['POST', '/subscriptions', { ...subscriptionDocument, billingCycle: 'sometimes' }, 400, 'invalid_request', 'billingCycle'],
  ['POST', '/subscriptions', { ...subscriptionDocument, startDate: '2024-02-30' }, 400, 'invalid_request', 'startDate'],
  ['POST', '/subscriptions', { ...subscriptionDocument, startDate: '1924-03-15' }, 400, 'invalid_request', 'startDate'],
  ['POST', '/subscriptions', { ...subscriptionDocument, paymentMethod: undefined }, 400, 'invalid_request', 'paymentMethod'],
  ['POST', '/subscriptions', { ...subscriptionDocument, paymentMethod: 7 }, 400, 'invalid_request', 'paymentMethod'],
  ['GET', '/subscriptions?customerId=c', undefined, 400, 'invalid_request', 'storefrontId'],
  ['GET', '/storefronts/none/customers?email=a@example.com', undefined, 404, 'not_found', undefined],
  ['GET', '/storefronts/us-store/customers?email=example.com', undefined, 400, 'invalid_request', 'email'],
  ['GET', '/storefronts/us-store/customers?email=a@example.com&paymentId={pay}', undefined, 400, 'invalid_request', 'paymentId'],
  ['GET', '/subscriptions?bundleId=pro-plan', undefined, 400, 'invalid_request', 'storefrontId'],
  ['GET', '/subscriptions?storefrontId=us-store&bundleId=pro-plan&customerId=c', undefined, 400, 'invalid_request', 'bundleId'],
  ['GET', '/subscriptions?status=asleep', undefined, 400, 'invalid_request', 'status'],
  ['GET', '/subscriptions/none', undefined, 404, 'not_found', undefined],
  ['PATCH', '/subscriptions/none', {}, 404, 'not_found', undefined],
  ['PATCH', '/subscriptions/{sub}', { status: 'active' }, 400, 'invalid_request', 'status'],
  ['POST', '/subscriptions/{sub}/cancel', {}, 400, 'invalid_request', 'at'],
  ['POST', '/subscriptions/{sub}/cancel', { at: 'once' }, 400, 'invalid_request', 'at'],
  ['POST', '/subscriptions/none/cancel', { at: 'now' }, 404, 'not_found', undefined],
  ['POST', '/subscriptions/{sub}/reactivate', {}, 409, 'not_allowed_in_state', undefined],
  ['POST', '/subscriptions', { ...subscriptionDocument, quantity: 0 }, 400, 'invalid_request', 'quantity'],
  ['POST', '/subscriptions', { ...subscriptionDocument, billingDay: 32 }, 400, 'invalid_request', 'billingDay'],
  ['POST', '/subscriptions', { ...subscriptionDocument, billMissed: 'yes' }, 400, 'invalid_request', 'billMissed'],
  ['GET', '/subscriptions/none/timeline', undefined, 404, 'not_found', undefined],
  ['GET', '/subscriptions/{sub}/timeline?cursor=x', undefined, 400, 'invalid_request', 'cursor'],
  ['POST', '/subscriptions/none/pause', {}, 404, 'not_found', undefined],
  ['POST', '/subscriptions/{sub}/pause', { what: 'everything' }, 400, 'invalid_request', 'what'],
  ['POST', '/subscriptions/{sub}/pause', { what: 'collection', resumeAt: '2030-01-01' }, 400, 'invalid_request', 'resumeAt'],
  ['POST', '/subscriptions/{sub}/pause', { resumeAt: '2020-01-01' }, 400, 'invalid_request', 'resumeAt'],
  ['POST', '/subscriptions/none/resume', {}, 404, 'not_found', undefined],
  ['POST', '/subscriptions/{sub}/resume', {}, 409, 'not_allowed_in_state', undefined],
  ['POST', '/subscriptions/{sub}/change', {}, 400, 'invalid_request', 'bundleId'],
  ['POST', '/subscriptions/{sub}/change', { bundleId: 'none' }, 422, 'unknown_reference', 'bundleId'],
  ['POST', '/subscriptions/{sub}/change', { quantity: 1.5 }, 400, 'invalid_request', 'quantity'],
  ['POST', '/subscriptions/{sub}/change', { quantity: 1 }, 409, 'not_allowed_in_state', undefined],
  ['POST', '/subscriptions/{sub}/change', { quantity: 2, at: 'later' }, 400, 'invalid_request', 'at'],
  ['POST', '/subscriptions/none/change', { quantity: 2 }, 404, 'not_found', undefined],
  ['POST', '/subscriptions/{sub}/preview-change', {}, 400, 'invalid_request', 'bundleId'],
  ['POST', '/subscriptions/none/preview-change', { quantity: 2 }, 404, 'not_found', undefined],
  ['POST', '/payments', {}, 400, 'invalid_request', 'storefrontId'],
  ['POST', '/payments', { ...order, amount: 0 }, 400, 'invalid_request', 'amount'],
  ['POST', '/payments', { ...order, currency: 'EUR' }, 400, 'invalid_request', 'currency'],
  ['POST', '/payments', { ...order, storefrontId: 'none' }, 422, 'unknown_reference', 'storefrontId'],
  ['POST', '/payments', { ...order, customerId: 'new', paymentMethod: undefined }, 400, 'invalid_request', 'paymentMethod'],
  ['GET', '/payments?storefrontId=us-store', undefined, 400, 'invalid_request', 'customerId'],
  ['GET', '/payments/none', undefined, 404, 'not_found', undefined],
  ['POST', '/payments/none/refund', {}, 404, 'not_found', undefined],
  ['POST', '/payments/{pay}/refund', { amount: 0 }, 400, 'invalid_request', 'amount'],
  ['POST', '/payments/{pay}/refund', { amount: 2901 }, 400, 'invalid_request', 'amount'],
  ['PUT', '/test-clock', {}, 400, 'invalid_request', 'now'],
  ['PUT', '/test-clock', { now: 'tomorrow' }, 400, 'invalid_request', 'now'],
  ['PUT', '/test-clock', { now: '2024-03-14T00:00:00Z' }, 400, 'invalid_request', 'now'],
  ['PUT', '/test-clock', { now: '2201-01-01' }, 400, 'invalid_request', 'now'],
  ['PUT', '/test-clock', { now: '9999-12-31T23:59:59Z' }, 400, 'invalid_request', 'now'],
  ['PUT', '/test-clock', { now: '9999-12-31T23:59:59-14:00' }, 400, 'invalid_request', 'now'],
  ['PUT', '/test-clock', { now: '1969-12-31' }, 400, 'invalid_request', 'now'],
  ['POST', '/nowhere', {}, 404, 'not_found', undefined],
  ['DELETE', '/bundles', undefined, 405, 'method_not_allowed', undefined],
  ['GET', '/bundles', undefined, 405, 'method_not_allowed', undefined],
  ['POST', '/payments/{pay}/attempts/none/resolve', { outcome: 'succeeded', pspReference: 'ch_1', reason: 'the dashboard' }, 404, 'not_found', undefined],
  ['POST', '/payments/{pay}/attempts/{pay}-1/resolve', { outcome: 'not_sent', reason: 'the dashboard' }, 409, 'not_allowed_in_state', undefined],
  ['POST', '/payments/{pay}/attempts/{pay}-1/resolve', { outcome: 'lost', reason: 'the dashboard' }, 400, 'invalid_request', 'outcome'],
  ['POST', '/payments/{pay}/attempts/{pay}-1/resolve', { outcome: 'not_sent' }, 400, 'invalid_request', 'reason'],
  ['POST', '/payments/{pay}/attempts/none/complete', {}, 404, 'not_found', undefined],
  ['POST', '/payments/{pay}/attempts/{pay}-1/complete', { details: { 'a b': 'c' } }, 400, 'invalid_request', 'details.a b'],
  ['POST', '/payments/{pay}/refunds/none/resolve', { outcome: 'failed', reason: 'the dashboard' }, 404, 'not_found', undefined],
  ['POST', '/payments/{pay}/refunds/none/resolve', { outcome: 'lost', reason: 'the dashboard' }, 400, 'invalid_request', 'outcome'],
  ['POST', '/routing/simulate', { amount: 100 }, 400, 'invalid_request', 'storefrontId'],
  ['POST', '/routing/simulate', { storefrontId: 'none', amount: 100 }, 422, 'unknown_reference', 'storefrontId'],
  ['POST', '/routing/simulate', { storefrontId: 'us-store', amount: 0 }, 400, 'invalid_request', 'amount'],
  ['POST', '/routing/simulate', { storefrontId: 'us-store', amount: 1, customerId: 'none' }, 422, 'unknown_reference', 'customerId'],
  ['POST', '/routing/simulate', { storefrontId: 'us-store', amount: 1, paymentMethod: 'pm' }, 400, 'invalid_request', 'paymentMethod'],
  ['GET', '/events?types=subscription.lost', undefined, 400, 'invalid_request', 'types'],
  ['GET', '/events?cursor=nowhere', undefined, 400, 'invalid_request', 'cursor'],
  ['GET', '/events?wait=31', undefined, 400, 'invalid_request', 'wait'],
  ['GET', '/events/none', undefined, 404, 'not_found', undefined],
  ['GET', '/event-types/subscription.lost', undefined, 404, 'not_found', undefined],
  ['POST', '/webhook-endpoints', { types: ['*'] }, 400, 'invalid_request', 'url'],
  ['POST', '/webhook-endpoints', { ...hook, url: 'http://hooks.example/' }, 400, 'invalid_request', 'url'],
  ['POST', '/webhook-endpoints', { ...hook, url: 'https://ann:secret@hooks.example/' }, 400, 'invalid_request', 'url'],
  ['POST', '/webhook-endpoints', { ...hook, url: 'https://hooks.example/#top' }, 400, 'invalid_request', 'url'],
  ['POST', '/webhook-endpoints', { ...hook, url: `https://hooks.example/${'x'.repeat(2_048)}` }, 400, 'invalid_request', 'url'],
  ['POST', '/webhook-endpoints', { ...hook, url: 'https://169.254.169.254/latest' }, 400, 'invalid_request', 'url'],
  ['POST', '/webhook-endpoints', { ...hook, url: 'https://[::ffff:10.0.0.1]/' }, 400, 'invalid_request', 'url'],
  ['POST', '/webhook-endpoints', { ...hook, url: 'https://2130706433/' }, 400, 'invalid_request', 'url'],
  ['POST', '/webhook-endpoints', { ...hook, types: [] }, 400, 'invalid_request', 'types'],
  ['POST', '/webhook-endpoints', { ...hook, types: ['subscription.lost'] }, 400, 'invalid_request', 'types[0]'],
  ['POST', '/webhook-endpoints', { ...hook, types: ['*', '*'] }, 400, 'invalid_request', 'types'],
  ['POST', '/webhook-endpoints', { ...hook, storefrontIds: ['us-store', 'none'] }, 422, 'unknown_reference', 'storefrontIds[1]'],
  ['POST', '/webhook-endpoints', { ...hook, secret: 'whsec_c2hvcnQ=' }, 400, 'invalid_request', 'secret'],
  ['GET', '/webhook-endpoints?limit=0', undefined, 400, 'invalid_request', 'limit'],
  ['GET', '/webhook-endpoints/none', undefined, 404, 'not_found', undefined],
  ['PATCH', '/webhook-endpoints/none', { enabled: false }, 404, 'not_found', undefined],
  ['DELETE', '/webhook-endpoints/none', undefined, 404, 'not_found', undefined],
  ['POST', '/webhook-endpoints/none/rotate-secret', {}, 404, 'not_found', undefined],
  ['POST', '/webhook-endpoints/none/rotate-secret', { expirePreviousInHours: 169 }, 400, 'invalid_request', 'expirePreviousInHours'],
  ['DELETE', '/webhook-endpoints/none/secrets/none', undefined, 404, 'not_found', undefined],
  ['GET', '/webhook-endpoints/none/deliveries', undefined, 404, 'not_found', undefined],
  ['GET', '/webhook-endpoints/none/deliveries?status=lost', undefined, 400, 'invalid_request', 'status'],
  ['GET', '/webhook-endpoints/none/deliveries/none', undefined, 404, 'not_found', undefined],
  ['POST', '/webhook-endpoints/none/deliveries/none/replay', {}, 404, 'not_found', undefined],
  ['POST', '/webhook-endpoints/none/replay', {}, 400, 'invalid_request', 'body'],
  ['POST', '/webhook-endpoints/none/replay', { failed: true }, 404, 'not_found', undefined],
  ['POST', '/webhook-endpoints/none/test', {}, 404, 'not_found', undefined],
  ['GET', '/webhook-events?status=lost', undefined, 400, 'invalid_request', 'status'],
  ['GET', '/webhook-events/stripe/none', undefined, 404, 'not_found', undefined],
  ['POST', '/webhook-events/stripe/none/replay', {}, 404, 'not_found', undefined],
  ['POST', '/settlement-reports', { id: 'r', account: 'stripe' }, 400, 'invalid_request', 'lines'],
  [
    'POST',
    '/settlement-reports',
    { id: 'r', account: 'stripe', lines: [{ type: 'tax', currency: 'USD', gross: 1, net: 1 }] },
    400,
    'invalid_request',
    'lines[0].type',
  ],
  [
    'POST',
    '/settlement-reports',
    { id: 'r', account: 'stripe', lines: [{ type: 'charge', currency: 'USD', gross: 0.5, net: 1 }] },
    400,
    'invalid_request',
    'lines[0].gross',
  ],
  [
    'POST',
    '/settlement-reports',
    { id: 'r', account: 'stripe', from: '2024-02-01T00:00:00Z', to: '2024-01-01T00:00:00Z', lines: [] },
    400,
    'invalid_request',
    'to',
  ],
  ['POST', '/settlement-reports/r/csv?account=stripe', {}, 415, 'unsupported_media_type', undefined],
  ['GET', '/settlement-reports?limit=0', undefined, 400, 'invalid_request', 'limit'],
  ['GET', '/settlement-reports/none', undefined, 404, 'not_found', undefined],
  ['GET', '/settlement-reports/none/differences', undefined, 404, 'not_found', undefined],
  ['PATCH', '/storefronts/us-store', { billing: { onDispute: 'sue' } }, 400, 'invalid_request', 'billing.onDispute'],
]

const ZODS_OWN_WORDS = /\b(Invalid|Unrecognized) |\bToo (big|small)\b|\bexpected \w+/

inWorlds(test, (story) => {
  story(`bad input of ${badInput.length} kinds gets the right status, code and field, and changes nothing`, async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const { id: sub, payment } = (await shop.subscribe('c')).body
    const before = await everything(shop)
    const platform = httpClient(tollgate.http)
    for (const [method, path, body, status, code, field] of badInput) {
      const api = /^\/(tenants|sidecars)(\?|$)/.test(path) ? platform : shop.api
      const about = `${method} ${path} ${JSON.stringify(body)}`
      const answer = await api.call(method, path.replace('{tenant}', shop.tenantId).replace('{sub}', sub).replaceAll('{pay}', payment.id), body)
      isProblem(t, answer, status, code, field, about)
      t.notRegex(answer.body.detail, ZODS_OWN_WORDS, about)
    }
    t.deepEqual(await everything(shop), before)
  })

  story('a refusal says what would have been right: the methods of a path, and whether a key is missing or wrong', async ({ t, tollgate }) => {
    const api = httpClient(tollgate.http)
    const answer = await api.get('/bundles')
    t.is(answer.headers.get('allow'), 'POST')
    t.regex(answer.body.detail, /supports POST/)
    t.regex((await api.get('/storefronts', { authorization: '' })).body.detail, /needs an API key/)
    t.regex((await api.get('/storefronts', { authorization: 'Bearer wrong' })).body.detail, /is unknown/)
    t.regex((await api.post('/tenants', {})).body.detail, /^name: is required/)
  })

  story('a visitor with a browser finds a reference, which loads nothing from elsewhere', async ({ t, tollgate }) => {
    const get = (path: string, headers: Record<string, string> = {}) => fetch(`${tollgate.http}${path}`, { headers })
    const page = await get('/docs')
    t.is(page.status, 200)
    t.is(page.headers.get('content-type'), 'text/html; charset=utf-8')
    const policy = page.headers.get('content-security-policy') ?? ''
    t.regex(policy, /^default-src 'none'; script-src 'self'; /)
    for (const source of policy.replaceAll(';', ' ').split(/\s+/)) t.notRegex(source, /[.*]|^https?:|^ws|unsafe-eval/, 'no other host, and no text as code')
    t.false(/script-src[^;]*unsafe-inline/.test(policy))
    const html = await page.text()
    const assets = [...html.matchAll(/\s(?:src|href)="([^"]*)"/g)].map(([, address]) => address ?? '')
    t.deepEqual(assets, ['/openapi.json', '/docs/scalar.js', '/docs/start.js'])
    for (const asset of assets) {
      const { status, headers } = await get(asset)
      t.is(status, 200, asset)
      t.is(headers.get('cache-control'), 'public, no-cache', asset)
      const again = await get(asset, { 'if-none-match': headers.get('etag') ?? '', 'cache-control': 'max-age=0' })
      t.deepEqual([again.status, await again.text()], [304, ''], asset)
    }
    const start = await (await get('/docs/start.js')).text()
    t.deepEqual([start.includes('"telemetry":false'), start.includes('"withDefaultFonts":false'), /https?:/.test(start)], [true, true, false])
    t.regex(await (await get('/docs/scalar.js')).text(), /createApiReference/)

    const welcome = await get('/', { accept: 'text/html,*/*;q=0.8' })
    t.is(welcome.headers.get('content-type'), 'text/html; charset=utf-8')
    t.regex(await welcome.text(), /href="\/docs"[\s\S]*href="\/openapi.json"/)
    const told = await get('/', { accept: 'application/json' })
    t.is(told.headers.get('vary'), 'Accept, Accept-Encoding')
    t.like(await told.json(), { name: 'Tollgate', links: { '/docs': 'the reference of the HTTP API, to browse' } })
  })

  story('every route that takes a body refuses one that is not JSON, is too large, or has another type', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const sub = (await shop.subscribe('c')).body.id
    const before = await everything(shop)
    for (const { method, path, body, access } of routes) {
      if (!body || access === 'public') continue
      const where = path
        .replace('{tenant}', shop.tenantId)
        .replace('{storefront}', 'us-store')
        .replace('{bundle}', 'pro-plan')
        .replace('{subscription}', sub)
        .replace(/\{\w+\}/g, 'c')
      const api = path === '/v1/tenants' ? httpClient(tollgate.http) : shop.api
      const call = (text: string, headers = {}) => api.call(method.toUpperCase(), where, text, headers)
      isProblem(t, await call('{"a":'), 400, 'malformed_json', undefined, `${where} malformed`)
      isProblem(t, await call(JSON.stringify({ a: 'x'.repeat(300_000) })), 413, 'body_too_large', undefined, `${where} oversized`)
      isProblem(t, await call('a=b', { 'content-type': 'application/x-www-form-urlencoded' }), 415, 'unsupported_media_type', undefined, `${where} form`)
      for (const value of ['[]', '"text"', '7', 'null']) {
        const answer = await call(value)
        t.is(answer.status, 400, `${where} ${value}: ${JSON.stringify(answer.body)}`)
      }
    }
    t.deepEqual(await everything(shop), before)
  })

  story('a tenant can neither read, change nor detect anything of another', async ({ t, tollgate }) => {
    const mine = await openShop(t, tollgate)
    const theirs = await openShop(t, tollgate)
    const sub = (await theirs.subscribe('victim')).body
    await theirs.api.post('/psp-accounts', { id: 'their-account', provider: 'stripe' })
    await theirs.api.post('/settlement-reports', { id: 'their-report', account: 'their-account', lines: [] })
    const { body: theirKeys } = await theirs.api.get('/api-keys')
    const before = await everything(theirs)

    // Of each thing of theirs, and of one that does not exist: the answers must not differ.
    const pairs: [method: string, theirs: string, none: string, body?: unknown][] = [
      ['GET', `/tenants/${theirs.tenantId}`, '/tenants/no-such-tenant'],
      ['GET', `/subscriptions/${sub.id}`, '/subscriptions/none'],
      ['GET', `/subscriptions/${sub.id}/timeline`, '/subscriptions/none/timeline'],
      ['POST', `/subscriptions/${sub.id}/pause`, '/subscriptions/none/pause', {}],
      ['POST', `/subscriptions/${sub.id}/resume`, '/subscriptions/none/resume', {}],
      ['POST', `/subscriptions/${sub.id}/change`, '/subscriptions/none/change', { quantity: 2 }],
      ['POST', `/subscriptions/${sub.id}/preview-change`, '/subscriptions/none/preview-change', { quantity: 2 }],
      ['POST', `/payments/${sub.payment.id}/refund`, '/payments/none/refund', {}],
      ['PATCH', `/subscriptions/${sub.id}`, '/subscriptions/none', { metadata: { a: 'b' } }],
      ['POST', `/subscriptions/${sub.id}/cancel`, '/subscriptions/none/cancel', { at: 'now' }],
      ['POST', `/subscriptions/${sub.id}/reactivate`, '/subscriptions/none/reactivate', {}],
      ['GET', `/payments/${sub.payment.id}`, '/payments/none'],
      ['GET', `/payments?subscriptionId=${sub.id}`, '/payments?subscriptionId=none'],
      [
        'POST',
        `/payments/${sub.payment.id}/attempts/${sub.payment.id}-1/resolve`,
        '/payments/none/attempts/none/resolve',
        { outcome: 'not_sent', reason: 'mine' },
      ],
      ['GET', '/webhook-events/their-account/evt', '/webhook-events/none/evt'],
      ['GET', '/settlement-reports/their-report', '/settlement-reports/none'],
      ['GET', '/settlement-reports/their-report/differences', '/settlement-reports/none/differences'],
      ['POST', '/storefronts/us-store/customers/victim/payment-methods', '/storefronts/us-store/customers/none/payment-methods', { tokens: { a: 'b' } }],
      ['GET', '/psp-accounts/their-account', '/psp-accounts/none'],
      ['PATCH', '/psp-accounts/their-account', '/psp-accounts/none', {}],
      ['GET', '/storefronts/us-store/customers/victim', '/storefronts/us-store/customers/none'],
      ['GET', '/storefronts/us-store/customers/victim/entitlements', '/storefronts/us-store/customers/none/entitlements'],
      ['POST', '/storefronts/us-store/customers/victim/grants', '/storefronts/us-store/customers/none/grants', grant],
      ['GET', '/storefronts/us-store/customers/victim/grants', '/storefronts/us-store/customers/none/grants'],
      ['DELETE', '/storefronts/us-store/customers/victim/grants/g', '/storefronts/us-store/customers/none/grants/g'],
      ['PATCH', '/storefronts/us-store/customers/victim', '/storefronts/us-store/customers/none', { name: 'x' }],
      ...theirKeys.data.map(({ id }: { id: string }) => ['DELETE', `/api-keys/${id}`, '/api-keys/none'] as [string, string, string]),
    ]
    const seen = ({ status, body }: HttpAnswer) => [status, body && { ...body, requestId: undefined }]
    for (const [method, path, none, body] of pairs) {
      t.deepEqual(seen(await mine.api.call(method, path, body)), seen(await mine.api.call(method, none, body)), `${method} ${path}`)
    }
    for (const tenant of [theirs.tenantId, 'no-such-tenant']) {
      isProblem(t, await mine.api.get('/storefronts', { 'x-tn': tenant }), 403, 'forbidden', undefined, `x-tn: ${tenant}`)
    }
    t.deepEqual((await mine.api.get('/subscriptions')).body.data, [])
    t.deepEqual(await everything(theirs), before)
    // A cursor of theirs opens nothing of ours.
    await theirs.subscribe('another')
    const { nextCursor } = (await theirs.api.get('/subscriptions?limit=1')).body
    isProblem(t, await mine.api.get(`/subscriptions?limit=1&cursor=${nextCursor}`), 400, 'invalid_request', 'cursor', 'a cursor of another tenant')
  })

  story('a read is not recorded, whatever key it is repeated under', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const ask = { storefrontId: 'us-store', amount: 100 }
    const once = { 'idempotency-key': 'look' }
    const first = await shop.api.post('/routing/simulate', ask, once)
    const second = await shop.api.post('/routing/simulate', { ...ask, amount: 200 }, once)
    t.deepEqual([first.status, second.status], [200, 200])
    t.is(second.headers.get('idempotent-replayed'), null)
  })

  story('the platform names the tenant it means', async ({ t, tollgate }) => {
    isProblem(t, await httpClient(tollgate.http).get('/storefronts'), 400, 'invalid_request', 'x-tn', 'no tenant')
    isProblem(t, await httpClient(tollgate.http, { tenant: 'none' }).get('/storefronts'), 404, 'not_found', undefined, 'unknown tenant')
  })

  story('a repeat under its Idempotency-Key is answered as the first time and not done again', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const key = { 'idempotency-key': 'order-1' }
    const order = { ...subscriptionDocument }
    const first = await shop.api.post('/subscriptions', order, key)
    const again = await shop.api.post('/subscriptions', order, key)
    t.is(again.status, 201)
    t.deepEqual(again.body, first.body)
    t.is(again.headers.get('idempotent-replayed'), 'true')
    t.is((await shop.api.get('/subscriptions')).body.data.length, 1)
    isProblem(t, await shop.api.post('/subscriptions', { ...order, customerId: 'other' }, key), 422, 'idempotency_key_reused', undefined, 'another request')

    // A refused request does not use its key up.
    const later = { 'idempotency-key': 'order-2' }
    t.is((await shop.api.post('/customers', { id: 'c', storefrontId: 'none' }, later)).status, 422)
    await shop.api.post('/storefronts', { id: 'none', currency: 'USD' })
    t.is((await shop.api.post('/customers', { id: 'c', storefrontId: 'none' }, later)).status, 201)

    // An answer that shows a secret once shows it again to who repeats the request.
    const made = await shop.api.post('/api-keys', { role: 'read' }, { 'idempotency-key': 'key-1' })
    t.deepEqual((await shop.api.post('/api-keys', { role: 'read' }, { 'idempotency-key': 'key-1' })).body, made.body)
    for (const [key, what] of [
      ['x'.repeat(256), 'a long key'],
      ['', 'an empty key'],
    ] as const)
      isProblem(t, await shop.api.post('/api-keys', { role: 'read' }, { 'idempotency-key': key }), 400, 'invalid_request', 'Idempotency-Key', what)
  })

  story('ten of the same request at once make one subscription', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const answers = await Promise.all(Array.from({ length: 10 }, () => shop.api.post('/subscriptions', subscriptionDocument, { 'idempotency-key': 'order' })))
    const made = new Set(answers.filter(({ status }) => status === 201).map(({ body }) => body.id))
    t.is(made.size, 1)
    for (const { status, body } of answers) t.true(status === 201 || body.code === 'idempotency_in_progress', JSON.stringify(body))
    t.is((await shop.api.get('/subscriptions')).body.data.length, 1)
    t.is((await shop.api.get('/payments')).body.data.length, 1)
  })

  story('If-Match: a caller whose document has changed meanwhile is told, and exactly one of many gets through', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const etag = (await shop.api.get('/storefronts/us-store')).headers.get('etag') ?? ''
    t.regex(etag, /^"\d+"$/)
    const patch = (name: string) => shop.api.patch('/storefronts/us-store', { name }, { 'if-match': etag })
    const answers = await Promise.all(['a', 'b', 'c', 'd', 'e'].map(patch))
    t.is(answers.filter(({ status }) => status === 200).length, 1)
    for (const answer of answers.filter(({ status }) => status !== 200)) isProblem(t, answer, 412, 'precondition_failed', undefined, 'stale')
    isProblem(t, await shop.api.patch('/storefronts/us-store', {}, { 'if-match': 'rubbish' }), 400, 'invalid_request', 'If-Match', 'no ETag')
    isProblem(t, await shop.api.patch('/storefronts/us-store', {}, { 'if-match': '' }), 400, 'invalid_request', 'If-Match', 'an empty one')
  })

  story('lists come in pages', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    for (let n = 0; n < 7; n += 1) await shop.api.post('/customers', { id: `c${n}`, storefrontId: 'us-store' })
    const seen: string[] = []
    let cursor = ''
    do {
      const { body } = await shop.api.get(`/storefronts/us-store/customers?limit=3${cursor}`)
      seen.push(...body.data.map(({ id }: { id: string }) => id))
      cursor = body.nextCursor ? `&cursor=${body.nextCursor}` : ''
    } while (cursor)
    t.deepEqual(seen.toSorted(), ['c0', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6'])
  })

  story('no secret, token or credential comes back, or reaches the log', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const secrets = ['tok_secret_1', 'sk_live_secret_2', 'whsec_secret_3', shop.apiKey, PLATFORM_KEY]
    await shop.api.post('/customers', { id: 'c', storefrontId: 'us-store', paymentMethods: [{ id: 'm', type: 'card', tokens: { stripe: 'tok_secret_1' } }] })
    await shop.api.post('/psp-accounts', { id: 'stripe', provider: 'stripe', credentials: { secretKey: 'sk_live_secret_2' }, webhookSecret: 'whsec_secret_3' })
    const bought = await shop.subscribe('c', 'm')
    const said = JSON.stringify([
      bought.body,
      await everything(shop),
      (await shop.api.get('/storefronts/us-store/customers/c')).body,
      (await shop.api.get('/psp-accounts/stripe')).body,
      (await shop.subscribe('d', 'tok_secret_1')).body,
      tollgate.controlPlane.stderr(),
      tollgate.sidecar.stderr(),
    ])
    for (const secret of secrets) t.false(said.includes(secret), secret)
  })

  story('the API describes itself: every route, with what it takes and who may call it', async ({ t, tollgate }) => {
    const { body } = await httpClient(tollgate.http).get('/openapi.json')
    t.is(body.openapi, '3.1.0')
    for (const { method, path } of routes) t.truthy(body.paths[path]?.[method]?.summary, `${method} ${path}`)
    t.deepEqual(body.paths['/v1/subscriptions'].post.requestBody.content['application/json'].schema, { $ref: '#/components/schemas/NewSubscription' })
    t.deepEqual(body.components.schemas.NewSubscription.required, ['customerId', 'bundleId', 'storefrontId'])
  })

  story('the control plane says whether it is up and ready', async ({ t, tollgate }) => {
    for (const path of ['/healthz', '/readyz']) t.is((await fetch(`${tollgate.http}${path}`)).status, 200)
    const metricsFor = (key?: string) => fetch(`${tollgate.http}/metrics`, key ? { headers: { authorization: `Bearer ${key}` } } : {})
    t.is((await metricsFor()).status, 401)
    const shop = await openShop(t, tollgate)
    t.is((await metricsFor(shop.apiKey)).status, 403)
    const metrics = await metricsFor(tollgate.env.PLATFORM_API_KEY)
    t.is(metrics.status, 200)
    const text = await metrics.text()
    for (const name of ['tollgate_feed_complete ', 'tollgate_clock_believed 1', 'tollgate_feed_filled_sets', 'tollgate_work_total'])
      t.true(text.includes(name), name)
  })
})

test('the table of bad input covers every route that can be given any', (t) => {
  const spoken = (method: string, path: string) =>
    badInput.some(
      ([m, p]) => m.toLowerCase() === method && new RegExp(`^${path.replace('/v1', '').replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(p.split('?')[0] ?? ''),
    )
  // Of these a caller can get nothing wrong but the key, or they have tests of their own.
  const elsewhere = [
    'get /v1/tenants/{tenant}',
    'get /v1/caller',
    'get /v1/identity-provider',
    'get /v1/permissions',
    'get /v1/platform/audit-log',
    'get /v1/api-keys',
    'get /v1/storefronts',
    'get /v1/psp-accounts',
    'get /v1/storefronts/{storefront}/customers',
    'get /v1/payments',
    'get /v1/test-clock',
  ]
  for (const { method, path, access } of routes) {
    if (access === 'public' || elsewhere.includes(`${method} ${path}`)) continue
    t.true(spoken(method, path), `${method} ${path}`)
  }
})
