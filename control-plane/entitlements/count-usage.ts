/** Counting what was used: which allowance a use is taken from, and which it is given back to. Pure. */
import type { Interval } from '../../common/calendar.ts'
import { type Grant, MAX_COUNT, sourceIdOf } from '../../common/entitlements/model.ts'
import { fieldError } from '../../common/errors.ts'
import { allowanceNow, allowanceTime, countStandsUntil, type Holder, heirOf, type UsageEntry } from './allowances.ts'

export type UsageChange = { add: number } | { set: number }

/** The entries after a change, and by how much it changed what is used. */
export interface Counted {
  entries: UsageEntry[]
  units: number
}

/** A holder's allowance of one key, as far as it is used. */
export interface Allowance {
  holderId: string
  per: Interval
  /** Null: unlimited. */
  limit: number | null
  start: Date
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

/**
 * A capacity is occupied until it is given back: one count for all subscriptions that have it.
 * @param byHolders what of it holders occupy, who give it back themselves.
 */
export const countCapacity = (entries: readonly UsageEntry[], key: string, change: UsageChange, byHolders = 0): UsageEntry[] => {
  const isThis = (entry: UsageEntry): boolean => entry.key === key && !entry.until
  const used = totalAfter(entries.find(isThis)?.used ?? 0, change)
  if (used < byHolders)
    throw fieldError('invalid_request', 'set' in change ? 'used' : 'amount', `holders occupy ${byHolders}; release them, rather than report less than that`)
  return [...entries.filter((entry) => !isThis(entry)), { key, used }]
}

/** An unlimited allowance costs nothing to take from; among the others, the one that ends first would be lost first. */
const inOrderOfTaking = (a: Allowance, b: Allowance): number =>
  Number(a.limit !== null) - Number(b.limit !== null) || a.end.getTime() - b.end.getTime() || (a.holderId < b.holderId ? -1 : 1)

/** Takes from one after another as far as each goes; what is beyond all of them counts with the last. */
export const take = (allowances: readonly Allowance[], amount: number): Allowance[] => {
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

export interface HeldQuota {
  grant: Grant
  holder: Holder
}

/** The quotas, each with its holder. */
export const heldBy = (quotas: readonly Grant[], holders: readonly Holder[]): HeldQuota[] =>
  quotas.flatMap((grant) => {
    const holder = holders.find(({ id }) => id === sourceIdOf(grant))
    return holder ? [{ grant, holder }] : []
  })

/** What the counts of one key are decided from. */
export interface Counting {
  key: string
  /** The quotas of the key that are counted, each with its holder. */
  held: readonly HeldQuota[]
  /** All that `sourcesOf` names: a count of a subscription whose credit was taken over is its heir's. */
  holders: readonly Holder[]
  now: Date
}

/** Whether a count is taken from the allowance of this subscription, of a quota `per` so long. */
const isOf = ({ held, holders }: Counting, entry: UsageEntry, id: string, per: string): boolean => {
  const isHolder = (holder: string): boolean => held.some(({ holder: one }) => one.id === holder)
  return (entry.per ?? per) === per && Boolean(entry.subscriptionId) && heirOf(entry.subscriptionId ?? '', holders, isHolder)?.id === id
}

/** The running allowances of a key, in the order in which they are taken from. Each quota counts in a period of its own. */
export const allowancesOf = (entries: readonly UsageEntry[], counting: Counting): Allowance[] => {
  const { key, held, holders, now } = counting
  const ofKey = entries.filter((entry) => entry.key === key && entry.until)
  const allowances = held
    .flatMap(({ grant: { terms }, holder }): Allowance[] => {
      if (terms.kind !== 'quota') return []
      const { per, limit } = terms
      const at = allowanceTime(holder, now)
      const { start, end } = allowanceNow(holder, per, now)
      const running = ofKey.filter((entry) => {
        const counted = holders.find(({ id }) => id === entry.subscriptionId) ?? holder
        return entry.until && isOf(counting, entry, holder.id, per) && countStandsUntil({ until: entry.until, at: entry.at }, counted, per) > at
      })
      // Told late, by a clock that is behind: what was counted since stays counted where it was.
      const latest = running.reduce((last, entry) => (entry.at && entry.at > last ? entry.at : last), at)
      const own = running.find((entry) => entry.subscriptionId === holder.id && entry.at && entry.at > at)
      const used = running.reduce((sum, entry) => sum + entry.used, 0)
      const window = own?.until ? { start: own.until > end ? end : start, end: own.until } : { start, end }
      return [{ holderId: holder.id, per, limit, ...window, at: latest, used }]
    })
    .sort(inOrderOfTaking)
  // Counted before allowances were told apart: taken from them as it would be now.
  const untold = ofKey.find(({ subscriptionId, until }) => !subscriptionId && until && until > now)?.used ?? 0
  return take(allowances, untold)
}

/** The entries with these allowances in place of what was counted of them. */
export const entriesWith = (entries: readonly UsageEntry[], allowances: readonly Allowance[], counting: Counting): UsageEntry[] => {
  const { key } = counting
  const counted = allowances.map(({ holderId, per, end, at, used }): UsageEntry => ({ key, used, per, until: end, at, subscriptionId: holderId }))
  const isCounted = (entry: UsageEntry): boolean =>
    entry.key === key && Boolean(entry.until) && (!entry.subscriptionId || allowances.some(({ holderId, per }) => isOf(counting, entry, holderId, per)))
  return [...entries.filter((entry) => !isCounted(entry)), ...counted]
}

/**
 * @param unspent what is counted because it is lent, and was not used yet: it stays counted, whatever is reported.
 * @throws AppError `invalid_request` when less than nothing, or more than can be counted, would be used.
 */
export const countQuota = (entries: readonly UsageEntry[], counting: Counting, change: UsageChange, unspent = 0): Counted => {
  const before = allowancesOf(entries, counting)
  const used = before.reduce((sum, allowance) => sum + allowance.used, 0)
  const shown = Math.max(0, used - unspent)
  const total = totalAfter(shown, change) + unspent
  const empty = before.map((allowance) => ({ ...allowance, used: 0 }))
  const after = 'set' in change ? take(empty, total) : total >= used ? take(before, total - used) : giveBack(before, used - total)
  return { entries: entriesWith(entries, after, counting), units: total - unspent - shown }
}
