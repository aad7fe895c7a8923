/**
 * Bills: what a subscription owes, from when the obligation arises to when its payment's outcome has taken effect.
 * Opening one takes the customer's credit in the same write; dropping it gives the credit back.
 */
import { defined } from '../../common/defined.ts'
import { derivedId } from '../keys.ts'
import type { Line } from '../schemas/period.ts'
import type { Bill, Subscription } from '../schemas/subscription.ts'
import { joined, sumOf, takenOldest } from './lots.ts'
import { billedShare, priceOf, withoutAccess } from './periods.ts'

/**
 * Computed again by whoever repeats the step, so that paying twice for one bill is impossible. Those of one
 * subscription sort in the order in which they were made.
 */
export const paymentIdOfBill = (tenantId: string, subscriptionId: string, seq: number): string =>
  `${derivedId('pay', tenantId, subscriptionId)}${String(seq).padStart(6, '0')}`

export type BillDraft = Pick<Bill, 'reason' | 'period' | 'lines' | 'creditableMinor' | 'terms' | 'anchor' | 'onSession' | 'leftOutUntil' | 'pricing'>

/**
 * The part of an amount that can be charged: whole steps of what the accounts take, and no less than the smallest charge. A
 * price that is smaller itself is charged as it was agreed: whoever asks for it knows that their accounts take it.
 */
const chargeable = (dueMinor: number, priceMinor: number, limits: Subscription['chargeLimits']): number => {
  if (!limits) return dueMinor
  const amountMinor = dueMinor - (dueMinor % limits.stepMinor)
  return amountMinor < Math.min(limits.smallestMinor, priceMinor) ? 0 : amountMinor
}

const carriedLine = (amountMinor: number): Line[] => (amountMinor === 0 ? [] : [{ kind: 'carried', amountMinor }])

/** The total of a bill: after what was carried to it and the credit there is, and as an amount that can be charged. */
const reckoned = (subscription: Subscription, lines: readonly Line[], priceMinor: number) => {
  const carriedBefore = subscription.carriedMinor ?? 0
  const total = lines.reduce((sum, line) => sum + line.amountMinor, carriedBefore)
  const creditMinor = Math.min(total, subscription.creditMinor)
  const amountMinor = chargeable(total - creditMinor, priceMinor, subscription.chargeLimits)
  const carriedMinor = total - creditMinor - amountMinor
  // Credit of before its origin was kept is the oldest.
  const untold = subscription.creditMinor - sumOf(subscription.creditFrom)
  const { taken, left } = takenOldest(subscription.creditFrom, Math.max(0, creditMinor - untold))
  const bill = {
    creditMinor,
    creditFrom: taken,
    carriedMinor: carriedMinor - carriedBefore,
    amountMinor,
    lines: [...lines, ...carriedLine(carriedBefore), ...carriedLine(-carriedMinor)],
  }
  const rest = { creditMinor: subscription.creditMinor - creditMinor, creditFrom: left, carriedMinor }
  return { bill, rest }
}

/**
 * The subscription with a bill more. What cannot be charged by itself is carried to the next one. A bill that leaves
 * nothing to pay is `settled`: the caller lets it take effect.
 */
export const withBill = (subscription: Subscription, draft: BillDraft, openedAt: Date): { subscription: Subscription; bill: Bill } => {
  const seq = subscription.billsMade
  const { bill: sums, rest } = reckoned(subscription, draft.lines, draft.creditableMinor)
  const bill: Bill = {
    paymentId: paymentIdOfBill(subscription.tenantId, subscription.id, seq),
    seq,
    status: sums.amountMinor === 0 ? 'settled' : 'open',
    round: 1,
    failedRound: 0,
    openedAt,
    ...draft,
    ...sums,
  }
  return { subscription: { ...subscription, billsMade: seq + 1, ...rest, bills: [...subscription.bills, bill] }, bill }
}

/** The price of a whole one of the bill's periods, whatever it is still worth. */
export const wholePrice = ({ pricing, lines, creditableMinor }: Bill): number => {
  const quantity = lines.find(({ kind }) => kind === 'plan')?.quantity
  return pricing && quantity ? pricing.amountMinor * quantity : creditableMinor
}

/** The subscription with the money that bills took from it when they were made. */
const returned = (
  subscription: Subscription,
  bills: readonly Bill[],
): Pick<Subscription, 'creditMinor' | 'creditFrom' | 'creditRefundedMinor' | 'carriedMinor'> => ({
  creditMinor: bills.reduce((sum, bill) => sum + bill.creditMinor - (bill.creditGoneMinor ?? 0), subscription.creditMinor),
  creditRefundedMinor: bills.reduce((sum, bill) => sum + (bill.creditGoneMinor ?? 0), subscription.creditRefundedMinor),
  creditFrom: joined(...bills.map(({ creditFrom }) => creditFrom), subscription.creditFrom),
  carriedMinor: bills.reduce((sum, bill) => sum - (bill.carriedMinor ?? 0), subscription.carriedMinor ?? 0),
})

/** The same obligation, of another amount by now. Nothing of it is being paid. */
export const rebilled = (
  subscription: Subscription,
  bill: Bill,
  change: Pick<Bill, 'period' | 'lines' | 'leftOutUntil'>,
): { subscription: Subscription; bill: Bill } => {
  const { bill: sums, rest } = reckoned({ ...subscription, ...returned(subscription, [bill]) }, change.lines, wholePrice(bill))
  const next: Bill = { ...bill, ...change, ...sums, creditGoneMinor: 0 }
  return { subscription: { ...subscription, ...rest, ...replaceBill(subscription, next) }, bill: next }
}

/** A plan for a period from its start, on the subscription's own terms. */
export const planBill = (subscription: Subscription, period: Bill['period']): BillDraft => {
  const price = priceOf(subscription)
  const spans = subscription.offSpans ?? []
  const amountMinor = billedShare(subscription, price, period, spans)
  const leftOutUntil = withoutAccess(spans, period).at(-1)?.to
  const lines = [planLine(subscription, amountMinor, period)]
  return defined({ reason: 'period' as const, period, lines, creditableMinor: price, pricing: subscription.pricing, leftOutUntil })
}

export const planLine = (
  { bundleId, bundleVersion, quantity }: Pick<Subscription, 'bundleId' | 'bundleVersion' | 'quantity'>,
  amountMinor: number,
  { start, end }: Pick<Bill['period'], 'start' | 'end'>,
): Line => ({ kind: 'plan', bundleId, bundleVersion, quantity, amountMinor, start, end })

export const openBill = (subscription: Pick<Subscription, 'bills'>, reason?: Bill['reason']): Bill | undefined =>
  subscription.bills.find((bill) => bill.status === 'open' && (reason === undefined || bill.reason === reason))

/** Bills that nobody wants to be paid any more: their payments are abandoned, and their credit is the customer's again. */
export const dropBills = (
  subscription: Subscription,
  isUnwanted: (bill: Bill) => boolean,
): Pick<Subscription, 'bills' | 'creditMinor' | 'creditFrom' | 'creditRefundedMinor' | 'carriedMinor'> => {
  const unwanted = subscription.bills.filter((bill) => bill.status === 'open' && isUnwanted(bill))
  return {
    ...returned(subscription, unwanted),
    bills: subscription.bills.map((bill) => (unwanted.includes(bill) ? { ...bill, status: 'dropped' } : bill)),
  }
}

export const withoutBill = (subscription: Subscription, { paymentId }: Pick<Bill, 'paymentId'>): Pick<Subscription, 'bills'> => ({
  bills: subscription.bills.filter((bill) => bill.paymentId !== paymentId),
})

export const replaceBill = (subscription: Subscription, changed: Bill): Pick<Subscription, 'bills'> => ({
  bills: subscription.bills.map((bill) => (bill.paymentId === changed.paymentId ? changed : bill)),
})
