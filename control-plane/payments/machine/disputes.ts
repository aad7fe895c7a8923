/** Disputes: the customer's bank takes money back, or may. The provider's events are the only source. */
import type { Dispute, Payment } from '../../schemas/payment.ts'
import type { DisputeFacts } from '../psp/psp.ts'
import { hasEffects, marked } from './state.ts'

/** More than any payment sees; bounds the document. */
const MAX_DISPUTES = 20

const disputesOf = (payment: Pick<Payment, 'disputes'>): Dispute[] => payment.disputes ?? []

/** The money is with the bank, or may go there: it cannot be given back a second time. */
export const isDisputed = (payment: Pick<Payment, 'disputes' | 'refunds'>): boolean =>
  disputesOf(payment).some(
    ({ status, attemptId }) =>
      (status === 'open' || status === 'lost') && !payment.refunds.some((refund) => refund.reason !== 'requested' && refund.attemptId === attemptId),
  )

/** Reports may come out of order: only a newer one replaces what is known, and nothing reopens a decided dispute. */
const isDisputeNews = (known: Dispute, facts: DisputeFacts, at: Date): boolean =>
  facts.status !== known.status && facts.status !== 'open' && (known.status === 'open' || at >= known.changedAt)

/**
 * @param at when the provider says that it happened.
 * @returns undefined when it changes nothing.
 */
export const recordDispute = (payment: Payment, attemptId: string, facts: DisputeFacts, at: Date, repairAt: Date): Payment | undefined => {
  const disputes = disputesOf(payment)
  const known = disputes.find(({ id }) => id === facts.id)
  if (known ? !isDisputeNews(known, facts, at) : disputes.length >= MAX_DISPUTES) return undefined
  const { at: _, ...told } = facts
  const next: Dispute = { ...(known ?? { openedAt: at }), ...told, attemptId, changedAt: at }
  // What the bank has taken back is not owed any more.
  const refunds = payment.refunds.map((refund) =>
    facts.status === 'lost' && refund.attemptId === attemptId && refund.status === 'due'
      ? ({ ...refund, status: 'failed', pspCode: 'charged_back' } as const)
      : refund,
  )
  return marked(
    { ...payment, refunds, disputes: [...disputes.filter(({ id }) => id !== facts.id), next], effectsDue: payment.effectsDue || hasEffects(payment) },
    repairAt,
  )
}
