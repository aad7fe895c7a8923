/** What the periods of quotas are counted from. Pure. */
import { anchorOnDay, type Interval, movedBy, type Period } from '../../common/calendar.ts'
import { quotaWindow } from '../../common/entitlements/quota-window.ts'
import type { Subscription } from '../schemas/subscription.ts'

type Paused = Pick<Subscription, 'anchor' | 'quotaAnchor' | 'billingDay' | 'timeZone' | 'pauses'> & { pricing: Pick<Subscription['pricing'], 'interval'> }

/** More pauses than anybody makes in the longest period of a quota; older ones are reckoned into the anchor. */
const MAX_PAUSES = 400

const quotaPeriodAt = (anchor: Date, per: Interval, timeZone: string, at: Date): Period => {
  const { startMs, endMs } = quotaWindow({ anchorMs: anchor.getTime(), per, timeZone }, at.getTime())
  return { start: new Date(startMs), end: new Date(endMs) }
}

/** The end of the period that ran when the pause began, moved by as long as it lasted. */
const afterPause = (anchor: Date, per: Interval, timeZone: string, { from, to }: { from: Date; to: Date }): Date =>
  movedBy(quotaPeriodAt(anchor, per, timeZone, from).end, from, to, timeZone)

/** A change of the billing interval moves no allowance: it is the anchor of before that counts on. */
export const fixedQuotaAnchor = ({ quotaAnchor, anchor }: Pick<Paused, 'quotaAnchor' | 'anchor'>): Date => quotaAnchor ?? anchor

/** A billing day of the week is none of the month. */
const dayOfMonth = ({ billingDay, pricing: { interval } }: Paused): number | undefined => (interval === 'day' || interval === 'week' ? undefined : billingDay)

const firstAnchor = (subscription: Paused, per: Interval): Date =>
  anchorOnDay(fixedQuotaAnchor(subscription), per, dayOfMonth(subscription), subscription.timeZone)

/** The anchor of quotas `per` so long: each pause has moved those that ran then. */
export const allowanceAnchor = (subscription: Paused, per: Interval): Date =>
  (subscription.pauses ?? []).reduce((anchor, pause) => afterPause(anchor, per, subscription.timeZone, pause), firstAnchor(subscription, per))

/**
 * The allowance that contains `at`, of quotas `per` so long. What ran when a pause began goes on until its moved end,
 * however the calendar would divide the time before that.
 */
export const allowanceAt = (subscription: Paused, per: Interval, at: Date): Period => {
  const { timeZone } = subscription
  let anchor = firstAnchor(subscription, per)
  let moved: Period | undefined
  for (const pause of subscription.pauses ?? []) {
    if (pause.to > at) break
    anchor = moved && pause.from < moved.end ? movedBy(moved.end, pause.from, pause.to, timeZone) : afterPause(anchor, per, timeZone, pause)
    moved = { start: pause.to, end: anchor }
  }
  return moved && at < moved.end ? moved : quotaPeriodAt(anchor, per, timeZone, at)
}

/** The quota anchors with another pause that is over. */
export const withPause = (subscription: Paused, from: Date, to: Date): Pick<Subscription, 'quotaAnchor' | 'pauses'> => {
  const pauses = [...(subscription.pauses ?? []), { from, to }]
  const [oldest] = pauses
  const anchor = fixedQuotaAnchor(subscription)
  if (pauses.length <= MAX_PAUSES || !oldest) return { quotaAnchor: anchor, pauses }
  // Counted in years, the day of the month and the month are kept for all shorter ones.
  return { quotaAnchor: afterPause(anchor, 'year', subscription.timeZone, oldest), pauses: pauses.slice(1) }
}
