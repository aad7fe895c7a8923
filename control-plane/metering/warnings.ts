/**
 * What is said of a limit that is nearly used, or passed: once per share and window, however often it is crossed. Pure. It is
 * kept in the counters, by the write that counts.
 */
import { plus, sourceIdOf } from '../../common/entitlements/model.ts'
import { allowancesOf } from '../entitlements/count-usage.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import { livingPlaces, placesOf, usedOf } from './holders.ts'
import { spentEntries } from './ledger.ts'
import { limitOf, type QuotaSources } from './quota-of.ts'

export type UsageWarning = NonNullable<UsageCounters['warned']>[number]

/** The oldest are forgotten beyond it: each share is a hundred bytes. */
const MAX_WARNINGS = 500
/** The share at which a limit is passed: told of every limit. */
const ALL = 100

interface Level {
  limit: number | null
  used: number
  /** The end of the window; undefined for a capacity. */
  until: Date | undefined
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => plus(total, one), 0)

/** What is used of a key now, as it is shown, and its limit. */
const levelOf = (counters: UsageCounters, key: string, { current, holders, capacities, now }: QuotaSources, systemNow: Date): Level | undefined => {
  const living = livingPlaces(placesOf(counters), now)
  if (current.length > 0) {
    const spent = spentEntries({ entries: living.entries, borrowers: counters.borrowers ?? [] }, now, systemNow)
    const allowances = allowancesOf(spent, { key, held: current, holders, now })
    const until = new Date(Math.min(...allowances.map(({ end }) => end.getTime())))
    return { limit: limitOf(allowances.map(({ limit }) => limit)), used: sum(allowances.map(({ used }) => used)), until }
  }
  return capacities.length === 0 ? undefined : { limit: limitOf(capacities), used: usedOf(living.entries, key), until: undefined }
}

/** The shares that whoever gives the key wants to hear of. */
const sharesOf = (key: string, { counting, holders }: QuotaSources): Set<number> => {
  const sources = new Set(counting.map(sourceIdOf))
  const entitlements = holders.filter(({ id }) => sources.has(id)).flatMap((holder) => holder.entitlements.filter((one) => one.key === key))
  return new Set(entitlements.flatMap(({ warnAt }) => warnAt ?? []))
}

/** Those that may be given again go first: as long as one stands, it is not. */
const kept = (warnings: readonly UsageWarning[], now: Date): UsageWarning[] => {
  let tooMany = warnings.length - MAX_WARNINGS
  const isDone = ({ until, over }: UsageWarning): boolean => over === true || (until !== undefined && until <= now)
  const standing = warnings.filter((one) => {
    if (tooMany <= 0 || !isDone(one)) return true
    tooMany -= 1
    return false
  })
  return standing.slice(-MAX_WARNINGS)
}

/** @returns the warnings of the counters with those of what has been counted. */
const warningsOf = (counters: UsageCounters, key: string, sources: QuotaSources, systemNow: Date): UsageWarning[] | undefined => {
  const { warned = [] } = counters
  const level = levelOf(counters, key, sources, systemNow)
  if (!level || level.limit === null) return counters.warned
  const { limit, used, until } = level
  const { now } = sources
  const isReached = (share: number): boolean => used > 0 && BigInt(used) * 100n >= BigInt(limit) * BigInt(share)
  const isOf = (one: UsageWarning, type: UsageWarning['type'], share: number): boolean =>
    one.key === key && one.type === type && one.share === share && (one.until ? one.until > now : !one.over)
  // What holds a place may leave again: then the next time is another one.
  const left = warned.map((one) =>
    one.key === key && !one.until && !one.over && !(one.type === 'over_limit' ? used > limit : isReached(one.share)) ? { ...one, over: true } : one,
  )
  const wanted = [
    ...[...sharesOf(key, sources)].filter(isReached).map((share) => ({ type: 'threshold' as const, share })),
    ...(used > limit ? [{ type: 'over_limit' as const, share: ALL }] : []),
  ]
  const made = wanted
    .filter(({ type, share }) => !left.some((one) => isOf(one, type, share)))
    .toSorted((a, b) => a.share - b.share)
    .map(({ type, share }): UsageWarning => ({ key, type, share, at: now, used, limit, ...(until ? { until } : {}) }))
  if (made.length === 0 && left.every((one, n) => one === warned[n])) return counters.warned
  return kept([...left, ...made], now)
}

/** The counters as they are to be stored, with the warnings of what has been counted of a key. */
export const withWarnings = (counters: UsageCounters, key: string, sources: QuotaSources, systemNow: Date): UsageCounters => {
  const warned = warningsOf(counters, key, sources, systemNow)
  return warned === counters.warned || warned === undefined ? counters : { ...counters, warned }
}
