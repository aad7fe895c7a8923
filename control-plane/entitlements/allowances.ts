/**
 * Allowances: what a subscription's quotas allow in one of their periods. An allowance belongs to time that is paid for:
 * a pause moves the running one by as long as it lasts, with what has been used of it, and a change of the billing
 * interval leaves it where it is. Pure.
 */
import { type Interval, movedBy, type Period } from '../../common/calendar.ts'
import type { Usage } from '../../common/entitlements/model.ts'
import { allowanceAt } from '../billing/allowance-anchor.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import type { Subscription } from '../schemas/subscription.ts'

export type UsageEntry = UsageCounters['entries'][number]
type Paused = Parameters<typeof allowanceAt>[0]

/** The time until which a count stands: the end of the allowance that it was taken from, wherever pauses have moved that since. */
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

const perOf = ({ entitlements }: Pick<Subscription, 'entitlements'>, key: string): Interval | undefined => {
  const found = entitlements.find((one) => one.key === key)
  return found?.kind === 'quota' ? (found.per ?? 'month') : undefined
}

/** The subscription whose allowance a count is taken from now: also one that took over the credit of the one that it was counted for. */
export const heirOf = (subscriptionId: string, subscriptions: readonly Subscription[], isHolder: (id: string) => boolean): Subscription | undefined => {
  const own = subscriptions.find(({ id }) => id === subscriptionId)
  if (own && isHolder(own.id)) return own
  const next = subscriptions.find(({ inherited }) => inherited?.some((one) => one.subscriptionId === subscriptionId))
  return next && (isHolder(next.id) ? next : heirOf(next.id, subscriptions, isHolder))
}

/** The usage as it is published: of keys that the customer holds. */
export const usageOf = (
  entries: readonly UsageEntry[],
  subscriptions: readonly Subscription[],
  isHeld: (key: string, subscriptionId?: string) => boolean,
): Usage[] =>
  entries.flatMap(({ key, used, until, at, per: countedPer, subscriptionId }): Usage[] => {
    if (!isHeld(key)) return []
    if (!until) return [{ key, used }]
    if (!subscriptionId) return [{ key, used, untilMs: until.getTime() }]
    const holder = heirOf(subscriptionId, subscriptions, (id) => isHeld(key, id))
    const per = holder && perOf(holder, key)
    if (!holder || !per || (countedPer ?? per) !== per) return []
    const counted = subscriptions.find(({ id }) => id === subscriptionId) ?? holder
    return [{ key, used, subscriptionId: holder.id, untilMs: countStandsUntil({ until, at }, counted, per).getTime() }]
  })
