import { localDate } from '../../../common/calendar.ts'
import type { AdvancedSubscription } from '../../engine/advance-subscription.ts'
import type { Payment } from '../../schemas/payment.ts'
import { endReasons, type Subscription, subscriptionStatuses } from '../../schemas/subscription.ts'
import { nextPaymentOf } from '../../subscriptions/machine/next-payment.ts'
import { instant, iso, isoOrNull, metadata, z } from '../fields.ts'
import type { AnswerWith } from '../route.ts'
import { isUnderWay, paymentAnswer, toPaymentAnswer } from './payment-answer.ts'

export const nextPaymentAnswer = z
  .object({
    amount: z.int().openapi({ description: 'After credit.' }),
    currency: z.string(),
    on: z.string().openapi({ description: "A date in the storefront's time zone." }),
  })
  .nullable()

export const subscriptionAnswer = z
  .object({
    id: z.string(),
    status: z.enum(subscriptionStatuses),
    storefrontId: z.string(),
    customerId: z.string(),
    bundleId: z.string(),
    bundleVersion: z.int(),
    quantity: z.int(),
    currentPeriod: z.object({ start: instant, end: instant }),
    nextPayment: nextPaymentAnswer,
    creditBalance: z.int().openapi({ description: 'Owed to the customer in minor units; used before the card.' }),
    carriedBalance: z
      .int()
      .openapi({ description: 'Owed by the customer in minor units: too little for a charge of its own, so it is added to the next one.' }),
    scheduledChange: z.object({ bundleId: z.string(), bundleVersion: z.int(), quantity: z.int(), on: instant }).nullable(),
    trialEnd: instant.nullable(),
    graceUntil: instant.nullable(),
    retryAt: instant.nullable().openapi({ description: 'When an overdue payment is retried.' }),
    pausedAt: instant.nullable(),
    resumeAt: instant.nullable(),
    collectionPausedAt: instant.nullable(),
    cancelAtPeriodEnd: z.boolean(),
    endedAt: instant.nullable(),
    endReason: z.enum(endReasons).nullable(),
    paymentMethod: z.string().nullable(),
    billingDay: z.int().nullable(),
    metadata,
    createdAt: instant,
  })
  .openapi('Subscription')

export const changedAnswer = subscriptionAnswer.extend({
  entitlementRevision: z.int().openapi({ description: 'To see this change at a sidecar, send it to CheckEntitlement as min_revision.' }),
  // Not `nullable()`, with which the document would say that every Payment may be null.
  payment: z.union([paymentAnswer, z.null()]).openapi({ description: 'The payment that this call made or waits for.' }),
})

export const toNextPayment = (subscription: Subscription): z.output<typeof nextPaymentAnswer> => {
  const next = nextPaymentOf(subscription)
  return next ? { amount: next.amountMinor, currency: subscription.pricing.currency, on: localDate(next.on, subscription.timeZone) } : null
}

export const toSubscriptionAnswer = (subscription: Subscription): z.output<typeof subscriptionAnswer> => {
  const { scheduledChange: next } = subscription
  return {
    id: subscription.id,
    status: subscription.status,
    storefrontId: subscription.storefrontId,
    customerId: subscription.customerId,
    bundleId: subscription.bundleId,
    bundleVersion: subscription.bundleVersion,
    quantity: subscription.quantity,
    currentPeriod: { start: iso(subscription.currentPeriod.start), end: iso(subscription.currentPeriod.end) },
    nextPayment: toNextPayment(subscription),
    creditBalance: subscription.creditMinor,
    carriedBalance: subscription.carriedMinor ?? 0,
    scheduledChange: next
      ? { bundleId: next.bundleId, bundleVersion: next.bundleVersion, quantity: next.quantity, on: iso(subscription.currentPeriod.end) }
      : null,
    trialEnd: isoOrNull(subscription.trialEnd),
    graceUntil: isoOrNull(subscription.graceUntil),
    retryAt: isoOrNull(subscription.retryAt),
    pausedAt: subscription.status === 'paused' ? isoOrNull(subscription.pausedAt) : null,
    resumeAt: isoOrNull(subscription.resumeAt),
    collectionPausedAt: isoOrNull(subscription.collectionPausedAt),
    cancelAtPeriodEnd: subscription.cancelAtPeriodEnd,
    endedAt: isoOrNull(subscription.endedAt),
    endReason: subscription.endReason ?? null,
    paymentMethod: subscription.paymentMethodId ?? null,
    billingDay: subscription.billingDay ?? null,
    metadata: subscription.metadata ?? {},
    createdAt: iso(subscription.createdAt),
  }
}

const paymentOrNull = (payment: Payment | undefined) => (payment ? toPaymentAnswer(payment) : null)

export const changedSubscription = ({ subscription, payment, entitlementRevision }: AdvancedSubscription): AnswerWith<z.output<typeof changedAnswer>> => ({
  body: { ...toSubscriptionAnswer(subscription), entitlementRevision, payment: paymentOrNull(payment) },
  revision: subscription.revision,
  isUnderWay: payment !== undefined && isUnderWay(payment),
})
