/**
 * Allowances: what the quotas of a subscription, or of a grant by hand, allow in one of their periods. A subscription's
 * belong to time that is paid for: a pause moves the running one by as long as it lasts, with what has been used of it, and a
 * change of the billing interval leaves it where it is. Pure.
 */
import { type Interval, movedBy, type Period } from '../../common/calendar.ts'
import type { Usage } from '../../common/entitlements/model.ts'
import { allowanceAt } from '../billing/allowance-anchor.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import type { Subscription } from '../schemas/subscription.ts'

export type UsageEntry = UsageCounters['entries'][number]
type Paused = Parameters<typeof allowanceAt>[0]

/** Whose allowances uses are taken from: a subscription, or a grant by hand. */
export type Holder = Paused & Pick<Subscription, 'id' | 'status' | 'pausedAt' | 'entitlements' | 'inherited'> & { isGrant?: true }

/** Until when a count stands: the end of the allowance that it was taken from, wherever pauses have moved that since. */
export const countStandsUntil = (entry: { until: Date; at: Date | undefined }, subscription: Paused, per: Interval): Date => {
  const { timeZone, pauses } = subscription
  let until = entry.until
  let at = entry.at ?? new Date(until.getTime() - 1)
  for (const { from, to } of pauses ?? []) {
    if (to <= at) continue
    // Its period was over when the pause began.
    if (until <= from) return until
    until = movedBy(until, from, to, timeZone)
    at = to
  }
  return allowanceAt(subscription, per, at).end
}

/** The time that counts for allowances: it stands still in a pause. */
export const allowanceTime = ({ status, pausedAt }: Pick<Subscription, 'status' | 'pausedAt'>, now: Date): Date =>
  status === 'paused' && pausedAt ? pausedAt : now

/** The allowance that runs now, of a quota `per` so long. */
export const allowanceNow = (subscription: Paused & Pick<Subscription, 'status' | 'pausedAt'>, per: Interval, now: Date): Period =>
  allowanceAt(subscription, per, allowanceTime(subscription, now))

const perOf = ({ entitlements }: Pick<Holder, 'entitlements'>, key: string): Interval | undefined => {
  const found = entitlements.find((one) => one.key === key)
  return found?.kind === 'quota' ? (found.per ?? 'month') : undefined
}

/** Whose allowance a count is taken from now: also that of the subscription which took over the credit of the one that it was counted for. */
export const heirOf = (sourceId: string, holders: readonly Holder[], isHolder: (id: string) => boolean): Holder | undefined => {
  const own = holders.find(({ id }) => id === sourceId)
  if (own && isHolder(own.id)) return own
  const next = holders.find(({ inherited }) => inherited?.some((one) => one.subscriptionId === sourceId))
  return next && (isHolder(next.id) ? next : heirOf(next.id, holders, isHolder))
}

/** What has been used, as it is published: of keys that the customer holds. */
export const usageOf = (entries: readonly UsageEntry[], holders: readonly Holder[], isHeld: (key: string, sourceId?: string) => boolean): Usage[] =>
  entries.flatMap(({ key, used, until, at, per: countedPer, subscriptionId }): Usage[] => {
    if (!isHeld(key)) return []
    if (!until) return [{ key, used }]
    if (!subscriptionId) return [{ key, used, untilMs: until.getTime() }]
    const holder = heirOf(subscriptionId, holders, (id) => isHeld(key, id))
    const per = holder && perOf(holder, key)
    if (!holder || !per || (countedPer ?? per) !== per) return []
    const counted = holders.find(({ id }) => id === subscriptionId) ?? holder
    const whose = holder.isGrant ? { subscriptionId: '', sourceId: holder.id } : { subscriptionId: holder.id }
    return [{ key, used, ...whose, untilMs: countStandsUntil({ until, at }, counted, per).getTime() }]
  })
