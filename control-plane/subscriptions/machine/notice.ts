/** What is told ahead of time: that a trial ends, and that a renewal will be charged. It is an entry of the timeline, and changes nothing else. */
import { DAY_MS } from '../../../common/durations.ts'
import { openBill } from '../../billing/bills.ts'
import { priceOf } from '../../billing/periods.ts'
import { defaultNotices } from '../../schemas/storefront.ts'
import type { Subscription, SubscriptionEvent } from '../../schemas/subscription.ts'

interface Notice {
  /** The first time at which it may be told. The last is the end that it tells of. */
  at: Date
  event: Pick<SubscriptionEvent, 'type' | 'why'>
}

/** Shorter periods come round so often that nobody wants to be told. */
const isMonthOrLonger = ({ pricing: { interval, intervalCount } }: Subscription): boolean => {
  if (interval === 'day') return intervalCount >= 28
  return interval !== 'week' || intervalCount >= 4
}

/** True if the next period costs more than the credit there is. */
const isCharged = (subscription: Subscription): boolean => {
  const { cancelAtPeriodEnd, collectionPausedAt, scheduledChange, creditMinor, carriedMinor = 0 } = subscription
  const price = priceOf(scheduledChange ?? subscription)
  return !cancelAtPeriodEnd && !collectionPausedAt && price > 0 && price + carriedMinor > creditMinor
}

/** The notice of the end of the current trial or period. Undefined: nobody is told of it, or everybody has been. */
export const noticeOf = (subscription: Subscription): Notice | undefined => {
  const { status, billing, currentPeriod, announcedEnd } = subscription
  const { start, end } = currentPeriod
  if (announcedEnd?.getTime() === end.getTime() || openBill(subscription, 'period')) return undefined
  const { trialNoticeDays, renewalNoticeDays } = { ...defaultNotices, ...billing }
  const before = (days: number): Date => new Date(end.getTime() - days * DAY_MS)
  if (status === 'trialing' && trialNoticeDays > 0) {
    const at = before(trialNoticeDays)
    return { at: at > start ? at : start, event: { type: 'trial_ending', why: `the trial ends on ${end.toISOString()}` } }
  }
  if (status === 'active' && renewalNoticeDays > 0 && isMonthOrLonger(subscription) && isCharged(subscription)) {
    const at = before(renewalNoticeDays)
    // In a period that is shorter than the notice, whoever has just paid knows.
    if (at > start) return { at, event: { type: 'renewal_upcoming', why: `the next period begins on ${end.toISOString()}, and is charged` } }
  }
  return undefined
}
