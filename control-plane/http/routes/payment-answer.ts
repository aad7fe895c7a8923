import { refundedMinor } from '../../payments/machine/refunds.ts'
import { isSettled } from '../../payments/machine/settlements.ts'
import type { Route } from '../../payments/routing/route-payment.ts'
import {
  attemptStatuses,
  cardNetworks,
  declineClasses,
  disputeStatuses,
  type Payment,
  paymentStatuses,
  refundReasons,
  refundStatuses,
  settlementKinds,
} from '../../schemas/payment.ts'
import { type Line, lineKinds } from '../../schemas/period.ts'
import { instant, iso, isoOrNull, z } from '../fields.ts'

export const whyAnswer = z
  .object({
    rule: z.string().openapi({ description: 'The name of the routing rule; `renewal`, `split` or `fallback`.' }),
    slot: z.int().nullable().openapi({ description: 'The slot in the split: hash(payment id) mod total weight, counted through `split`.' }),
    split: z.array(z.object({ account: z.string(), weight: z.int() })).nullable(),
    candidates: z.array(z.string()).openapi({ description: 'In the order in which they are tried.' }),
    excluded: z.array(z.object({ account: z.string(), reason: z.string() })),
  })
  .openapi('Route')

export const toWhyAnswer = (why: Route): z.output<typeof whyAnswer> => ({
  rule: why.rule,
  slot: why.slot ?? null,
  split: why.split ?? null,
  candidates: why.candidates,
  excluded: why.excluded,
})

const attemptAnswer = z.object({
  id: z.string(),
  account: z.string(),
  status: z.enum(attemptStatuses),
  declineClass: z.enum(declineClasses).nullable(),
  network: z
    .enum(cardNetworks)
    .nullable()
    .openapi({ description: "The network of a declined card, if the provider names it; the network's own limits on attempts then apply." }),
  pspCode: z.string().nullable(),
  pspReference: z.string().nullable(),
  nextAction: z.object({ type: z.literal('redirect'), url: z.string() }).nullable(),
  paymentMethod: z.string(),
  resolution: z
    .object({ by: z.string(), reason: z.string(), at: instant })
    .nullable()
    .openapi({ description: 'If an operator recorded the outcome: with which key, for which reason, and when.' }),
  why: whyAnswer,
  at: instant,
})

export const lineAnswer = z
  .object({
    kind: z.enum(lineKinds).openapi({
      description:
        'plan; unused: paid time that is credited (negative); one_time; carried: an amount too small for a charge of its own, from the previous bill or (negative) to the next.',
    }),
    bundleId: z.string().nullable(),
    bundleVersion: z.int().nullable(),
    quantity: z.int().nullable(),
    amount: z.int(),
    period: z.object({ start: instant, end: instant }).nullable(),
  })
  .openapi('Line')

export const toLineAnswer = (line: Line): z.output<typeof lineAnswer> => ({
  kind: line.kind,
  bundleId: line.bundleId ?? null,
  bundleVersion: line.bundleVersion ?? null,
  quantity: line.quantity ?? null,
  amount: line.amountMinor,
  period: line.start && line.end ? { start: iso(line.start), end: iso(line.end) } : null,
})

const facts = ['refunded', 'partially_refunded', 'disputed', 'settled'] as const

export const paymentAnswer = z
  .object({
    id: z.string(),
    status: z.enum(paymentStatuses),
    facts: z.array(z.enum(facts)).openapi({ description: 'What has happened to it since it succeeded.' }),
    amount: z.int().openapi({ description: 'The charged amount: the sum of the lines minus the credit. If it is 0, nothing is charged.' }),
    currency: z.string(),
    lines: z.array(lineAnswer),
    creditApplied: z.int().openapi({ description: 'Paid from the credit balance; negative: added to it.' }),
    refundedAmount: z.int(),
    refunds: z.array(
      z.object({
        id: z.string(),
        amount: z.int(),
        reason: z.enum(refundReasons),
        status: z.enum(refundStatuses),
        pspCode: z.string().nullable(),
        at: instant,
      }),
    ),
    disputes: z.array(
      z.object({
        id: z.string(),
        status: z.enum(disputeStatuses),
        amount: z.int(),
        currency: z.string(),
        reason: z.string(),
        respondBy: instant.nullable(),
        openedAt: instant,
      }),
    ),
    settlements: z
      .array(
        z.object({
          id: z.string(),
          kind: z.enum(settlementKinds),
          gross: z.int(),
          fee: z.int(),
          net: z.int(),
          currency: z.string(),
          settledAt: instant.nullable(),
        }),
      )
      .openapi({ description: 'Lines of settlement reports. Amounts are signed: positive amounts add to the payout.' }),
    failure: z.string().nullable().openapi({ description: 'If no attempt was made: why not.' }),
    subscriptionId: z.string().nullable(),
    storefrontId: z.string(),
    customerId: z.string(),
    period: z.object({ start: instant, end: instant }).nullable(),
    description: z.string().nullable(),
    createdAt: instant,
    attempts: z.array(attemptAnswer),
    attemptsLeftOut: z.int().openapi({ description: 'How many attempts that never reached a provider are no longer listed: the oldest, beyond a hundred.' }),
  })
  .openapi('Payment')

const factsOf = (payment: Payment): (typeof facts)[number][] => {
  const refunded = refundedMinor(payment)
  const ofRefunds = refunded === 0 ? [] : [refunded < payment.amountMinor ? ('partially_refunded' as const) : ('refunded' as const)]
  const disputed = (payment.disputes ?? []).some(({ status }) => status !== 'won') ? (['disputed'] as const) : []
  return [...ofRefunds, ...disputed, ...(isSettled(payment) ? (['settled'] as const) : [])]
}

/**
 * Another process, or a request that was taken for dead, is at a provider with it at this moment: what becomes of it is
 * known in a moment. One without an answer is not: it may take days, and is what there is to answer.
 */
export const isUnderWay = ({ attempts, status }: Payment): boolean =>
  status === 'due' || attempts.some((attempt) => attempt.status === 'created' || attempt.status === 'sent' || attempt.status === 'authorized')

export const paymentWithRevision = (payment: Payment) => ({
  body: toPaymentAnswer(payment),
  revision: payment.revision,
  isUnderWay: isUnderWay(payment),
})

export const toPaymentAnswer = (payment: Payment): z.output<typeof paymentAnswer> => ({
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
  disputes: (payment.disputes ?? []).map(({ id, status, amountMinor, currency, reason, respondBy, openedAt }) => ({
    id,
    status,
    amount: amountMinor,
    currency,
    reason,
    respondBy: isoOrNull(respondBy),
    openedAt: iso(openedAt),
  })),
  settlements: (payment.settlements ?? []).map(({ id, kind, grossMinor, feeMinor, netMinor, currency, settledAt }) => ({
    id,
    kind,
    gross: grossMinor,
    fee: feeMinor,
    net: netMinor,
    currency,
    settledAt: isoOrNull(settledAt),
  })),
  failure: payment.failure ?? null,
  subscriptionId: payment.subscriptionId ?? null,
  storefrontId: payment.storefrontId,
  customerId: payment.customerId,
  period: payment.period ? { start: iso(payment.period.start), end: iso(payment.period.end) } : null,
  description: payment.description ?? null,
  createdAt: iso(payment.createdAt),
  attemptsLeftOut: payment.attemptsLeftOut ?? 0,
  attempts: payment.attempts.map((attempt) => ({
    id: attempt.id,
    account: attempt.account,
    status: attempt.status,
    declineClass: attempt.declineClass ?? null,
    network: attempt.network ?? null,
    pspCode: attempt.pspCode ?? null,
    pspReference: attempt.pspReference ?? null,
    nextAction: attempt.status === 'requires_action' && attempt.actionUrl ? { type: 'redirect', url: attempt.actionUrl } : null,
    paymentMethod: attempt.paymentMethodId,
    resolution: attempt.resolution ? { by: attempt.resolution.by, reason: attempt.resolution.reason, at: iso(attempt.resolution.at) } : null,
    why: toWhyAnswer(attempt.why),
    at: iso(attempt.at),
  })),
})
