/**
 * Bills: what a subscription owes, from when the obligation arises to when its payment's outcome has taken effect.
 * Opening one takes the customer's credit in the same write; dropping it gives the credit back.
 */
import { derivedId } from '../keys.ts'
import type { Line } from '../schemas/period.ts'
import type { Bill, Subscription } from '../schemas/subscription.ts'
import { priceOf, shareFrom } from './periods.ts'

/**
 * Computed again by whoever repeats the step, so that paying twice for one bill is impossible. Those of one
 * subscription sort in the order in which they were made.
 */
export const paymentIdOf = (tenantId: string, subscriptionId: string, seq: number): string =>
  `${derivedId('pay', tenantId, subscriptionId)}${String(seq).padStart(6, '0')}`

export type BillDraft = Pick<Bill, 'reason' | 'period' | 'lines' | 'creditableMinor' | 'terms' | 'anchor'>

/** The subscription with a bill more. One that leaves nothing to pay is `settled`: the caller lets it take effect. */
export const withBill = (subscription: Subscription, draft: BillDraft, openedAt: Date): { subscription: Subscription; bill: Bill } => {
  const seq = subscription.billsMade
  const total = draft.lines.reduce((sum, line) => sum + line.amountMinor, 0)
  const creditMinor = Math.min(total, subscription.creditMinor)
  const amountMinor = total - creditMinor
  const bill: Bill = {
    paymentId: paymentIdOf(subscription.tenantId, subscription.id, seq),
    seq,
    status: amountMinor === 0 ? 'settled' : 'open',
    creditMinor,
    amountMinor,
    round: 1,
    failedRound: 0,
    openedAt,
    ...draft,
  }
  const billed = { ...subscription, billsMade: seq + 1, creditMinor: subscription.creditMinor - creditMinor, bills: [...subscription.bills, bill] }
  return { subscription: billed, bill }
}

/** A plan for a period from its start, on the subscription's own terms. */
export const planBill = (subscription: Subscription, period: Bill['period']): BillDraft => {
  const price = priceOf(subscription)
  const amountMinor = shareFrom(subscription, price, period, period.start)
  return { reason: 'period', period, lines: [planLine(subscription, amountMinor, period)], creditableMinor: price }
}

export const planLine = (
  { bundleId, bundleVersion, quantity }: Pick<Subscription, 'bundleId' | 'bundleVersion' | 'quantity'>,
  amountMinor: number,
  { start, end }: Pick<Bill['period'], 'start' | 'end'>,
): Line => ({ kind: 'plan', bundleId, bundleVersion, quantity, amountMinor, start, end })

export const openBill = (subscription: Pick<Subscription, 'bills'>, reason?: Bill['reason']): Bill | undefined =>
  subscription.bills.find((bill) => bill.status === 'open' && (reason === undefined || bill.reason === reason))

/** Bills that nobody wants to be paid any more: their payments are abandoned, and their credit is the customer's again. */
export const dropBills = (subscription: Subscription, isUnwanted: (bill: Bill) => boolean): Pick<Subscription, 'bills' | 'creditMinor'> => {
  const unwanted = subscription.bills.filter((bill) => bill.status === 'open' && isUnwanted(bill))
  return {
    bills: subscription.bills.map((bill) => (unwanted.includes(bill) ? { ...bill, status: 'dropped' } : bill)),
    creditMinor: subscription.creditMinor + unwanted.reduce((sum, bill) => sum + bill.creditMinor, 0),
  }
}

export const withoutBill = (subscription: Subscription, { paymentId }: Pick<Bill, 'paymentId'>): Pick<Subscription, 'bills'> => ({
  bills: subscription.bills.filter((bill) => bill.paymentId !== paymentId),
})

export const replaceBill = (subscription: Subscription, changed: Bill): Pick<Subscription, 'bills'> => ({
  bills: subscription.bills.map((bill) => (bill.paymentId === changed.paymentId ? changed : bill)),
})
