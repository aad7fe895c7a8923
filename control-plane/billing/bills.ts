/**
 * Bills: what a subscription owes, from when the obligation arises to when its payment's outcome has taken effect.
 * Opening one takes the customer's credit in the same write; dropping it gives the credit back.
 */
import { derivedId } from '../keys.ts'
import type { Line } from '../schemas/period.ts'
import type { Bill, Subscription } from '../schemas/subscription.ts'
import { joined, sumOf, takenOldest } from './lots.ts'
import { billedShare, priceOf, withoutAccess } from './periods.ts'

/**
 * Computed again by whoever repeats the step, so that paying twice for one bill is impossible. Those of one
 * subscription sort in the order in which they were made.
 */
export const paymentIdOf = (tenantId: string, subscriptionId: string, seq: number): string =>
  `${derivedId('pay', tenantId, subscriptionId)}${String(seq).padStart(6, '0')}`

export type BillDraft = Pick<Bill, 'reason' | 'period' | 'lines' | 'creditableMinor' | 'terms' | 'anchor' | 'onSession' | 'leftOutUntil'>

/** What of an amount can be charged: whole steps of what the accounts take, and no less than the smallest charge. */
const chargeable = (dueMinor: number, limits: Subscription['chargeLimits']): number => {
  if (!limits) return dueMinor
  const amountMinor = dueMinor - (dueMinor % limits.stepMinor)
  return amountMinor < limits.smallestMinor ? 0 : amountMinor
}

const carriedLine = (amountMinor: number): Line[] => (amountMinor === 0 ? [] : [{ kind: 'carried', amountMinor }])

/** What a bill comes to: after what was carried to it and the credit there is, and as an amount that can be charged. */
const reckoned = (subscription: Subscription, lines: readonly Line[]) => {
  const carriedBefore = subscription.carriedMinor ?? 0
  const total = lines.reduce((sum, line) => sum + line.amountMinor, carriedBefore)
  const creditMinor = Math.min(total, subscription.creditMinor)
  const amountMinor = chargeable(total - creditMinor, subscription.chargeLimits)
  const carriedMinor = total - creditMinor - amountMinor
  // Credit of before its origin was kept is the oldest.
  const untold = subscription.creditMinor - sumOf(subscription.creditFrom)
  const { taken, left } = takenOldest(subscription.creditFrom, Math.max(0, creditMinor - untold))
  const bill = {
    creditMinor,
    creditFrom: taken as Bill['creditFrom'],
    carriedMinor: carriedMinor - carriedBefore,
    amountMinor,
    lines: [...lines, ...carriedLine(carriedBefore), ...carriedLine(-carriedMinor)],
  }
  const rest = { creditMinor: subscription.creditMinor - creditMinor, creditFrom: left as Subscription['creditFrom'], carriedMinor }
  return { bill, rest }
}

/**
 * The subscription with a bill more. What cannot be charged by itself is carried to the next one. A bill that leaves
 * nothing to pay is `settled`: the caller lets it take effect.
 */
export const withBill = (subscription: Subscription, draft: BillDraft, openedAt: Date): { subscription: Subscription; bill: Bill } => {
  const seq = subscription.billsMade
  const { bill: sums, rest } = reckoned(subscription, draft.lines)
  const bill: Bill = {
    paymentId: paymentIdOf(subscription.tenantId, subscription.id, seq),
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

/** What bills took from the subscription when they were made, given back. */
const returned = (subscription: Subscription, bills: readonly Bill[]): Pick<Subscription, 'creditMinor' | 'creditFrom' | 'carriedMinor'> => ({
  creditMinor: bills.reduce((sum, bill) => sum + bill.creditMinor, subscription.creditMinor),
  creditFrom: joined(...bills.map(({ creditFrom }) => creditFrom), subscription.creditFrom) as Subscription['creditFrom'],
  carriedMinor: bills.reduce((sum, bill) => sum - (bill.carriedMinor ?? 0), subscription.carriedMinor ?? 0),
})

/** The same obligation, of another amount by now. Nothing of it is being paid. */
export const rebilled = (
  subscription: Subscription,
  bill: Bill,
  change: Pick<Bill, 'period' | 'lines' | 'leftOutUntil'>,
): { subscription: Subscription; bill: Bill } => {
  const { bill: sums, rest } = reckoned({ ...subscription, ...returned(subscription, [bill]) }, change.lines)
  const next = { ...bill, ...change, ...sums }
  return { subscription: { ...subscription, ...rest, ...replaceBill(subscription, next) }, bill: next }
}

/** A plan for a period from its start, on the subscription's own terms. */
export const planBill = (subscription: Subscription, period: Bill['period']): BillDraft => {
  const price = priceOf(subscription)
  const amountMinor = billedShare(subscription, price, period)
  const leftOutUntil = withoutAccess(subscription, period)?.to
  return { reason: 'period', period, lines: [planLine(subscription, amountMinor, period)], creditableMinor: price, leftOutUntil }
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
): Pick<Subscription, 'bills' | 'creditMinor' | 'creditFrom' | 'carriedMinor'> => {
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
