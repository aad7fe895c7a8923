/** A shop with something of every kind in it, and where its ids belong: so that a fuzzer gets beyond "there is no such". */
import type { ExecutionContext } from 'ava'
import { eventually } from './eventually.ts'
import type { FuzzValues } from './schemathesis.ts'
import { openShop, type Shop } from './shop.ts'
import type { Tollgate } from './tollgate.ts'

/** More than a run erases or ends. */
const CUSTOMERS = 24

export interface FuzzedShop {
  shop: Shop
  values: FuzzValues
  /** Of operations that need what no other one takes away meanwhile. */
  valuesOf: Record<string, FuzzValues>
}

interface Payment {
  id: string
  attempts: { id: string }[]
}

export const openFuzzedShop = async (t: ExecutionContext, tollgate: Tollgate): Promise<FuzzedShop> => {
  const shop = await openShop(t, tollgate)
  const { api } = shop
  const made = async (path: string, body: object) => {
    const answer = await api.post(path, body)
    t.true(answer.status < 300, `${path}: ${JSON.stringify(answer.body)}`)
    return answer.body
  }
  await made('/psp-accounts', { id: 'stripe', provider: 'simulator' })
  await made('/psp-accounts', { id: 'bank', provider: 'local' })
  await made('/bundles', {
    id: 'team-plan',
    name: 'Team Plan',
    storefrontId: 'us-store',
    pricing: { amount: 9900, currency: 'USD', interval: 'month' },
    entitlements: [
      { key: 'seats', kind: 'capacity', limit: 5 },
      { key: 'api_limit', kind: 'quota', limit: 50_000, per: 'month' },
    ],
  })
  const newCustomer = (id: string) =>
    made('/customers', { id, storefrontId: 'us-store', email: `${id}@example.com`, paymentMethods: [{ id: 'card', tokens: { '*': 'pm_card' } }] })
  const customers = Array.from({ length: CUSTOMERS }, (_, n) => `customer-${n}`)
  const subscriptions: string[] = []
  for (const id of customers) {
    await newCustomer(id)
    subscriptions.push((await made('/subscriptions', { customerId: id, bundleId: 'pro-plan', storefrontId: 'us-store' })).id)
  }
  const leaving = ['leaver-1', 'leaver-2', 'leaver-3']
  for (const id of leaving) await newCustomer(id)
  const [changing, pausing, ending] = [subscriptions.slice(0, 2), subscriptions.slice(2, 4), subscriptions.slice(4)]
  await made(`/subscriptions/${pausing[0]}/pause`, {})
  await made(`/subscriptions/${ending[0]}/cancel`, { at: 'period_end' })

  const pay = (paymentMethod: string): Promise<Payment> =>
    made('/payments', { storefrontId: 'us-store', customerId: 'customer-0', amount: 1500, currency: 'USD', paymentMethod })
  const toSettle = await pay('card')
  const pending = await pay('pm_pending')
  const refused = [await pay('pm_decline_hard'), await pay('pm_decline_hard'), await pay('pm_decline_hard')]
  const unanswered = await pay('pm_timeout')
  const waiting = [await pay('pm_sca'), await pay('pm_sca')]
  const toRefund = await pay('pm_refund_pending_48h')
  const { refunds } = await made(`/payments/${toRefund.id}/refund`, { amount: 500 })
  await made('/settlement-reports', {
    id: 'payout-1',
    account: 'stripe',
    lines: [{ type: 'charge', reference: toSettle.attempts[0]?.id, currency: 'USD', gross: 1500, fee: 45, net: 1455 }],
  })
  await made('/roles', { id: 'auditor', permissions: ['audit-log:read'] })
  const { id: key } = await made('/api-keys', { role: 'read' })
  const { id: user } = await made('/users', { email: 'ann@example.com', role: 'billing' })
  const events = async () => (await api.get('/webhook-events')).body.data
  await eventually(async () => (await events()).length > 0)

  const idsOf = (list: { id: string }[]) => list.map(({ id }) => id)
  const attemptsOf = (...payments: Payment[]) => ({ 'path.payment': idsOf(payments), 'path.attempt': payments.flatMap(({ attempts }) => idsOf(attempts)) })
  const all = [toSettle, pending, ...refused, unanswered, ...waiting, toRefund]
  const bundles = ['pro-plan', 'team-plan']
  const accounts = ['stripe', 'bank']
  return {
    shop,
    values: {
      'header.x-tn': [shop.tenantId],
      'header.If-Match': ['*', '*', '*', '"1"'],
      'path.tenant': [shop.tenantId],
      'path.storefront': ['us-store', 'eu-store'],
      'path.bundle': bundles,
      'path.customer': customers,
      'path.method': ['card'],
      'path.subscription': subscriptions,
      ...attemptsOf(...all),
      'path.refund': idsOf(refunds),
      'path.account': accounts,
      'path.report': ['payout-1'],
      'path.event': idsOf(await events()),
      'path.key': [key],
      'path.user': [user],
      'path.role': ['auditor', 'billing'],
      'query.storefrontId': ['us-store'],
      'query.customerId': customers,
      'query.subscriptionId': subscriptions,
      'query.account': accounts,
      // Mostly new ones.
      'body.id': Array.from({ length: 60 }, (_, n) => `new-${n}`),
      'body.storefrontId': ['us-store'],
      'body.customerId': customers,
      'body.bundleId': bundles,
      'body.account': accounts,
      'body.paymentMethod': ['card', 'pm_card', 'pm_sca', 'pm_pending', 'pm_decline_hard', 'pm_refund_pending_48h'],
      'body.entitlement': ['api_limit', 'analytics_dashboard', 'seats'],
      'body.role': ['read', 'billing', 'auditor'],
      'body.currency': ['USD', 'EUR', 'JPY'],
      'body.billingCycle': ['monthly', 'yearly'],
      'body.timeZone': ['Europe/Berlin', 'UTC'],
      // Time goes on, and not to where everything is long over.
      'body.now': ['2024-03-20', '2024-04-16T00:00:00Z', '2024-05-17T12:00:00+02:00'],
    },
    valuesOf: {
      deleteStorefrontCustomer: { 'path.customer': leaving },
      postSubscriptionChange: { 'path.subscription': changing },
      postSubscriptionPreviewChange: { 'path.subscription': changing },
      postSubscriptionPause: { 'path.subscription': pausing },
      postSubscriptionResume: { 'path.subscription': pausing },
      postSubscriptionCancel: { 'path.subscription': ending },
      postSubscriptionReactivate: { 'path.subscription': ending },
      postPaymentPay: { 'path.payment': idsOf(refused) },
      postPaymentCancel: { 'path.payment': idsOf([...waiting, ...refused]) },
      postPaymentRefund: { 'path.payment': [toRefund.id, toSettle.id] },
      postPaymentAttemptCancel: attemptsOf(...waiting),
      postPaymentAttemptComplete: attemptsOf(...waiting),
      postPaymentAttemptResolve: attemptsOf(unanswered),
      postPaymentRefundResolve: { 'path.payment': [toRefund.id] },
    },
  }
}
