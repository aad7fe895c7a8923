/** The effect of the outcome of a bill's payment on its subscription. */

import { defined } from '../../../common/defined.ts'
import { HOUR_MS } from '../../../common/durations.ts'
import { openBill, replaceBill, withoutBill } from '../../billing/bills.ts'
import { firstFailureOf, graceFrom, lastWordBy, nextRetryAt } from '../../billing/dunning.ts'
import { consequences } from '../../payments/machine/decline-classes.ts'
import { openAttempt } from '../../payments/machine/state.ts'
import type { Payment } from '../../schemas/payment.ts'
import type { Bill, Subscription } from '../../schemas/subscription.ts'
import type { Moment } from '../../work-time.ts'
import { dropped, endSubscription } from './end-subscription.ts'
import { become, changed, withRetryAt } from './state.ts'
import { takeEffect } from './take-effect.ts'
import { triedAgain } from './try-again.ts'

/** @returns undefined when nothing changes. */
export const afterPayment = (subscription: Subscription, bill: Bill, payment: Payment, moment: Moment): Subscription | undefined => {
  const { status } = bill
  switch (status) {
    case 'settled':
    case 'dropped':
      // Its payment is stored, or knows that nobody wants it: the bill has served.
      return changed(subscription, withoutBill(subscription, bill), moment)
    case 'open':
      if (payment.status === 'succeeded') return takeEffect({ ...subscription, ...paidAt(payment) }, asPaid(bill, payment), moment)
      if (payment.status === 'canceled') return dropped(subscription, bill, moment)
      if (payment.status === 'failed' && bill.failedRound < payment.round) return failed(subscription, bill, payment, moment)
      if (bill.reason === 'period' && payment.status === 'processing' && isRunning(subscription) && openAttempt(payment)?.status === 'requires_action') {
        return overdue(subscription, bill, moment, 'the customer has to act before the payment can be made')
      }
      return undefined
    default:
      return status satisfies never
  }
}

/** An attempt that was made for more, and succeeds after all: what is more is credited when the bill takes effect. */
const asPaid = (bill: Bill, payment: Payment): Bill => ({ ...bill, amountMinor: payment.amountMinor })

/** Renewals stay with the account that took the last payment. */
const paidAt = (payment: Payment): Pick<Subscription, 'paidAt'> => {
  const account = payment.attempts.find(({ status }) => status === 'succeeded')?.account
  return account ? { paidAt: account } : {}
}

/** A renewal is being paid, and access does not hang on it yet. */
const isRunning = ({ status }: Subscription): boolean => status === 'active' || status === 'trialing'

/** Grace begins, and the retry schedule. */
export const overdue = (subscription: Subscription, bill: Bill, moment: Moment, why: string): Subscription => {
  const failedAt = firstFailureOf(bill, moment.now)
  const graceUntil = graceFrom(subscription.billing, moment.now)
  const retryAt = nextRetryAt(subscription.billing, failedAt, moment.now)
  const pastDue = become(subscription, defined({ status: 'past_due' as const, graceUntil, retryAt }))
  return changed(pastDue, replaceBill(subscription, { ...bill, failedAt }), moment, {
    type: 'past_due',
    why: `${why}; access until ${graceUntil.toISOString()}, next retry ${retryAt?.toISOString() ?? 'never'}`,
    paymentId: bill.paymentId,
    amountMinor: bill.amountMinor,
  })
}

/** Nobody has refused the customer when only providers were away: they are asked again, at first this soon, then ever later. */
const ASK_AGAIN_AFTER_MS = HOUR_MS
/** Card networks count every request; and what is still broken after a day is mended by people. */
const ASK_AGAIN_AT_MOST_MS = 24 * HOUR_MS

const askAgainAt = (now: Date, round: number): Date => new Date(now.getTime() + Math.min(ASK_AGAIN_AFTER_MS * 2 ** (round - 1), ASK_AGAIN_AT_MOST_MS))
const leavesAccess = (payment: Payment): boolean => {
  const tried = payment.attempts.filter(({ round }) => round === payment.round)
  return tried.length > 0 && tried.every((one) => one.status === 'not_sent' || (one.status === 'declined' && consequences[one.declineClass].accessUnchanged))
}

const lastWord = (payment: Payment): string => {
  if (payment.failure) return payment.failure
  const last = payment.attempts.at(-1)
  if (!last) return 'no payment provider could take it'
  return last.declineClass ? `${last.account} declined: ${last.declineClass}${last.pspCode ? ` (${last.pspCode})` : ''}` : `${last.account}: ${last.status}`
}

const failed = (subscription: Subscription, bill: Bill, payment: Payment, moment: Moment): Subscription => {
  const facts = { paymentId: bill.paymentId, amountMinor: bill.amountMinor }
  const why = lastWord(payment)
  // A retry that was asked for meanwhile is over with this round; another method is tried at once.
  const another = subscription.paymentMethodId && subscription.paymentMethodId !== payment.paymentMethodId
  const refused: Bill = { ...bill, failedRound: payment.round, round: payment.round }
  const { status } = subscription
  const present = { onSession: bill.onSession, returnUrl: bill.returnUrl }
  if ((bill.reason === 'change' || status === 'paused') && another) return changed(triedAgain(subscription, refused, present, moment), {}, moment)
  // Nothing has changed for the customer: the change, or the resumption, did not come about.
  if (bill.reason === 'change') return changed(dropped(subscription, bill, moment), {}, moment, { type: 'change_declined', why, ...facts })
  if (status === 'paused') return changed(dropped(subscription, bill, moment), {}, moment, { type: 'resume_declined', why, ...facts })

  const told = changed(subscription, replaceBill(subscription, refused), moment, { type: 'payment_failed', why, ...facts })
  const noted = another ? triedAgain(told, refused, present, moment) : told
  if (noted.status !== status) return noted
  if (isRunning(subscription)) {
    // Nobody has refused the customer: access is left alone, and the providers are asked again soon.
    if (leavesAccess(payment)) return changed(withRetryAt(noted, askAgainAt(moment.now, payment.round)), {}, moment)
    return overdue(noted, openBill(noted, 'period') ?? refused, moment, why)
  }
  if (status === 'past_due' || status === 'suspended') {
    const retryAt = nextRetryAt(subscription.billing, firstFailureOf(bill, moment.now), moment.now)
    if (!retryAt && !another) return endSubscription(noted, 'unpaid', moment.now, moment)
    return changed(withRetryAt(noted, retryAt ?? lastWordBy(moment.now)), {}, moment)
  }
  // Incomplete: another payment method, or time, decides.
  return noted
}
