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

export type BillDraft = Pick<Bill, 'reason' | 'period' | 'lines' | 'creditableMinor' | 'terms' | 'anchor' | 'onSession' | 'leavesOutSuspension'>

/** What of an amount can be charged: whole steps of what the accounts take, and no less than the smallest charge. */
const chargeable = (dueMinor: number, limits: Subscription['chargeLimits']): number => {
  if (!limits) return dueMinor
  const amountMinor = dueMinor - (dueMinor % limits.stepMinor)
  return amountMinor < limits.smallestMinor ? 0 : amountMinor
}

const carriedLine = (amountMinor: number): Line[] => (amountMinor === 0 ? [] : [{ kind: 'carried', amountMinor }])

/**
 * The subscription with a bill more. What cannot be charged by itself is carried to the next one. A bill that leaves
 * nothing to pay is `settled`: the caller lets it take effect.
 */
export const withBill = (subscription: Subscription, draft: BillDraft, openedAt: Date): { subscription: Subscription; bill: Bill } => {
  const seq = subscription.billsMade
  const carriedBefore = subscription.carriedMinor ?? 0
  const total = draft.lines.reduce((sum, line) => sum + line.amountMinor, carriedBefore)
  const creditMinor = Math.min(total, subscription.creditMinor)
  const amountMinor = chargeable(total - creditMinor, subscription.chargeLimits)
  const carriedMinor = total - creditMinor - amountMinor
  // Credit of before its origin was kept is the oldest.
  const untold = subscription.creditMinor - sumOf(subscription.creditFrom)
  const { taken, left } = takenOldest(subscription.creditFrom, Math.max(0, creditMinor - untold))
  const bill: Bill = {
    paymentId: paymentIdOf(subscription.tenantId, subscription.id, seq),
    seq,
    status: amountMinor === 0 ? 'settled' : 'open',
    creditMinor,
    creditFrom: taken as Bill['creditFrom'],
    carriedMinor: carriedMinor - carriedBefore,
    amountMinor,
    round: 1,
    failedRound: 0,
    openedAt,
    ...draft,
    lines: [...draft.lines, ...carriedLine(carriedBefore), ...carriedLine(-carriedMinor)],
  }
  const billed: Subscription = {
    ...subscription,
    billsMade: seq + 1,
    creditMinor: subscription.creditMinor - creditMinor,
    creditFrom: left as Subscription['creditFrom'],
    carriedMinor,
    bills: [...subscription.bills, bill],
  }
  return { subscription: billed, bill }
}

/** A plan for a period from its start, on the subscription's own terms. */
export const planBill = (subscription: Subscription, period: Bill['period']): BillDraft => {
  const price = priceOf(subscription)
  const amountMinor = billedShare(subscription, price, period)
  const leavesOutSuspension = withoutAccess(subscription, period) !== undefined
  return { reason: 'period', period, lines: [planLine(subscription, amountMinor, period)], creditableMinor: price, leavesOutSuspension }
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
  const carriedMinor = unwanted.reduce((sum, bill) => sum - (bill.carriedMinor ?? 0), subscription.carriedMinor ?? 0)
  return {
    bills: subscription.bills.map((bill) => (unwanted.includes(bill) ? { ...bill, status: 'dropped' } : bill)),
    creditMinor: subscription.creditMinor + unwanted.reduce((sum, bill) => sum + bill.creditMinor, 0),
    creditFrom: joined(...unwanted.map(({ creditFrom }) => creditFrom), subscription.creditFrom) as Subscription['creditFrom'],
    carriedMinor,
  }
}

export const withoutBill = (subscription: Subscription, { paymentId }: Pick<Bill, 'paymentId'>): Pick<Subscription, 'bills'> => ({
  bills: subscription.bills.filter((bill) => bill.paymentId !== paymentId),
})

export const replaceBill = (subscription: Subscription, changed: Bill): Pick<Subscription, 'bills'> => ({
  bills: subscription.bills.map((bill) => (bill.paymentId === changed.paymentId ? changed : bill)),
})
