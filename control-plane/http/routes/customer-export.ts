/** Everything that is kept of a customer, for the customer: as readers see it, without what could be charged with. */
import { Readable } from 'node:stream'
import { getCustomer } from '../../customers/customers.ts'
import { toEntitlementSet } from '../../entitlements/publish-entitlements.ts'
import { hoursIn } from '../../metering/history.ts'
import { monthsOfUse } from '../../metering/read-history.ts'
import type { Customer } from '../../schemas/customer.ts'
import { every } from '../../storage/every.ts'
import { timelineOf } from '../../subscriptions/timeline.ts'
import type { TenantScope } from '../../tenant-scope.ts'
import { id, z } from '../fields.ts'
import { ofList, route } from '../route.ts'
import { toCustomerAnswer } from './customers.ts'
import { toGrantAnswer } from './grants.ts'
import { toPaymentAnswer } from './payment-answer.ts'
import { toSubscriptionAnswer } from './subscription-answer.ts'
import { toWebhookEventAnswer } from './webhook-events.ts'

const MAX_TIMELINE = 500

async function* kept(of: TenantScope, customer: Customer): AsyncGenerator<[kind: string, data: unknown]> {
  const { storage } = of
  const { tenantId, storefrontId, id: customerId, _id } = customer
  yield ['customer', toCustomerAnswer(customer, of.now())]
  const set = await storage.entitlementSets.find(_id)
  if (set) yield ['entitlements', toEntitlementSet(set)]
  const usage = await storage.usageCounters.find(_id)
  if (usage) yield ['usage', usage.entries]
  for await (const { entitlement, month, hours } of monthsOfUse(of, { tenantId, storefrontId, customerId }))
    yield ['usage_history', { entitlement, month, hours: hoursIn({ month, hours }) }]
  const grants = await storage.customerGrants.find(_id)
  const name = { storefront: storefrontId, customer: customerId }
  for (const grant of [...(grants?.living ?? []), ...(grants?.ended ?? [])]) yield ['grant', toGrantAnswer(of, name, grant)]
  for await (const subscription of every(storage.subscriptions, { tenantId, storefrontId, customerId })) {
    yield ['subscription', toSubscriptionAnswer(subscription)]
    let cursor: string | undefined
    do {
      const page = await timelineOf(of, subscription.id, MAX_TIMELINE, cursor)
      for (const entry of page.data) yield ['timeline', { subscriptionId: subscription.id, ...entry }]
      cursor = page.nextCursor
    } while (cursor)
  }
  for await (const payment of every(storage.payments, { tenantId, storefrontId, customerId })) {
    yield ['payment', toPaymentAnswer(payment)]
    for await (const event of every(storage.webhookEvents, { tenantId, paymentId: payment.id }))
      yield ['webhook_event', { ...toWebhookEventAnswer(event), body: event.rawBody ?? null }]
  }
}

async function* lines(of: TenantScope, customer: Customer): AsyncGenerator<string> {
  for await (const [kind, data] of kept(of, customer)) yield `${JSON.stringify({ kind, data })}\n`
}

export const customerExportRoutes = [
  route({
    method: 'get',
    path: '/v1/storefronts/{storefront}/customers/{customer}/export',
    summary: 'Export all stored data about a customer',
    description: 'Each line of the answer is a JSON object with the fields kind and data.',
    access: 'customers:export',
    storefront: 'path',
    ifMatch: ofList,
    params: z.object({ storefront: id, customer: id }),
    status: 200,
    gives: 'application/jsonl',
    handle: async ({ of, params }) => {
      const customer = await getCustomer(of, of.keys.customer(params.storefront, params.customer))
      return { body: Readable.from(lines(of, customer)) }
    },
  }),
]
