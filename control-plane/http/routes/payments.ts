import { cancelAttempt } from '../../engine/cancel-attempt.ts'
import { completeAttempt } from '../../engine/complete-attempt.ts'
import { refundPayment } from '../../engine/refund-payment.ts'
import { resolveAttempt, resolveRefund } from '../../engine/resolve-by-hand.ts'
import { listPayments } from '../../payments/list-payments.ts'
import { payOnce } from '../../payments/one-time-payment.ts'
import { declineClasses, paymentStatuses } from '../../schemas/payment.ts'
import { cancelOpenPayment, payOpenPayment } from '../../subscriptions/open-payment.ts'
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

export const paymentRoutes = [
  route({
    method: 'post',
    path: '/v1/payments',
    summary: 'Take a one-time payment',
    description:
      "If the payment is declined, the answer is 201 with the status failed, and the last attempt says why. A raw token stays with this payment and does not become one of the customer's methods. Send an Idempotency-Key, so that a repeat does not charge twice.",
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
    description: 'Filters by customerId and storefrontId go together.',
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
    summary: 'Read a payment',
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
    summary: 'Refund a payment',
    description:
      'Refunds the amount, or all that is left if you name none. The answer shows what the refund does to access. A refund that waits for the provider is pending, and Tollgate follows it by itself. Send an Idempotency-Key, so that a repeat does not refund twice.',
    access: 'payments:refund',
    storefront: 'payment',
    ifMatch: { document: 'the payment' },
    params: z.object({ payment: id }),
    body: z.strictObject({ amount: amountMinor.min(1).optional().openapi({ description: 'Default: all that is left.' }) }),
    status: 200,
    answer: paymentAnswer,
    handle: async ({ of, params, body, ifMatch, newId }) =>
      paymentWithRevision(await refundPayment(of, params.payment, newId('ref'), body.amount, mustMatch(ifMatch))),
  }),
  route({
    method: 'post',
    path: '/v1/payments/{payment}/pay',
    summary: 'Pay with the customer present',
    description:
      'The payment is tried with its own method, or with the method that you name, which becomes the method of the subscription. If nextAction is set, send the customer to its url. If an attempt already waits for the customer, a repeat answers the same attempt. The call is refused if the payment has succeeded or was given up.',
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
    handle: async ({ of, params, body, ifMatch, newId }) =>
      paymentWithRevision(await payOpenPayment(of, { id: newId('cmd'), paymentId: params.payment, revision: ifMatch }, body)),
  }),
  route({
    method: 'post',
    path: '/v1/payments/{payment}/cancel',
    summary: 'Give up an open payment',
    description:
      'This works for a one-time payment, and for the payment of a change, which then does not happen. Money that still arrives is refunded. The call is refused if the payment has succeeded, or pays for a period of a subscription.',
    access: 'payments:write',
    storefront: 'payment',
    ifMatch: { document: 'the payment' },
    params: z.object({ payment: id }),
    body: z.strictObject({}),
    status: 200,
    answer: paymentAnswer,
    handle: async ({ of, params, ifMatch, newId }) =>
      paymentWithRevision(await cancelOpenPayment(of, { id: newId('cmd'), paymentId: params.payment, revision: ifMatch })),
  }),
  route({
    method: 'post',
    path: '/v1/payments/{payment}/attempts/{attempt}/cancel',
    summary: 'Give up an attempt that waits',
    description:
      'Only an attempt that waits for the customer to act can be given up. Tollgate tells the provider first, if it can. Money that still arrives counts if it is owed, and is refunded if not.',
    access: 'payments:write',
    storefront: 'payment',
    ifMatch: { document: 'the payment' },
    params: z.object({ payment: id, attempt: id }),
    body: z.strictObject({}),
    status: 200,
    answer: paymentAnswer,
    handle: async ({ of, params, ifMatch }) => paymentWithRevision(await cancelAttempt(of, params.payment, params.attempt, ifMatch)),
  }),
  route({
    method: 'post',
    path: '/v1/payments/{payment}/attempts/{attempt}/complete',
    summary: 'Complete an attempt after the customer acted',
    description:
      'Call this when the customer has come back, and pass on the query parameters that they brought. Tollgate asks the provider and answers the outcome at once. A repeat is harmless.',
    access: 'payments:write',
    storefront: 'payment',
    ifMatch: { document: 'the payment' },
    params: z.object({ payment: id, attempt: id }),
    body: z.strictObject({
      details: z
        .record(z.string().regex(DETAIL, 'must be 1 to 60 letters, digits or _ . -'), z.string().max(10_000))
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
    handle: async ({ of, params, body, ifMatch }) =>
      paymentWithRevision(await completeAttempt(of, params.payment, params.attempt, mustMatch(ifMatch), body.details)),
  }),
  route({
    method: 'post',
    path: '/v1/payments/{payment}/refunds/{refund}/resolve',
    summary: 'Record the outcome of a refund',
    description:
      'Use this for a refund whose outcome the provider does not tell. Tollgate asks the provider once more first; if the provider gives an outcome, that outcome is stored and the call is refused.',
    access: 'payments:resolve',
    storefront: 'payment',
    ifMatch: { document: 'the payment' },
    params: z.object({ payment: id, refund: id }),
    body: z.strictObject({ outcome: z.enum(['succeeded', 'failed']), reason: resolveReason }),
    status: 200,
    answer: paymentAnswer,
    handle: async ({ of, caller, params, body, ifMatch }) =>
      paymentWithRevision(await resolveRefund(of, params.payment, params.refund, mustMatch(ifMatch), { by: caller.id, ...body })),
  }),
  route({
    method: 'post',
    path: '/v1/payments/{payment}/attempts/{attempt}/resolve',
    summary: 'Record the outcome of an attempt',
    description:
      'Use this for an attempt that is unknown, has been pending for three days, or is at an account that can no longer be used. Tollgate asks the provider once more first; if the provider gives an outcome, that outcome is stored and the call is refused. After not_sent, or a decline that allows it, other accounts are tried at once. A resolution cannot be undone.',
    access: 'payments:resolve',
    storefront: 'payment',
    ifMatch: { document: 'the payment' },
    params: z.object({ payment: id, attempt: id }),
    body: resolveBody,
    status: 200,
    answer: paymentAnswer,
    handle: async ({ of, caller, params, body, ifMatch }) =>
      paymentWithRevision(await resolveAttempt(of, params.payment, params.attempt, caller.id, mustMatch(ifMatch), body)),
  }),
]
