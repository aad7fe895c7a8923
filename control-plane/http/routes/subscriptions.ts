import { localDate } from '../../../common/calendar.ts'
import { fieldError } from '../../../common/errors.ts'
import type { Payment } from '../../schemas/payment.ts'
import { type Subscription, subscriptionStatuses } from '../../schemas/subscription.ts'
import { type AdvancedSubscription, readSubscription } from '../../subscriptions/advance-subscription.ts'
import { cancelSubscription, changeSubscription, reactivateSubscription } from '../../subscriptions/change-subscription.ts'
import { billingCycles, createSubscription } from '../../subscriptions/create-subscription.ts'
import { nextPaymentOf } from '../../subscriptions/subscription-machine.ts'
import { dateOrInstant, id, instant, iso, isoOrNull, metadata, pageOf, pageQuery, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { route } from '../route.ts'
import { paymentAnswer, toPaymentAnswer } from './payments.ts'

/** A payment method's id, or a PSP's token. */
const paymentMethod = z.string().min(1).max(500)

const postBody = z
  .strictObject({
    customerId: id,
    bundleId: id,
    storefrontId: id,
    billingCycle: z
      .enum(billingCycles as [string, ...string[]])
      .optional()
      .openapi({ description: "Must be the bundle's own; a check for the caller." }),
    startDate: dateOrInstant
      .optional()
      .openapi({ description: "A date is its first instant in the storefront's time zone. Left out: now. The billing anchor." }),
    paymentMethod: paymentMethod
      .optional()
      .openapi({ description: "The id of one of the customer's methods, or a PSP's token. Left out: the customer's first." }),
    metadata: metadata.optional(),
  })
  .openapi('NewSubscription')

const subscriptionAnswer = z
  .object({
    id: z.string(),
    status: z.enum(subscriptionStatuses),
    storefrontId: z.string(),
    customerId: z.string(),
    bundleId: z.string(),
    bundleVersion: z.int(),
    currentPeriod: z.object({ start: instant, end: instant }),
    nextPayment: z
      .object({ amount: z.int(), currency: z.string(), on: z.string().openapi({ description: "A date in the storefront's time zone." }) })
      .nullable(),
    trialEnd: instant.nullable(),
    graceUntil: instant.nullable(),
    cancelAtPeriodEnd: z.boolean(),
    endedAt: instant.nullable(),
    endReason: z.string().nullable(),
    paymentMethod: z.string().nullable(),
    metadata,
    createdAt: instant,
  })
  .openapi('Subscription')

const changedAnswer = subscriptionAnswer.extend({
  entitlementRevision: z.int().openapi({ description: 'Give it to CheckEntitlement as min_revision to see this change.' }),
  payment: paymentAnswer.nullable().openapi({ description: 'The payment that this call made or waits for.' }),
})

const toAnswer = (subscription: Subscription) => {
  const next = nextPaymentOf(subscription)
  return {
    id: subscription.id,
    status: subscription.status,
    storefrontId: subscription.storefrontId,
    customerId: subscription.customerId,
    bundleId: subscription.bundleId,
    bundleVersion: subscription.bundleVersion,
    currentPeriod: { start: iso(subscription.currentPeriod.start), end: iso(subscription.currentPeriod.end) },
    nextPayment: next ? { amount: next.amountMinor, currency: subscription.pricing.currency, on: localDate(next.on, subscription.timeZone) } : null,
    trialEnd: isoOrNull(subscription.trialEnd),
    graceUntil: isoOrNull(subscription.graceUntil),
    cancelAtPeriodEnd: subscription.cancelAtPeriodEnd,
    endedAt: isoOrNull(subscription.endedAt),
    endReason: subscription.endReason ?? null,
    paymentMethod: subscription.paymentMethodId ?? null,
    metadata: subscription.metadata ?? {},
    createdAt: iso(subscription.createdAt),
  }
}

const paymentOrNull = (payment: Payment | undefined) => (payment ? toPaymentAnswer(payment) : null)

const answer = ({ subscription, payment, entitlementRevision }: AdvancedSubscription) => ({
  body: { ...toAnswer(subscription), entitlementRevision, payment: paymentOrNull(payment) },
  revision: subscription.revision,
})

const params = z.object({ subscription: id })

export const subscriptionRoutes = [
  route({
    method: 'post',
    path: '/v1/subscriptions',
    summary: 'Subscribe a customer to a bundle, and take the first payment',
    access: 'sell',
    body: postBody,
    status: 201,
    answer: changedAnswer,
    handle: async ({ services, tenant, body, newId }) => answer(await createSubscription(services, tenant, newId('sub'), body)),
  }),
  route({
    method: 'get',
    path: '/v1/subscriptions',
    summary: 'List subscriptions',
    access: 'read',
    query: z.strictObject({ storefrontId: id.optional(), customerId: id.optional(), status: z.enum(subscriptionStatuses).optional(), ...pageQuery }),
    status: 200,
    answer: pageOf(subscriptionAnswer),
    handle: async ({ services, tenant, query }) => {
      const { limit, cursor, ...filters } = query
      if (filters.customerId !== undefined && filters.storefrontId === undefined) {
        throw fieldError('invalid_request', 'storefrontId', 'is needed with customerId: a customer is unique within its storefront only')
      }
      const where = Object.fromEntries(
        Object.entries({ tenantId: tenant.tenantId, ...filters }).filter((entry): entry is [string, string] => entry[1] !== undefined),
      )
      const page = await services.storage.subscriptions.page({ where, limit, cursor })
      return { body: { ...page, data: page.data.map(toAnswer) } }
    },
  }),
  route({
    method: 'get',
    path: '/v1/subscriptions/{subscription}',
    summary: 'Read a subscription',
    access: 'read',
    params,
    status: 200,
    answer: changedAnswer,
    handle: async ({ services, tenant, params }) => answer(await readSubscription(services, tenant, params.subscription)),
  }),
  route({
    method: 'patch',
    path: '/v1/subscriptions/{subscription}',
    summary: 'Change how a subscription is paid, or its metadata',
    access: 'sell',
    params,
    body: z.strictObject({ paymentMethod: paymentMethod.optional(), metadata: metadata.optional() }),
    status: 200,
    answer: changedAnswer,
    handle: async ({ services, tenant, params, body, ifMatch }) =>
      answer(await changeSubscription(services, tenant, params.subscription, mustMatch(ifMatch), body)),
  }),
  route({
    method: 'post',
    path: '/v1/subscriptions/{subscription}/cancel',
    summary: 'Cancel a subscription, now or at the end of its period',
    access: 'sell',
    params,
    body: z.strictObject({ at: z.enum(['now', 'period_end']) }),
    status: 200,
    answer: changedAnswer,
    handle: async ({ services, tenant, params, body, ifMatch }) =>
      answer(await cancelSubscription(services, tenant, params.subscription, mustMatch(ifMatch), body.at)),
  }),
  route({
    method: 'post',
    path: '/v1/subscriptions/{subscription}/reactivate',
    summary: 'Take a cancellation at period end back',
    access: 'sell',
    params,
    body: z.strictObject({}),
    status: 200,
    answer: changedAnswer,
    handle: async ({ services, tenant, params, ifMatch }) => answer(await reactivateSubscription(services, tenant, params.subscription, mustMatch(ifMatch))),
  }),
]
