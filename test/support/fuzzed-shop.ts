/** A shop with something of every kind in it, and where its ids belong: so that a fuzzer gets beyond "there is no such". */
import type { ExecutionContext } from 'ava'
import { eventually } from './eventually.ts'
import { openShop, type Shop } from './shop.ts'
import type { Tollgate } from './tollgate.ts'

/** More than a run erases. */
const CUSTOMERS = 12

export interface FuzzedShop {
  shop: Shop
  /** By the parameter, or the field of a body, that takes them. */
  values: Record<string, readonly (string | number)[]>
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
  const customers = Array.from({ length: CUSTOMERS }, (_, n) => `customer-${n}`)
  const subscriptions: string[] = []
  for (const id of customers) {
    await made('/customers', { id, storefrontId: 'us-store', email: `${id}@example.com`, paymentMethods: [{ id: 'card', tokens: { '*': 'pm_card' } }] })
    subscriptions.push((await made('/subscriptions', { customerId: id, bundleId: 'pro-plan', storefrontId: 'us-store' })).id)
  }
  const [toPause, toCancel] = subscriptions
  await made(`/subscriptions/${toPause}/pause`, {})
  await made(`/subscriptions/${toCancel}/cancel`, { at: 'period_end' })
  const pay = (customerId: string, paymentMethod: string) =>
    made('/payments', { storefrontId: 'us-store', customerId, amount: 1500, currency: 'USD', paymentMethod })
  const [toRefund, toSettle] = [await pay('customer-2', 'pm_refund_pending_48h'), await pay('customer-3', 'card')]
  // Refused, waiting for the customer, answered by a webhook, and never answered.
  for (const token of ['pm_decline_hard', 'pm_sca', 'pm_pending', 'pm_timeout']) await pay('customer-4', token)
  const refunded = await made(`/payments/${toRefund.id}/refund`, { amount: 500 })
  const { data: payments } = (await api.get('/payments')).body
  await made('/settlement-reports', {
    id: 'payout-1',
    account: 'stripe',
    lines: [{ type: 'charge', reference: toSettle.attempts[0].id, currency: 'USD', gross: 1500, fee: 45, net: 1455 }],
  })
  const { id: key } = await made('/api-keys', { role: 'read' })
  const events = async () => (await api.get('/webhook-events')).body.data
  await eventually(async () => (await events()).length > 0)

  const attempts = payments.flatMap((payment: { attempts: { id: string }[] }) => payment.attempts.map(({ id }) => id))
  const paymentIds = payments.map(({ id }: { id: string }) => id)
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
      'path.payment': paymentIds,
      'path.attempt': attempts,
      'path.refund': refunded.refunds.map(({ id }: { id: string }) => id),
      'path.account': accounts,
      'path.report': ['payout-1'],
      'path.event': (await events()).map(({ id }: { id: string }) => id),
      'path.key': [key],
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
      'body.currency': ['USD', 'EUR', 'JPY'],
      'body.billingCycle': ['monthly', 'yearly'],
      'body.timeZone': ['Europe/Berlin', 'UTC'],
      // Time goes on, and not to where everything is long over.
      'body.now': ['2024-03-20', '2024-04-16T00:00:00Z', '2024-05-17T12:00:00+02:00'],
    },
  }
}
