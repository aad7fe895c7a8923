import { HOUR_MS } from '../../../common/durations.ts'
import { planBill, withBill } from '../../billing/bills.ts'
import { periodContaining, periodFrom, priceOf } from '../../billing/periods.ts'
import type { Subscription } from '../../schemas/subscription.ts'
import type { Moment } from '../../work-time.ts'
import { become, changed } from './state.ts'
import { takeEffect } from './take-effect.ts'

const isMadeNow = ({ createdAt, trialEnd, currentPeriod }: Subscription): boolean => !trialEnd && currentPeriod.start <= createdAt

/**
 * Begins a subscription whose time has come: into its trial, straight into access when it is free, or into waiting
 * for its first payment. A start in the past is kept as the anchor, and the period that contains now is billed; or
 * the first one, if those that are over are to be billed too.
 */
export const beginSubscription = (subscription: Subscription, moment: Moment): Subscription => {
  const { now } = moment
  const { trialEnd, currentPeriod } = subscription
  if (trialEnd && now < trialEnd) {
    const event = { type: 'trial_started', why: `a trial until ${trialEnd.toISOString()}` }
    return changed(become(subscription, { status: 'trialing' }), { accessFrom: currentPeriod.start }, moment, event)
  }
  const start = trialEnd ?? currentPeriod.start
  const first = subscription.billMissed ? periodFrom(subscription, start) : periodContaining(subscription, now, start)
  const entered = { ...first, ownBill: subscription.billsMade, firstBill: subscription.billsMade, creditableMinor: 0, refunds: [] }
  if (priceOf(subscription) === 0) {
    const event = { type: 'activated', why: 'the bundle is free' }
    return changed(become(subscription, { status: 'active' }), { currentPeriod: entered, accessFrom: first.start }, moment, event)
  }
  // One that begins when it is made has its customer there; a trial that ends, or a start that was scheduled, has not.
  const draft = { ...planBill(subscription, first), onSession: isMadeNow(subscription) }
  const { subscription: billed, bill } = withBill({ ...subscription, currentPeriod: entered }, draft, now)
  // A piece of a period that is too short to cost anything.
  if (bill.status === 'settled') return takeEffect(changed(billed, {}, moment), bill, moment)
  const payBy = new Date(now.getTime() + subscription.billing.firstPaymentHours * HOUR_MS)
  return changed(become(billed, { status: 'incomplete', payBy }), {}, moment, {
    type: 'first_payment_due',
    why: `access begins when it is paid; payment is due by ${payBy.toISOString()}`,
    paymentId: bill.paymentId,
  })
}
