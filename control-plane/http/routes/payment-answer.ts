import { refundedMinor } from '../../payments/payment-machine.ts'
import { attemptStatuses, declineClasses, type Payment, paymentStatuses, refundReasons } from '../../schemas/payment.ts'
import { type Line, lineKinds } from '../../schemas/period.ts'
import { instant, iso, z } from '../fields.ts'

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

export const lineAnswer = z
  .object({
    kind: z.enum(lineKinds).openapi({ description: 'plan; unused: what was paid and is credited, below zero; one_time.' }),
    bundleId: z.string().nullable(),
    bundleVersion: z.int().nullable(),
    quantity: z.int().nullable(),
    amount: z.int(),
    period: z.object({ start: instant, end: instant }).nullable(),
  })
  .openapi('Line')

export const toLineAnswer = (line: Line) => ({
  kind: line.kind,
  bundleId: line.bundleId ?? null,
  bundleVersion: line.bundleVersion ?? null,
  quantity: line.quantity ?? null,
  amount: line.amountMinor,
  period: line.start && line.end ? { start: iso(line.start), end: iso(line.end) } : null,
})

const facts = ['refunded', 'partially_refunded'] as const

export const paymentAnswer = z
  .object({
    id: z.string(),
    status: z.enum(paymentStatuses),
    facts: z.array(z.enum(facts)).openapi({ description: 'What has happened to it since it succeeded.' }),
    amount: z.int().openapi({ description: 'What is charged: the sum of the lines less the credit. Nothing is charged for 0.' }),
    currency: z.string(),
    lines: z.array(lineAnswer),
    creditApplied: z.int().openapi({ description: 'Paid from the credit balance; below zero: added to it.' }),
    refundedAmount: z.int(),
    refunds: z.array(
      z.object({
        id: z.string(),
        amount: z.int(),
        reason: z.enum(refundReasons),
        status: z.enum(['due', 'succeeded', 'failed']),
        pspCode: z.string().nullable(),
        at: instant,
      }),
    ),
    failure: z.string().nullable().openapi({ description: 'Why no attempt was made, where none was.' }),
    subscriptionId: z.string().nullable(),
    storefrontId: z.string(),
    customerId: z.string(),
    period: z.object({ start: instant, end: instant }).nullable(),
    description: z.string().nullable(),
    createdAt: instant,
    attempts: z.array(attemptAnswer),
  })
  .openapi('Payment')

const factsOf = (payment: Payment): (typeof facts)[number][] => {
  const refunded = refundedMinor(payment)
  if (refunded === 0) return []
  return [refunded < payment.amountMinor ? 'partially_refunded' : 'refunded']
}

export const toPaymentAnswer = (payment: Payment) => ({
  id: payment.id,
  status: payment.status,
  facts: factsOf(payment),
  amount: payment.amountMinor,
  currency: payment.currency,
  lines: payment.lines.map(toLineAnswer),
  creditApplied: payment.creditMinor,
  refundedAmount: refundedMinor(payment),
  refunds: payment.refunds.map(({ id, amountMinor, reason, status, pspCode, at }) => ({
    id,
    amount: amountMinor,
    reason,
    status,
    pspCode: pspCode ?? null,
    at: iso(at),
  })),
  failure: payment.failure ?? null,
  subscriptionId: payment.subscriptionId ?? null,
  storefrontId: payment.storefrontId,
  customerId: payment.customerId,
  period: payment.period ? { start: iso(payment.period.start), end: iso(payment.period.end) } : null,
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
