/** The ends of a subscription, asked for or not. */

import { AppError } from '../../../common/errors.ts'
import { dropBills, openBill } from '../../billing/bills.ts'
import { joined, takenNewest, takenOldest } from '../../billing/lots.ts'
import { shareOfRest } from '../../billing/periods.ts'
import type { Bill, endReasons, Subscription } from '../../schemas/subscription.ts'
import type { Moment } from '../../work-time.ts'
import { become, changed } from './state.ts'
import { paidFromOf, remembersAsCredit } from './take-lots.ts'
import { isFinal } from './transitions.ts'

type EndReason = (typeof endReasons)[number]

const whys: Record<EndReason, string> = {
  canceled: 'somebody asked for it',
  period_end: "it was canceled at its period's end",
  payment_not_made: 'the first payment was not made in time',
  unpaid: 'the last retry of an overdue payment failed',
  dispute: 'a payment was disputed, and the storefront ends access after a dispute',
  refunded: 'its period was refunded in full, and the bundle ends access after a full refund',
}

/** Ends the subscription: its open bills are dropped, whose credit returns, and what was carried is paid from the credit there is. */
export const endSubscription = (subscription: Subscription, endReason: EndReason, endedAt: Date, moment: Moment): Subscription => {
  const status = endReason === 'payment_not_made' ? 'incomplete_expired' : 'canceled'
  const undone = { ...subscription, ...dropBills(subscription, () => true) }
  // What was still carried is paid by the credit there is; the rest is not collected.
  const carriedMinor = Math.min(undone.carriedMinor ?? 0, undone.creditMinor)
  const { left } = takenOldest(undone.creditFrom, carriedMinor)
  const squared = {
    creditMinor: undone.creditMinor - carriedMinor,
    creditFrom: left,
    creditGivenMinor: (undone.creditGivenMinor ?? 0) - carriedMinor,
    carriedMinor: 0,
  }
  const nothingToCome = { cancelAtPeriodEnd: false, scheduledChange: undefined, collectionPausedAt: undefined }
  return changed(become(undone, { status, endReason, endedAt }), { ...nothingToCome, ...squared }, moment, { type: status, why: whys[endReason] })
}

/** Gives a bill up: its payment is abandoned next, and the subscription goes on as it is. */
export const dropped = (subscription: Subscription, bill: Bill, moment: Moment): Subscription =>
  changed(
    subscription,
    dropBills(subscription, ({ paymentId }) => paymentId === bill.paymentId),
    moment,
  )

/** @throws AppError `not_allowed_in_state` while a payment is under way: what was asked for would change what it pays for. */
export const refuseWhilePaying = (subscription: Subscription): void => {
  const bill = openBill(subscription)
  if (!bill) return
  const { paymentId } = bill
  const wayOut = bill.reason === 'change' ? `, or give it up (POST /v1/payments/${paymentId}/cancel)` : ''
  throw new AppError('not_allowed_in_state', `the payment ${paymentId} of the subscription is in progress; wait for its outcome${wayOut}`)
}

/** The error for a command that the subscription's state does not allow. @param what a past participle, such as `paused`. */
export const refuse = (subscription: Subscription, what: string, hint = ''): AppError =>
  new AppError('not_allowed_in_state', `a subscription that is ${subscription.status} cannot be ${what}${hint ? `: ${hint}` : ''}`)

/** The subscription with the rest of its paid period as credit, as a change now would credit it. */
const credited = (subscription: Subscription, moment: Moment): Subscription => {
  const { currentPeriod, status } = subscription
  // In a pause the time that is left stands still.
  const at = status === 'paused' ? subscription.pausedAt : moment.now
  const creditMinor = status === 'active' || status === 'paused' ? shareOfRest(subscription, currentPeriod.creditableMinor, currentPeriod, at) : 0
  if (creditMinor === 0) return subscription
  const { taken, left } = takenNewest(paidFromOf(subscription), creditMinor)
  return changed(
    subscription,
    {
      creditMinor: subscription.creditMinor + creditMinor,
      creditGivenMinor: (subscription.creditGivenMinor ?? 0) + creditMinor,
      creditFrom: joined(subscription.creditFrom, taken),
      currentPeriod: { ...currentPeriod, creditableMinor: 0, paidFrom: left },
      moneyBack: remembersAsCredit(subscription, at),
    },
    moment,
    { type: 'credited', why: `what was left of the period until ${currentPeriod.end.toISOString()}`, amountMinor: creditMinor },
  )
}

/** @param credit whether what is left of a paid period becomes credit when it ends now. @throws AppError `not_allowed_in_state`. */
export const cancel = (subscription: Subscription, at: 'now' | 'period_end', moment: Moment, credit: 'none' | 'prorate' = 'none'): Subscription => {
  if (isFinal(subscription.status)) throw refuse(subscription, 'canceled')
  // Only a trial or a paid period can run to its end; of one that is overdue the paid period is over already.
  const runsToItsEnd = subscription.status === 'trialing' || subscription.status === 'active'
  if (at === 'now' || !runsToItsEnd)
    return endSubscription(credit === 'prorate' ? credited(subscription, moment) : subscription, 'canceled', moment.now, moment)
  if (subscription.cancelAtPeriodEnd) return subscription
  const event = { type: 'cancel_scheduled', why: `it ends with its period, on ${subscription.currentPeriod.end.toISOString()}` }
  return changed(subscription, { cancelAtPeriodEnd: true }, moment, event)
}

/** Takes a cancellation at period end back. @throws AppError `not_allowed_in_state`. */
export const reactivate = (subscription: Subscription, moment: Moment): Subscription => {
  if (isFinal(subscription.status)) throw refuse(subscription, 'reactivated', 'create a new one')
  if (!subscription.cancelAtPeriodEnd) throw new AppError('not_allowed_in_state', "the subscription is not set to be canceled at its period's end")
  return changed(subscription, { cancelAtPeriodEnd: false }, moment, { type: 'cancel_taken_back', why: 'somebody asked for it' })
}
