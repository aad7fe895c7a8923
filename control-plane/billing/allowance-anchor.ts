/** What the periods of quotas are counted from. Pure. */
import { anchorOnDay, type Interval, movedBy, type Period, period, periodIndexAt } from '../../common/calendar.ts'
import type { Subscription } from '../schemas/subscription.ts'

type Paused = Pick<Subscription, 'anchor' | 'quotaAnchor' | 'billingDay' | 'timeZone' | 'pauses'>

/** More pauses than anybody makes in the longest period of a quota; older ones are reckoned into the anchor. */
const MAX_PAUSES = 100

export const quotaPeriodAt = (anchor: Date, per: Interval, timeZone: string, at: Date): Period => {
  const cycle = { anchor, interval: per, count: 1, timeZone }
  return period(cycle, periodIndexAt(cycle, at))
}

/** The end of the period that ran when the pause began, moved by as long as it lasted. */
const afterPause = (anchor: Date, per: Interval, timeZone: string, { from, to }: { from: Date; to: Date }): Date =>
  movedBy(quotaPeriodAt(anchor, per, timeZone, from).end, from, to, timeZone)

/** A change of the billing interval moves no allowance: it is the anchor of before that counts on. */
export const fixedQuotaAnchor = ({ quotaAnchor, anchor }: Pick<Paused, 'quotaAnchor' | 'anchor'>): Date => quotaAnchor ?? anchor

/** For quotas `per` so long: each pause has moved what ran then. */
export const allowanceAnchor = ({ billingDay, timeZone, pauses, ...anchors }: Paused, per: Interval): Date =>
  (pauses ?? []).reduce(
    (anchor, pause) => afterPause(anchor, per, timeZone, pause),
    anchorOnDay(fixedQuotaAnchor(anchors), per, billingDay ?? undefined, timeZone),
  )

/** With another pause that is over. */
export const withPause = (subscription: Paused, from: Date, to: Date): Pick<Subscription, 'quotaAnchor' | 'pauses'> => {
  const pauses = [...(subscription.pauses ?? []), { from, to }]
  const [oldest] = pauses
  const anchor = fixedQuotaAnchor(subscription)
  if (pauses.length <= MAX_PAUSES || !oldest) return { quotaAnchor: anchor, pauses: pauses as Subscription['pauses'] }
  // Counted in years, the day of the month and the month are kept for all shorter ones.
  return { quotaAnchor: afterPause(anchor, 'year', subscription.timeZone, oldest), pauses: pauses.slice(1) as Subscription['pauses'] }
}
