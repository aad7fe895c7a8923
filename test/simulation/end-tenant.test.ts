/** A tenant is ended, and the process dies between any two of the writes and calls that it takes. */

import test, { type ExecutionContext } from 'ava'
import { isAppError } from '../../common/errors.ts'
import { Secret } from '../../common/secret.ts'
import { createApiKey } from '../../control-plane/access/api-keys.ts'
import { tenantOfCall } from '../../control-plane/access/authenticate.ts'
import { permissions } from '../../control-plane/access/permissions.ts'
import { createRole } from '../../control-plane/access/roles.ts'
import { createBundle, replaceBundle } from '../../control-plane/catalog/bundles.ts'
import { endTenant, finishEnding } from '../../control-plane/catalog/end-tenant.ts'
import { createPspAccount } from '../../control-plane/catalog/psp-accounts.ts'
import { createCustomer } from '../../control-plane/customers/customers.ts'
import { giveGrant } from '../../control-plane/entitlements/give-grants.ts'
import { reportUsage } from '../../control-plane/entitlements/report-usage.ts'
import { createEndpoint } from '../../control-plane/events/webhooks/endpoints.ts'
import { keys } from '../../control-plane/keys.ts'
import { flushCounters } from '../../control-plane/metering/flush-counters.ts'
import { payOnce } from '../../control-plane/payments/one-time-payment.ts'
import { setIdentityProvider } from '../../control-plane/people/identity-providers.ts'
import { beginSession } from '../../control-plane/people/sessions.ts'
import { inviteUser } from '../../control-plane/people/users.ts'
import type { Tenant } from '../../control-plane/schemas/tenant.ts'
import { collectionNames } from '../../control-plane/storage/documents.ts'
import { cancelSubscription } from '../../control-plane/subscriptions/change-subscription.ts'
import { createSubscription } from '../../control-plane/subscriptions/create-subscription.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { type Laboratory, openLaboratory, storefront } from './laboratory.ts'

const MAX_STEPS = 2_000
/** Every so manieth step is a death; all of them would take minutes. */
const EVERY = 5
const DAY_MS = 86_400_000

const terms = {
  name: 'daily',
  pricing: { amountMinor: 100, currency: 'USD', interval: 'day' as const, intervalCount: 1 },
  entitlements: [{ key: 'seats', kind: 'capacity' as const, limit: 5 }],
  trialDays: 0,
  refundEndsAccess: false,
}

/** A subscription that has ended and one that lives, something used, a payment that was made and one that is pending, two versions of a bundle. */
const openBusiness = async ({ services, newTenant, bank }: Laboratory, id: string): Promise<Tenant> => {
  const tenant = await newTenant(id, undefined, storefront)
  await createBundle(tenantScope(services, tenant), 'shop', 'daily', terms)
  await replaceBundle(
    tenantScope(services, tenant),
    'shop',
    'daily',
    () => {},
    { ...terms, entitlements: [{ key: 'places', kind: 'capacity', limit: 5 }] },
    'new',
  )
  for (const customer of ['ann', 'bob']) {
    await createCustomer(tenantScope(services, tenant), 'shop', customer, { paymentMethods: [] })
    await createSubscription(tenantScope(services, tenant), `of-${customer}`, {
      bundleId: 'daily',
      storefrontId: 'shop',
      customerId: customer,
      paymentMethod: 'good',
    })
  }
  await cancelSubscription(tenantScope(services, tenant), { id: 'cmd', subscriptionId: 'of-bob', check: () => {} }, 'now')
  await reportUsage(
    tenantScope(services, tenant),
    { tenantId: id, storefrontId: 'shop', customerId: 'ann' },
    { id: 'use', entitlement: 'places', change: { add: 2 } },
  )
  await flushCounters(tenantScope(services, tenant), { _id: keys.customer(id, 'shop', 'ann') })
  const ids = { storefrontId: 'shop', customerId: 'ann', expiresAt: services.clock.now(), createdAt: services.clock.now() }
  await services.storage.countedReports.insert({ _id: keys.countedReport(id, 'shop', 'ann', 'hash'), tenantId: id, ...ids })
  const given = { source: 'manual', mode: 'add', reason: 'r' } as const
  await giveGrant(tenantScope(services, tenant), { storefront: 'shop', customer: 'ann' }, 'grt', {
    ...given,
    entitlements: [{ key: 'by-hand', kind: 'capacity', limit: 5 }],
  })
  const order = { storefrontId: 'shop', customerId: 'ann', amountMinor: 700, currency: 'USD' }
  await payOnce(tenantScope(services, tenant), 'pay_done', { ...order, paymentMethod: 'good' })
  await payOnce(tenantScope(services, tenant), 'pay_pending', { ...order, paymentMethod: 'pending_60' })
  const charge = { reference: 'pay_done-1', outcome: { status: 'succeeded' as const, pspReference: 'ch' } }
  await bank.deliver('a', { id: 'evt', type: 'charge.succeeded', charge })
  await createApiKey(services, tenant, 'key', { role: 'admin' })
  const admin = { kind: 'api_key' as const, id: 'k', role: 'admin', permissions: new Set(permissions), tenantId: id }
  const { user } = await inviteUser(services, id, admin, { email: 'ann@example.com', role: 'read' })
  await beginSession(services, user)
  await createRole(services, id, admin, 'desk', { name: 'Desk', permissions: ['catalog:read'] })
  const provider = { issuer: 'https://login.example.com', clientId: 'c', clientSecret: new Secret('s'), scopes: ['openid'], groupsClaim: 'groups', groups: [] }
  await setIdentityProvider(services, id, admin, () => {}, provider)
  await createPspAccount(tenantScope(services, tenant), { id: 'acc', provider: 'stripe', credentials: { secretKey: new Secret('sk') }, capabilities: {} })
  const endpoint = { url: 'https://hooks.example/', types: ['*'], ordered: false, enabled: true }
  await createEndpoint(tenantScope(services, tenant), { id: 'whe', secretId: 'whs' }, endpoint, undefined, false)
  return tenant
}

/** As a call would write one that had begun before its tenant was ended. */
const someonesPayment = async (laboratory: Laboratory) => {
  await openBusiness(laboratory, 'other')
  return laboratory.storage.payments.get(keys.payment('other', 'pay_done'))
}

/** What stays of a tenant: an empty document under its id, and by whom its customers were (hashes). */
const KEPT = new Set(['tenants', 'tombstones', 'auditBlocks', 'idempotencyRecords'])

const isGone = async (t: ExecutionContext, { storage, feed }: Laboratory, what: string): Promise<void> => {
  const indexed = { tenantId: 't' }
  for (const name of collectionNames) {
    if (KEPT.has(name) || name === 'installations') continue
    const where: Record<string, Record<string, string>> = {
      bundles: { ...indexed, storefrontId: 'shop' },
      bundleVersions: { ...indexed, storefrontId: 'shop', id: 'daily' },
      customers: { ...indexed, storefrontId: 'shop' },
      entitlementKinds: { ...indexed, storefrontId: 'shop' },
      eventChunks: { ...indexed, subscriptionId: 'of-ann' },
      settlementDifferences: { ...indexed, reportId: 'r' },
      webhookDeliveries: { ...indexed, endpointId: 'e' },
    }
    if (['usageCounters', 'customerGrants', 'identityProviders', 'loggedEvents', 'eventLogs', 'eventCursors'].includes(name)) continue
    t.deepEqual((await storage[name].page({ where: where[name] ?? indexed, limit: 10 })).data, [], `${what}: ${name}`)
  }
  t.deepEqual(await storage.loggedEvents.after({ where: indexed, above: 0, limit: 10 }), [], what)
  t.is(await storage.eventLogs.find(keys.eventLog('t')), undefined, what)
  t.is(await storage.usageCounters.find(keys.customer('t', 'shop', 'ann')), undefined, what)
  t.is(await storage.customerGrants.find(keys.customer('t', 'shop', 'ann')), undefined, what)
  for (const key of ['seats', 'places', 'by-hand']) t.is(await storage.entitlementKinds.find(keys.entitlementKind('t', 'shop', key)), undefined, what)
  t.is(await storage.identityProviders.find(keys.identityProvider('t')), undefined, what)
  t.is(await feed.getSet({ tenantId: 't', storefrontId: 'shop', customerId: 'ann' }), undefined, what)
  const kept = await storage.tenants.get(keys.tenant('t'))
  t.like(kept, { name: 'ended', setup: undefined, repairAt: undefined })
  t.truthy(kept.ended)
}

test('the end of a tenant completes wherever the process dies, takes everything of it, and nothing of another', async (t) => {
  let [deaths, ended] = [0, false]
  for (let step = 1; step < MAX_STEPS && !ended; step += EVERY) {
    const laboratory = openLaboratory()
    const { services, storage, feed } = laboratory
    await openBusiness(laboratory, 'other')
    const tenant = await openBusiness(laboratory, 't')
    const marked = await endTenant(tenantScope(services, tenant), () => {}, true)
    // The payment that is pending is not waited for any longer.
    laboratory.pass(31 * DAY_MS)
    laboratory.dieAt(step)
    const [outcome] = await Promise.allSettled([finishEnding(tenantScope(services, marked))])
    ended = outcome.status === 'fulfilled'
    deaths += ended ? 0 : 1
    await laboratory.recover()
    // What a call wrote that had begun before is looked for once more.
    laboratory.pass(2 * 3_600_000)
    await laboratory.recover()
    await isGone(t, laboratory, `step ${step}`)
    t.like(await storage.subscriptions.get(keys.subscription('other', 'of-ann')), { status: 'active' })
    t.truthy(await feed.getSet({ tenantId: 'other', storefrontId: 'shop', customerId: 'ann' }))
    await laboratory.close()
  }
  t.log(`${deaths} deaths`)
  t.true(ended && deaths > 10)
})

test('a tenant with living subscriptions ends only on explicit request, and an ended one is gone, and so is its id', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const { services, storage } = laboratory
  await openBusiness(laboratory, 't')
  const scopeOf = async (id: string) => tenantScope(services, await laboratory.tenant(id))
  const refused = await t.throwsAsync(endTenant(await scopeOf('t'), () => {}, false))
  t.regex(refused?.message ?? '', /of-ann has not ended: .*\?cancel=now/)
  await endTenant(await scopeOf('t'), () => {}, true)
  const caller = { kind: 'api_key' as const, id: 'k', role: 'admin', permissions: new Set<never>(), tenantId: 't' }
  t.true(isAppError(await t.throwsAsync(tenantOfCall(services, caller, undefined)), 'not_allowed_in_state'))
  await laboratory.recover()
  laboratory.pass(31 * DAY_MS)
  await laboratory.recover()
  await storage.payments.insert({ ...(await someonesPayment(laboratory)), _id: 't/late', tenantId: 't', id: 'late' })
  laboratory.pass(2 * 3_600_000)
  await laboratory.recover()
  await isGone(t, laboratory, 'after a month')
  t.true(isAppError(await t.throwsAsync(tenantOfCall(services, caller, undefined)), 'not_found'))
  t.true(isAppError(await t.throwsAsync(endTenant(await scopeOf('t'), () => {}, true)), 'not_found'))
  await t.throwsAsync(laboratory.newTenant('t', undefined, storefront), { message: /cannot be used again/ })
  t.is(await storage.apiKeys.findUnique('secretHash', 'x'), undefined)
})
