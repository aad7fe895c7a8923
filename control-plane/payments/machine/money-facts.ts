/** Money of a payment that went back, and what its subscription has made of that. Pure. */
import type { Payment } from '../../schemas/payment.ts'
import { marked } from './state.ts'

type Counted = NonNullable<Payment['refunds'][number]['counted']>

export interface MoneyFact {
  id: string
  kind: 'refund' | 'dispute'
  /** True while the customer, or their bank, has the money. */
  isGone: boolean
  amountMinor: number
  /** Present while the subscription counts it as gone. */
  counted: Counted | undefined
  at: Date
}

/** Refunds that Tollgate owed by itself concern nobody: their money was never counted. */
export const moneyFacts = (payment: Payment): MoneyFact[] => {
  const requested = payment.refunds.filter(({ reason }) => reason === 'requested')
  // The bank may take back the second charge of two before we could: that is not this obligation's money.
  const isOfKept = ({ attemptId }: { attemptId: string }): boolean =>
    !payment.refunds.some((refund) => refund.reason !== 'requested' && refund.attemptId === attemptId)
  const refunded = requested.filter(({ status }) => status === 'succeeded').reduce((sum, { amountMinor }) => sum + amountMinor, 0)
  return [
    ...requested.map(
      ({ id, status, amountMinor, counted, at }): MoneyFact => ({
        id,
        kind: 'refund',
        isGone: status === 'succeeded',
        amountMinor,
        counted,
        at,
      }),
    ),
    ...(payment.disputes ?? []).filter(isOfKept).map(({ id, status, amountMinor, currency, counted, openedAt }): MoneyFact => {
      // Banks may count in a currency of their own: then it is all that is left of the payment.
      const left = Math.max(0, payment.amountMinor - refunded)
      const disputed = currency === payment.currency ? Math.min(amountMinor, left) : left
      return { id: `dispute:${id}`, kind: 'dispute', isGone: status === 'lost', amountMinor: disputed, counted, at: openedAt }
    }),
  ]
}

/**
 * The subscription has seen the payment as it is, with what went back of it.
 * @param known what the subscription has accounted for.
 * @returns undefined when there is nothing to note.
 */
export const recordSeen = (payment: Payment, known: readonly ({ id: string } & Counted)[] = []): Payment | undefined => {
  const markOf = ({ id, isGone, counted }: MoneyFact): Counted | undefined => {
    if (!isGone) return undefined
    const found = known.find((one) => one.id === id)
    if (!found) return counted
    const { id: _, ...took } = found
    return took
  }
  const facts = moneyFacts(payment)
  const marks = new Map(facts.map((fact) => [fact.id, markOf(fact)]))
  const changes = facts.some((fact) => Boolean(fact.counted) !== Boolean(marks.get(fact.id)))
  if (!payment.effectsDue && !changes) return undefined
  const withMark = <T extends { counted?: unknown }>(fact: T, mark: Counted | undefined): T => {
    const { counted: _, ...rest } = fact
    return (mark ? { ...rest, counted: mark } : rest) as T
  }
  return marked(
    {
      ...payment,
      effectsDue: false,
      refunds: payment.refunds.map((refund) => withMark(refund, marks.get(refund.id))),
      ...(payment.disputes ? { disputes: payment.disputes.map((dispute) => withMark(dispute, marks.get(`dispute:${dispute.id}`))) } : {}),
    },
    payment.repairAt,
  )
}
