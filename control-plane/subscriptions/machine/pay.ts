/** The way a subscription is paid from now on, and tries at once because somebody asks for them. */
import { defined } from '../../../common/defined.ts'
import { AppError } from '../../../common/errors.ts'
import { openBill, replaceBill } from '../../billing/bills.ts'
import type { Bill, Subscription } from '../../schemas/subscription.ts'
import type { Moment } from '../../work-time.ts'
import { dropped, refuse } from './end-subscription.ts'
import { resume } from './pause.ts'
import { changed } from './state.ts'
import { isFinal } from './transitions.ts'
import { triedAgain } from './try-again.ts'

const hasFailed = (bill: Bill): boolean => bill.failedRound === bill.round

const owedBill = ({ bills }: Subscription, paymentId: string): Bill => {
  const bill = bills.find((one) => one.paymentId === paymentId && one.status === 'open')
  if (bill) return bill
  throw new AppError('not_allowed_in_state', 'the payment is no longer owed: what it was for is paid or given up; request that again')
}

/**
 * A payment that has failed, or that waits for the customer to act, is tried with it at once; and a pause for want of one
 * ends. A change that waits is tried with it, too.
 * @throws AppError `not_allowed_in_state`.
 */
export const withPaymentMethod = (subscription: Subscription, paymentMethodId: string, moment: Moment): Subscription => {
  if (isFinal(subscription.status)) throw refuse(subscription, 'given a payment method')
  const bill = openBill(subscription, 'period')
  const failed = bill !== undefined && hasFailed(bill)
  if (paymentMethodId === subscription.paymentMethodId && !failed) return subscription
  // Asked for already if the last round is still running: the next one takes the newest method.
  const again = failed ? triedAgain(subscription, bill, {}, moment) : subscription
  const paying = changed(again, { paymentMethodId }, moment, {
    type: 'payment_method',
    why: paymentMethodId === subscription.paymentMethodId ? 'somebody asked for a retry' : 'somebody set another payment method',
  })
  return subscription.pauseReason === 'no_payment_method' && !bill ? resume(paying, moment) : paying
}

export interface PayNow {
  paymentId: string
  /** Absent: the one that it has. */
  paymentMethodId: string | undefined
  /** The page that the customer comes back to after having acted. */
  returnUrl: string | undefined
}

/**
 * The customer is there, and pays a bill that is still owed: they can be asked to act.
 * @throws AppError `not_allowed_in_state`.
 */
export const payNow = (subscription: Subscription, { paymentId, paymentMethodId, returnUrl }: PayNow, moment: Moment): Subscription => {
  const bill = owedBill(subscription, paymentId)
  const methodId = paymentMethodId ?? subscription.paymentMethodId
  if (methodId === undefined) throw new AppError('not_allowed_in_state', 'the subscription has no payment method; name one in paymentMethod')
  const present = { onSession: true, returnUrl }
  const asked = hasFailed(bill)
    ? triedAgain(subscription, bill, present, moment)
    : { ...subscription, ...replaceBill(subscription, defined({ ...bill, ...present })) }
  return changed(asked, { paymentMethodId: methodId }, moment, {
    type: 'pay_asked',
    why: methodId === subscription.paymentMethodId ? 'the customer is present to pay' : 'the customer is present to pay, with another payment method',
    paymentId,
  })
}

/**
 * A change that waits for its payment is given up: the subscription stays as it is.
 * @throws AppError `not_allowed_in_state`.
 */
export const giveUpChange = (subscription: Subscription, paymentId: string, moment: Moment): Subscription => {
  const bill = owedBill(subscription, paymentId)
  if (bill.reason !== 'change')
    throw new AppError('not_allowed_in_state', 'it pays for a period of a subscription; cancel the subscription, or the attempt that waits')
  return changed(dropped(subscription, bill, moment), {}, moment, {
    type: 'change_declined',
    why: 'somebody gave it up',
    paymentId,
    amountMinor: bill.amountMinor,
  })
}
