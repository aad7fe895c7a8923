/** The effect of time alone on a subscription. */
import { defined } from '../../../common/defined.ts'
import { fixedQuotaAnchor } from '../../billing/allowance-anchor.ts'
import { dropBills, openBill, planBill, replaceBill, withBill } from '../../billing/bills.ts'
import { firstFailureOf, isScheduleOver, lastWordBy, nextRetryAt, verdictBy } from '../../billing/dunning.ts'
import { isSameCycle, periodFrom, priceOf } from '../../billing/periods.ts'
import type { Bill, Subscription } from '../../schemas/subscription.ts'
import type { Moment } from '../../work-time.ts'
import { overdue } from './after-payment.ts'
import { beginSubscription } from './begin.ts'
import { onTerms } from './change-terms.ts'
import { endSubscription } from './end-subscription.ts'
import { noticeOf } from './notice.ts'
import { resume } from './pause.ts'
import { become, changed, dueAtOf, withRetryAt } from './state.ts'
import { takeEffect } from './take-effect.ts'
import { isFinal } from './transitions.ts'
import { triedAgain } from './try-again.ts'

/** Takes one step; undefined when nothing is due. */
export const afterTime = (subscription: Subscription, moment: Moment): Subscription | undefined => {
  const told = withNotice(subscription, moment)
  if (told) return told
  const due = dueAtOf(subscription)
  const { status } = subscription
  if (isFinal(status) || !due || moment.now < due) return withoutOldNotice(subscription, moment)
  switch (status) {
    case 'scheduled':
      return beginSubscription(subscription, moment)
    case 'incomplete':
      return endSubscription(subscription, 'payment_not_made', due, moment)
    case 'trialing':
    case 'active':
      if (subscription.cancelAtPeriodEnd) return endSubscription(subscription, 'period_end', due, moment)
      return openBill(subscription, 'period') ? withoutVerdict(subscription, moment) : turnPeriod(subscription, moment)
    case 'past_due':
      if (subscription.graceUntil <= moment.now) return suspend(subscription, moment)
      return retry(subscription, due, moment)
    case 'suspended':
      return retry(subscription, due, moment)
    case 'paused':
      return resume(subscription, moment)
    default:
      return status satisfies never
  }
}

/** An older version leaves the time of a notice as it was when it changes what the notice is about. */
const withoutOldNotice = (subscription: Subscription, moment: Moment): Subscription | undefined =>
  subscription.noticeAt && subscription.noticeAt <= moment.now ? changed(subscription, {}, moment) : undefined

/** Tells what is to be told by now. A notice that is later than what it tells of is of no use. */
const withNotice = (subscription: Subscription, moment: Moment): Subscription | undefined => {
  const notice = noticeOf(subscription)
  const { end } = subscription.currentPeriod
  if (!notice || moment.now < notice.at || moment.now >= end) return undefined
  return changed(subscription, { announcedEnd: end }, moment, notice.event)
}

/** A renewal that nobody has refused and nobody has paid: tried again, and overdue when that has gone on for long. */
const withoutVerdict = (subscription: Subscription, moment: Moment): Subscription => {
  const bill = openBill(subscription, 'period')
  if (!bill || moment.now < verdictBy(subscription.billing, subscription.currentPeriod.end, bill.openedAt)) return askAgain(subscription, undefined, moment)
  return overdue(subscription, bill, moment, 'no payment provider has accepted or declined the payment for as long as grace lasts')
}

const suspend = (subscription: Extract<Subscription, { status: 'past_due' }>, moment: Moment): Subscription => {
  const { graceUntil, retryAt } = subscription
  const suspended = become(subscription, defined({ status: 'suspended' as const, suspendedAt: graceUntil, retryAt }))
  return changed(suspended, {}, moment, { type: 'suspended', why: 'the grace period is over and the payment was not made' })
}

/** @param due by when it was to be tried: a worker always comes a little later, and that must not cost the last try. */
const retry = (subscription: Subscription, due: Date, moment: Moment): Subscription => {
  const failedAt = firstFailureOf(billOf(subscription), moment.now)
  if (isScheduleOver(subscription.billing, failedAt, due)) return endSubscription(subscription, 'unpaid', moment.now, moment)
  return askAgain(subscription, nextRetryAt(subscription.billing, failedAt, moment.now) ?? lastWordBy(moment.now), moment)
}

const billOf = (subscription: Subscription): Bill => {
  const bill = openBill(subscription, 'period')
  if (!bill) throw new Error(`subscription ${subscription.id} is ${subscription.status} without a bill`)
  return bill
}

/** Asks for another round of attempts. Whether one makes sense is the payment's to say. */
const askAgain = (subscription: Subscription, retryAt: Date | undefined, moment: Moment): Subscription => {
  const bill = billOf(subscription)
  // One that still waits for its outcome goes on with the round that runs.
  const isFailed = bill.failedRound === bill.round
  const asked = isFailed ? triedAgain(subscription, bill, {}, moment) : { ...subscription, ...replaceBill(subscription, { ...bill, round: bill.round + 1 }) }
  // Credit covers what is left of it.
  if (isFailed && !openBill(asked, 'period')) return asked
  return changed(withRetryAt(asked, retryAt), {}, moment, {
    type: 'retry',
    why: `by the retry schedule: round ${bill.round + 1} of attempts`,
    paymentId: bill.paymentId,
  })
}

/** The terms that take over when the current period ends. */
const onNextTerms = (subscription: Subscription): Subscription => {
  const { scheduledChange, ...kept } = subscription
  if (!scheduledChange) return subscription
  if (isSameCycle(scheduledChange, subscription)) return { ...kept, ...scheduledChange }
  return defined({ ...kept, ...onTerms(subscription, scheduledChange, subscription.currentPeriod.end), quotaAnchor: fixedQuotaAnchor(subscription) })
}

/** A free plan that cannot be left for want of a payment method goes on as it is: nobody loses it for having wished for more. */
const cannotLeave = (subscription: Subscription): boolean =>
  priceOf(subscription) === 0 &&
  !subscription.paymentMethodId &&
  !subscription.collectionPausedAt &&
  Boolean(subscription.scheduledChange) &&
  priceOf(subscription.scheduledChange ?? subscription) > subscription.creditMinor

/** The next period begins where the last ended, except that time without service after a suspension is left out. */
const nextStart = (subscription: Subscription): Date =>
  (subscription.offSpans ?? []).reduce((start, { from, to }) => (start >= from && start < to ? to : start), subscription.currentPeriod.end)

/** Ends the current period and begins, or bills, the next. */
export const turnPeriod = (before: Subscription, moment: Moment): Subscription => {
  const current = cannotLeave(before)
    ? changed(before, { scheduledChange: undefined }, moment, {
        type: 'change_taken_back',
        why: `there is no payment method for ${before.scheduledChange?.bundleId}, so the free plan continues`,
      })
    : before
  const subscription = onNextTerms({ ...current, ...dropBills(current, ({ reason }) => reason === 'change') })
  const changedTerms = current.scheduledChange
    ? [{ type: 'changed', why: `to ${subscription.bundleId} × ${subscription.quantity}, as scheduled for the period's end` }]
    : []
  const start = nextStart(subscription)
  const period = periodFrom(subscription, start)
  const offSpans = (subscription.offSpans ?? []).filter(({ to }) => to > period.start)
  const uncharged = (...events: { type: string; why: string }[]) => {
    const currentPeriod = { ...period, ownBill: subscription.billsMade, firstBill: subscription.billsMade, creditableMinor: 0, refunds: [] }
    return changed(become(subscription, { status: 'active' }), { currentPeriod, offSpans }, moment, ...changedTerms, ...events)
  }
  if (priceOf(subscription) === 0) return uncharged()
  if (subscription.collectionPausedAt) {
    return uncharged({ type: 'period_not_charged', why: `collection is paused: the period from ${period.start.toISOString()} is not charged` })
  }
  const { subscription: billed, bill } = withBill({ ...subscription, offSpans }, planBill(subscription, period), moment.now)
  if (bill.status === 'settled') return takeEffect(changed(billed, {}, moment, ...changedTerms), bill, moment)
  if (!subscription.paymentMethodId) {
    const paused = become(subscription, { status: 'paused', pausedAt: subscription.currentPeriod.end, pauseReason: 'no_payment_method' })
    return changed(paused, {}, moment, ...changedTerms, { type: 'paused', why: 'there is no payment method to charge' })
  }
  return changed(billed, {}, moment, ...changedTerms)
}
