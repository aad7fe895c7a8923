/**
 * A bill whose payment failed is asked for again. Time in a suspension is not billed: what is tried then is the price of
 * the days that had access, and of those that will have it when it is paid now.
 */
import { defined } from '../../../common/defined.ts'
import { dropBills, planLine, rebilled, replaceBill, wholePrice, withBill } from '../../billing/bills.ts'
import { billedShare, periodFrom, shareOfRest } from '../../billing/periods.ts'
import type { Bill, Subscription } from '../../schemas/subscription.ts'
import type { Moment } from '../../work-time.ts'
import { takeEffect } from './take-effect.ts'

interface Again {
  onSession?: boolean | undefined
  returnUrl?: string | undefined
}

/** The amount owed for the bill's period now; for a period that is over and had no access at all, what is left of the one that runs. */
const owedNow = (subscription: Subscription, bill: Bill, now: Date): { period: Bill['period']; amountMinor: number } => {
  const { period } = bill
  const price = wholePrice(bill)
  const suspended = subscription.suspendedAt ? [{ from: subscription.suspendedAt, to: now }] : []
  const amountMinor = billedShare(subscription, price, period, [...(subscription.offSpans ?? []), ...suspended])
  if (amountMinor > 0 || now < period.end) return { period, amountMinor }
  const running = periodFrom(subscription, now)
  return { period: running, amountMinor: shareOfRest(subscription, price, running, now) }
}

const rebill = (subscription: Subscription, bill: Bill, moment: Moment): { subscription: Subscription; bill: Bill } => {
  const { period, amountMinor } = owedNow(subscription, bill, moment.now)
  const change = { period, lines: [planLine(subscription, amountMinor, period)], leftOutUntil: moment.now }
  const next = rebilled(subscription, bill, change)
  if (next.bill.amountMinor > 0) return next
  // Too little for a charge of its own: it is tried as it was, and what is too much of it becomes credit.
  if (next.subscription.carriedMinor) return { subscription, bill }
  // Credit covers what is left of it: there is nothing to charge any more.
  const dropped = { ...subscription, ...dropBills(subscription, ({ paymentId }) => paymentId === bill.paymentId) }
  return withBill(dropped, defined({ ...change, reason: bill.reason, creditableMinor: bill.creditableMinor, pricing: bill.pricing }), moment.now)
}

/** Another round of attempts is asked for. Whether one makes sense is the payment's to say. */
export const triedAgain = (subscription: Subscription, bill: Bill, { onSession, returnUrl }: Again, moment: Moment): Subscription => {
  const isRebilled = subscription.status === 'suspended' && bill.reason === 'period'
  const { subscription: billed, bill: next } = isRebilled ? rebill(subscription, bill, moment) : { subscription, bill }
  if (next.status === 'settled') return takeEffect(billed, next, moment)
  return { ...billed, ...replaceBill(billed, defined({ ...next, round: bill.round + 1, onSession, returnUrl })) }
}
