import { keys } from '../../keys.ts'
import { refundedMinor } from '../../payments/payment-machine.ts'
import { attemptStatuses, declineClasses, type Payment, paymentStatuses } from '../../schemas/payment.ts'
import { id, instant, iso, pageOf, pageQuery, z } from '../fields.ts'
import { route } from '../route.ts'

const attemptAnswer = z.object({
  id: z.string(),
  account: z.string(),
  status: z.enum(attemptStatuses),
  declineClass: z.enum(declineClasses).nullable(),
  pspCode: z.string().nullable(),
  pspReference: z.string().nullable(),
  nextAction: z.object({ type: z.literal('redirect'), url: z.string() }).nullable(),
  why: z.object({
    rule: z.string(),
    slot: z.int().nullable(),
    candidates: z.array(z.string()),
    excluded: z.array(z.object({ account: z.string(), reason: z.string() })),
  }),
  at: instant,
})

export const paymentAnswer = z
  .object({
    id: z.string(),
    status: z.enum(paymentStatuses),
    amount: z.int(),
    currency: z.string(),
    refundedAmount: z.int(),
    subscriptionId: z.string(),
    storefrontId: z.string(),
    customerId: z.string(),
    period: z.object({ start: instant, end: instant }),
    description: z.string().nullable(),
    createdAt: instant,
    attempts: z.array(attemptAnswer),
  })
  .openapi('Payment')

export const toPaymentAnswer = (payment: Payment) => ({
  id: payment.id,
  status: payment.status,
  amount: payment.amountMinor,
  currency: payment.currency,
  refundedAmount: refundedMinor(payment),
  subscriptionId: payment.subscriptionId,
  storefrontId: payment.storefrontId,
  customerId: payment.customerId,
  period: { start: iso(payment.period.start), end: iso(payment.period.end) },
  description: payment.description ?? null,
  createdAt: iso(payment.createdAt),
  attempts: payment.attempts.map((attempt) => ({
    id: attempt.id,
    account: attempt.account,
    status: attempt.status,
    declineClass: attempt.declineClass ?? null,
    pspCode: attempt.pspCode ?? null,
    pspReference: attempt.pspReference ?? null,
    nextAction: attempt.status === 'requires_action' && attempt.actionUrl ? { type: 'redirect', url: attempt.actionUrl } : null,
    why: { rule: attempt.why.rule, slot: attempt.why.slot ?? null, candidates: attempt.why.candidates, excluded: attempt.why.excluded },
    at: iso(attempt.at),
  })),
})

export const paymentRoutes = [
  route({
    method: 'get',
    path: '/v1/payments',
    summary: 'List payments',
    access: 'read',
    query: z.strictObject({ subscriptionId: id.optional(), ...pageQuery }),
    status: 200,
    answer: pageOf(paymentAnswer),
    handle: async ({ services, tenant, query }) => {
      const { subscriptionId, ...pages } = query
      const where = { tenantId: tenant.tenantId, ...(subscriptionId === undefined ? {} : { subscriptionId }) }
      const page = await services.storage.payments.page({ where, ...pages })
      return { body: { ...page, data: page.data.map(toPaymentAnswer) } }
    },
  }),
  route({
    method: 'get',
    path: '/v1/payments/{payment}',
    summary: 'Read a payment with its attempts',
    access: 'read',
    params: z.object({ payment: id }),
    status: 200,
    answer: paymentAnswer,
    handle: async ({ services, tenant, params }) => {
      const payment = await services.storage.payments.get(keys.payment(tenant.tenantId, params.payment))
      return { body: toPaymentAnswer(payment), revision: payment.revision }
    },
  }),
]
