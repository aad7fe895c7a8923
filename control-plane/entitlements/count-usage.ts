/** Counting what was used: which allowance a use is taken from, and which it is given back to. Pure. */
import type { Interval } from '../../common/calendar.ts'
import { type Grant, MAX_COUNT } from '../../common/entitlements/model.ts'
import { fieldError } from '../../common/errors.ts'
import type { Subscription } from '../schemas/subscription.ts'
import { allowanceNow, allowanceTime, countStandsUntil, heirOf, type UsageEntry } from './allowances.ts'

export type UsageChange = { add: number } | { set: number }

/** A subscription's allowance of one key, as far as it is used. */
interface Allowance {
  subscriptionId: string
  per: Interval
  /** Null: unlimited. */
  limit: number | null
  end: Date
  at: Date
  used: number
}

const tooMany = (change: UsageChange) =>
  fieldError(
    'invalid_request',
    'set' in change ? 'used' : 'amount',
    `would bring the used amount above ${MAX_COUNT}, the largest number that can be stored exactly`,
  )

const totalAfter = (used: number, change: UsageChange): number => {
  const total = 'set' in change ? change.set : used + change.add
  if (total < 0) throw fieldError('invalid_request', 'amount', `would bring the used amount below zero: ${used} is used now`)
  if (total > MAX_COUNT) throw tooMany(change)
  return total
}

/** A capacity is occupied until it is given back: one count for all subscriptions that have it. */
export const countCapacity = (entries: readonly UsageEntry[], key: string, change: UsageChange): UsageEntry[] => {
  const isThis = (entry: UsageEntry): boolean => entry.key === key && !entry.until
  const used = totalAfter(entries.find(isThis)?.used ?? 0, change)
  return [...entries.filter((entry) => !isThis(entry)), { key, used }]
}

/** What is unlimited costs nothing to take from; of the others the one that ends first would be lost first. */
const inOrderOfTaking = (a: Allowance, b: Allowance): number =>
  Number(a.limit !== null) - Number(b.limit !== null) || a.end.getTime() - b.end.getTime() || (a.subscriptionId < b.subscriptionId ? -1 : 1)

/** Takes from one after another as far as each goes; what is beyond all of them counts with the last. */
const take = (allowances: readonly Allowance[], amount: number): Allowance[] => {
  let left = amount
  return allowances.map((allowance, n) => {
    const free = allowance.limit === null || n === allowances.length - 1 ? left : Math.max(0, allowance.limit - allowance.used)
    const taken = Math.min(left, free)
    left -= taken
    return { ...allowance, used: allowance.used + taken }
  })
}

/** Gives back in the reverse order. The caller has seen to it that there is so much. */
const giveBack = (allowances: readonly Allowance[], amount: number): Allowance[] => {
  let left = amount
  return allowances
    .toReversed()
    .map((allowance) => {
      const given = Math.min(left, allowance.used)
      left -= given
      return { ...allowance, used: allowance.used - given }
    })
    .toReversed()
}

/**
 * Each quota counts in a period of its own.
 * @param grants the quotas of the key that a use is taken from, each with its subscription.
 * @param subscriptions those that `sourcesOf` names: a count of one whose credit was taken over is its heir's.
 * @throws AppError `invalid_request` when less than nothing, or more than can be counted, would be used.
 */
export const countQuota = (
  entries: readonly UsageEntry[],
  key: string,
  grants: readonly { grant: Grant; subscription: Subscription }[],
  subscriptions: readonly Subscription[],
  change: UsageChange,
  now: Date,
): UsageEntry[] => {
  const ofKey = entries.filter((entry) => entry.key === key && entry.until)
  const isHolder = (id: string): boolean => grants.some(({ subscription }) => subscription.id === id)
  const isOf = (entry: UsageEntry, id: string, per: string): boolean =>
    (entry.per ?? per) === per && Boolean(entry.subscriptionId) && heirOf(entry.subscriptionId ?? '', subscriptions, isHolder)?.id === id
  const allowances = grants
    .flatMap(({ grant: { terms }, subscription }): Allowance[] => {
      if (terms.kind !== 'quota') return []
      const { per, limit } = terms
      const at = allowanceTime(subscription, now)
      const { end } = allowanceNow(subscription, per, now)
      const running = ofKey.filter((entry) => {
        const counted = subscriptions.find(({ id }) => id === entry.subscriptionId) ?? subscription
        return entry.until && isOf(entry, subscription.id, per) && countStandsUntil({ until: entry.until, at: entry.at }, counted, per) > at
      })
      // Told late, by a clock that is behind: what was counted since stays counted where it was.
      const latest = running.reduce((last, entry) => (entry.at && entry.at > last ? entry.at : last), at)
      const own = running.find((entry) => entry.subscriptionId === subscription.id && entry.at && entry.at > at)
      return [{ subscriptionId: subscription.id, per, limit, end: own?.until ?? end, at: latest, used: running.reduce((sum, { used }) => sum + used, 0) }]
    })
    .sort(inOrderOfTaking)
  // Counted before allowances were told apart: taken from them as it would be now.
  const untold = ofKey.find(({ subscriptionId, until }) => !subscriptionId && until && until > now)?.used ?? 0
  const before = take(allowances, untold)
  const used = before.reduce((sum, allowance) => sum + allowance.used, 0)
  const total = totalAfter(used, change)
  const empty = allowances.map((allowance) => ({ ...allowance, used: 0 }))
  const after = 'set' in change ? take(empty, total) : total >= used ? take(before, total - used) : giveBack(before, used - total)
  const counted = after.map(({ subscriptionId, per, end, at, used: ofThis }): UsageEntry => ({ key, used: ofThis, per, until: end, at, subscriptionId }))
  const isCounted = (entry: UsageEntry): boolean =>
    entry.key === key && Boolean(entry.until) && (!entry.subscriptionId || allowances.some(({ subscriptionId, per }) => isOf(entry, subscriptionId, per)))
  return [...entries.filter((entry) => !isCounted(entry)), ...counted]
}
