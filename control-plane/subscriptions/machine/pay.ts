/** How a subscription is paid from now on. */
import { openBill, replaceBill } from '../../billing/bills.ts'
import type { Subscription } from '../../schemas/subscription.ts'
import { refuse } from './end-subscription.ts'
import { resume } from './pause.ts'
import { changed, isFinal, type Moment } from './state.ts'

/** A payment that has failed is tried with it at once, and a pause for want of one ends. @throws AppError `not_allowed_in_state`. */
export const withPaymentMethod = (subscription: Subscription, paymentMethodId: string, moment: Moment): Subscription => {
  if (isFinal(subscription.status)) throw refuse(subscription, 'given a payment method')
  const bill = openBill(subscription, 'period')
  const hasFailed = bill !== undefined && bill.failedRound === bill.round
  if (paymentMethodId === subscription.paymentMethodId && !hasFailed) return subscription
  // Asked for already if the last round is still running: the next one takes the newest method.
  const again = hasFailed ? { ...replaceBill(subscription, { ...bill, round: bill.round + 1 }) } : {}
  const paying = changed(subscription, { paymentMethodId, ...again }, moment, {
    type: 'payment_method',
    why: paymentMethodId === subscription.paymentMethodId ? 'somebody asked to try it again' : 'somebody set another payment method',
  })
  return subscription.pauseReason === 'no_payment_method' && !bill ? resume(paying, moment) : paying
}
