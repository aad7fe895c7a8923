import { AppError, isAppError } from '../../../common/errors.ts'
import { resumePayment } from '../../engine/advance-payment.ts'
import { completeAttempt } from '../../payments/complete-attempt.ts'
import { cancelAttempt } from '../../payments/give-up-attempt.ts'
import { listPayments } from '../../payments/list-payments.ts'
import { payOnce } from '../../payments/one-time-payment.ts'
import { cancelOneTime, payOneTimeNow } from '../../payments/present-customer.ts'
import { refundPayment } from '../../payments/refund-payment.ts'
import { resolveAttemptByHand, resolveRefundByHand } from '../../payments/resolve-by-hand.ts'
import { declineClasses, type Payment, paymentStatuses } from '../../schemas/payment.ts'
import { payBill, withdrawChange } from '../../subscriptions/change-subscription.ts'
import type { TenantScope } from '../../tenant-scope.ts'
import { amountMinor, currency, id, keysOf, pageAnswer, pageOf, pageQuery, token, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { ofList, ofNewDocument, route } from '../route.ts'
import { mustBeOfStorefront, mustBeWithin } from '../storefront-scope.ts'
import { paymentAnswer, paymentWithRevision, toPaymentAnswer } from './payment-answer.ts'

const postBody = z
  .strictObject({
    storefrontId: id,
    customerId: id,
    amount: amountMinor.min(1),
    currency,
    paymentMethod: token.optional().openapi({ description: "The id of one of the customer's methods, or a PSP's token. Default: the customer's first." }),
    description: z.string().trim().min(1).max(200).optional(),
  })
  .openapi('NewPayment')

const resolveReason = z
  .string()
  .trim()
  .min(3, 'must say in a few words how you know the outcome')
  .max(500)
  .openapi({ description: 'How you know the outcome; stored with it.' })

const resolveBody = z
  .strictObject({
    outcome: z.enum(['succeeded', 'declined', 'not_sent']).openapi({ description: "The outcome in the provider's own books." }),
    declineClass: z.enum(declineClasses).optional().openapi({ description: 'With `declined`. Default: technical, after which other accounts are tried.' }),
    pspReference: z.string().min(1).max(255).optional().openapi({ description: "With `succeeded`: the provider's reference, if Tollgate has none yet." }),
    reason: resolveReason,
    tryElsewhere: z
      .boolean()
      .default(true)
      .openapi({ description: 'Whether the payment is then tried at other accounts at once, if the class allows it. false: the payment fails.' }),
  })
  .openapi('Resolution')

const DETAIL = /^[A-Za-z0-9_.-]{1,60}$/

const returnUrl = z
  .url({ protocol: /^https?$/, error: 'must be an http or https address' })
  .max(2_000)
  .openapi({ description: "Where the customer comes back to after having acted. Default: the account's returnUrl." })

/**
 * For what is done in several writes: the payment is written as it is, at the revision that the caller names, so that of
 * several who name it one gets through. @throws AppError `precondition_failed` or `not_found`.
 */
const claimRevision = async (of: TenantScope, paymentId: string, ifMatch: number | undefined): Promise<Payment> => {
  const { payments } = of.storage
  const payment = await payments.get(of.keys.payment(paymentId))
  if (ifMatch === undefined) return payment
  mustMatch(ifMatch)(payment)
  return payments.replace(payment).catch((error: unknown) => {
    if (!isAppError(error, 'revision_conflict')) throw error
    throw new AppError('precondition_failed', 'somebody else changed it first; read it again')
  })
}

export const paymentRoutes = [
  route({
    method: 'post',
    path: '/v1/payments',
    summary: 'Take a one-time payment',
    access: 'payments:write',
    storefront: 'body',
    ifMatch: ofNewDocument,
    body: postBody,
    refusals: ['unknown_reference', 'no_eligible_psp'],
    status: 201,
    answer: paymentAnswer,
    handle: async ({ of, body, newId }) => {
      const { amount, ...rest } = body
      const payment = await payOnce(of, newId('pay'), { ...rest, amountMinor: amount })
      return paymentWithRevision(payment)
    },
  }),
  route({
    method: 'get',
    path: '/v1/payments',
    summary: 'List payments',
    access: 'payments:read',
    storefront: 'within',
    ifMatch: ofList,
    query: z.strictObject({
      subscriptionId: id.optional(),
      storefrontId: id.optional(),
      customerId: id.optional(),
      status: z.enum(paymentStatuses).optional(),
      ...pageQuery,
    }),
    status: 200,
    answer: pageOf(paymentAnswer),
    handle: async ({ of, within, query: { limit, cursor, ...filter } }) => {
      if (filter.storefrontId !== undefined) mustBeWithin(within, filter.storefrontId)
      if (filter.subscriptionId !== undefined) await mustBeOfStorefront(of, 'subscription', filter.subscriptionId, within)
      return pageAnswer(await listPayments(of, within, filter, { limit, cursor }), toPaymentAnswer)
    },
  }),
  route({
    method: 'get',
    path: '/v1/payments/{payment}',
    summary: 'Read a payment with its lines, attempts and refunds',
    access: 'payments:read',
    storefront: 'payment',
    ifMatch: 'answer',
    params: z.object({ payment: id }),
    status: 200,
    answer: paymentAnswer,
    handle: async ({ of, params }) => {
      const payment = await of.storage.payments.get(of.keys.payment(params.payment))
      return paymentWithRevision(payment)
    },
  }),
  route({
    method: 'post',
    path: '/v1/payments/{payment}/refund',
    summary: 'Refund part of a payment, or all that is left of it',
    access: 'payments:refund',
    storefront: 'payment',
    ifMatch: { document: 'the payment' },
    params: z.object({ payment: id }),
    body: z.strictObject({ amount: amountMinor.min(1).optional().openapi({ description: 'Default: all that is left.' }) }),
    status: 200,
    answer: paymentAnswer,
    handle: async ({ of, params, body, ifMatch, newId }) => {
      const refunded = await refundPayment(of, params.payment, newId('ref'), body.amount, mustMatch(ifMatch))
      // What a refund does to access is done before the answer.
      const payment = refunded.effectsDue ? await resumePayment(of, refunded.id) : refunded
      return paymentWithRevision(payment)
    },
  }),
  route({
    method: 'post',
    path: '/v1/payments/{payment}/pay',
    summary: 'Pay with the customer present: with the same method, which may ask them to act (nextAction), or with another',
    access: 'payments:write',
    storefront: 'payment',
    ifMatch: { document: 'the payment' },
    params: z.object({ payment: id }),
    body: z.strictObject({
      paymentMethod: token.optional().openapi({ description: "The id of one of the customer's methods, or a PSP's token. Default: the payment's own method." }),
      returnUrl: returnUrl.optional(),
    }),
    status: 200,
    answer: paymentAnswer,
    handle: async ({ of, params, body, ifMatch, newId }) => {
      const { subscriptionId } = await claimRevision(of, params.payment, ifMatch)
      if (!subscriptionId) return paymentWithRevision(await payOneTimeNow(of, params.payment, newId('cmd'), body))
      const command = { id: newId('cmd'), subscriptionId, check: () => undefined }
      await payBill(of, command, params.payment, body)
      return paymentWithRevision(await of.storage.payments.get(of.keys.payment(params.payment)))
    },
  }),
  route({
    method: 'post',
    path: '/v1/payments/{payment}/cancel',
    summary: 'Give up an open payment: a one-time payment, or the payment of a change, which then does not happen',
    access: 'payments:write',
    storefront: 'payment',
    ifMatch: { document: 'the payment' },
    params: z.object({ payment: id }),
    body: z.strictObject({}),
    status: 200,
    answer: paymentAnswer,
    handle: async ({ of, params, ifMatch, newId }) => {
      const { subscriptionId } = await claimRevision(of, params.payment, ifMatch)
      if (!subscriptionId) return paymentWithRevision(await cancelOneTime(of, params.payment))
      await withdrawChange(of, { id: newId('cmd'), subscriptionId, check: () => undefined }, params.payment)
      return paymentWithRevision(await of.storage.payments.get(of.keys.payment(params.payment)))
    },
  }),
  route({
    method: 'post',
    path: '/v1/payments/{payment}/attempts/{attempt}/cancel',
    summary: 'Give up an attempt that waits for the customer to act; the provider is told if possible',
    access: 'payments:write',
    storefront: 'payment',
    ifMatch: { document: 'the payment' },
    params: z.object({ payment: id, attempt: id }),
    body: z.strictObject({}),
    status: 200,
    answer: paymentAnswer,
    handle: async ({ of, params, ifMatch }) => {
      await claimRevision(of, params.payment, ifMatch)
      await cancelAttempt(of, params.payment, params.attempt)
      return paymentWithRevision(await resumePayment(of, params.payment))
    },
  }),
  route({
    method: 'post',
    path: '/v1/payments/{payment}/attempts/{attempt}/complete',
    summary: 'Complete an attempt when the customer has come back: shows the outcome at once',
    access: 'payments:write',
    storefront: 'payment',
    ifMatch: { document: 'the payment' },
    params: z.object({ payment: id, attempt: id }),
    body: z.strictObject({
      details: z
        .record(z.string().regex(DETAIL), z.string().max(10_000))
        .refine((details) => Object.keys(details).length <= 20, 'must not have more than 20 entries')
        .default({})
        .openapi({
          ...keysOf(DETAIL),
          maxProperties: 20,
          description: 'The query parameters that the customer came back with. Adyen needs its `redirectResult`.',
        }),
    }),
    status: 200,
    answer: paymentAnswer,
    handle: async ({ of, params, body, ifMatch }) => {
      await completeAttempt(of, params.payment, params.attempt, mustMatch(ifMatch), body.details)
      const payment = await resumePayment(of, params.payment)
      return paymentWithRevision(payment)
    },
  }),
  route({
    method: 'post',
    path: '/v1/payments/{payment}/refunds/{refund}/resolve',
    summary: 'Record the outcome of a refund by hand when the provider cannot tell',
    access: 'payments:resolve',
    storefront: 'payment',
    ifMatch: { document: 'the payment' },
    params: z.object({ payment: id, refund: id }),
    body: z.strictObject({ outcome: z.enum(['succeeded', 'failed']), reason: resolveReason }),
    status: 200,
    answer: paymentAnswer,
    handle: async ({ of, caller, params, body, ifMatch }) => {
      await resolveRefundByHand(of, params.payment, params.refund, mustMatch(ifMatch), { by: caller.id, ...body })
      const payment = await resumePayment(of, params.payment)
      return paymentWithRevision(payment)
    },
  }),
  route({
    method: 'post',
    path: '/v1/payments/{payment}/attempts/{attempt}/resolve',
    summary: 'Record the outcome of an attempt by hand when the provider cannot tell',
    access: 'payments:resolve',
    storefront: 'payment',
    ifMatch: { document: 'the payment' },
    params: z.object({ payment: id, attempt: id }),
    body: resolveBody,
    status: 200,
    answer: paymentAnswer,
    handle: async ({ of, caller, params, body, ifMatch }) => {
      await resolveAttemptByHand(of, params.payment, params.attempt, caller.id, mustMatch(ifMatch), body)
      const payment = await resumePayment(of, params.payment)
      return paymentWithRevision(payment)
    },
  }),
]
