/**
 * What was used when, by the hour. Pure.
 *
 * The write that counts a use also notes it in the same document, as pending (`note`). Later, what is pending moves to a
 * document per entitlement and month (`flush-counters.ts`). Each thing noted has a number; the number is closed before anything of
 * it moves (`close`), so that what moves does not change on the way, and a month remembers the highest number that it holds
 * (`addTo`). So a process may die between any two writes, and two may move the same at once: each use is in a month once.
 */
import { HOUR_MS } from '../../common/durations.ts'
import { MAX_COUNT } from '../../common/entitlements/model.ts'
import type { UsageEntry } from '../entitlements/allowances.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import type { UsageMonth } from '../schemas/usage-history.ts'

export type PendingUse = NonNullable<UsageCounters['pending']>[number]

/** A use that is counted, or, with fewer than no units, one that is taken back. */
export interface NotedUse {
  key: string
  at: Date
  units: number
}

/** One write in so long moves what was noted meanwhile; those who read the history see it at once. */
const MOVED_AFTER_MS = 10 * 60_000
/** The counters stay small: an entitlement has one entry per hour, so that this many are of many keys, or of events that came late. */
export const MAX_PENDING = 256

export const earlier = (a: Date | undefined, b: Date): Date => (a && a < b ? a : b)

const hourOf = (at: Date): Date => new Date(Math.floor(at.getTime() / HOUR_MS) * HOUR_MS)

const plus = (a: number, b: number): number => Math.max(-MAX_COUNT, Math.min(MAX_COUNT, a + b))

/**
 * The counters with these uses noted: for the same write that counts them.
 * @param systemNow by which it is told when they are to move.
 */
export const note = (counters: UsageCounters, uses: readonly NotedUse[], systemNow: Date): UsageCounters => {
  const noted = uses.filter(({ units }) => units !== 0)
  if (noted.length === 0) return counters
  // Higher than in counters of this customer that were removed: a month may still hold their numbers.
  const seq = counters.pendingSeq ?? systemNow.getTime()
  const pending = new Map((counters.pending ?? []).map((one) => [`${one.seq} ${one.hour.getTime()} ${one.key}`, one]))
  for (const { key, at, units } of noted) {
    const hour = hourOf(at)
    const name = `${seq} ${hour.getTime()} ${key}`
    pending.set(name, { key, hour, units: plus(pending.get(name)?.units ?? 0, units), seq })
  }
  const moveAt = counters.moveAt ?? new Date(systemNow.getTime() + MOVED_AFTER_MS)
  return { ...counters, pending: [...pending.values()], pendingSeq: seq, moveAt, repairAt: earlier(counters.repairAt, moveAt) }
}

/** The counters with the running number closed. Undefined: nothing has it. */
export const close = (counters: UsageCounters): UsageCounters | undefined => {
  const { pending = [], pendingSeq } = counters
  return pendingSeq !== undefined && pending.some(({ seq }) => seq === pendingSeq) ? { ...counters, pendingSeq: pendingSeq + 1 } : undefined
}

export const isClosed = ({ pendingSeq = 0 }: Pick<UsageCounters, 'pendingSeq'>, { seq }: PendingUse): boolean => seq < pendingSeq

/** The counters without what has been moved. @param moved as they were when it was. */
export const withoutMoved = (counters: UsageCounters, moved: UsageCounters, systemNow: Date): UsageCounters => {
  const pending = (counters.pending ?? []).filter((one) => !isClosed(moved, one))
  const { moveAt: _, ...rest } = counters
  return { ...rest, pending, ...(pending.length === 0 ? {} : { moveAt: new Date(systemNow.getTime() + MOVED_AFTER_MS) }) }
}

/** How the places of capacities that are occupied have changed. */
export const placesChanged = (before: readonly UsageEntry[], after: readonly UsageEntry[], at: Date): NotedUse[] => {
  const changes = new Map<string, number>()
  for (const { key, used, until } of after) if (!until) changes.set(key, used)
  for (const { key, used, until } of before) if (!until) changes.set(key, (changes.get(key) ?? 0) - used)
  return [...changes].map(([key, units]) => ({ key, at, units }))
}

const monthOf = (at: Date): Date => new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth()))
export const monthAfter = (month: Date): Date => new Date(Date.UTC(month.getUTCFullYear(), month.getUTCMonth() + 1))

/** What is pending of one entitlement and month. */
export interface PendingMonth {
  key: string
  month: Date
  uses: PendingUse[]
}

export const byMonth = (pending: readonly PendingUse[]): PendingMonth[] => {
  const months = new Map<string, PendingMonth>()
  for (const use of pending) {
    const month = monthOf(use.hour)
    const name = `${month.getTime()} ${use.key}`
    const known = months.get(name)
    if (known) known.uses.push(use)
    else months.set(name, { key: use.key, month, uses: [use] })
  }
  return [...months.values()]
}

/** The hours of a month with what is pending of it, unless it holds that already. */
export const addTo = <M extends Pick<UsageMonth, 'month' | 'hours' | 'seq'>>(month: M, uses: readonly PendingUse[]): M => {
  const fresh = uses.filter(({ seq }) => seq > month.seq)
  const hours = [...month.hours]
  for (const { hour, units } of fresh) {
    const n = Math.floor((hour.getTime() - month.month.getTime()) / HOUR_MS)
    while (hours.length <= n) hours.push(0)
    hours[n] = plus(hours[n] ?? 0, units)
  }
  return { ...month, hours, seq: fresh.reduce((highest, { seq }) => Math.max(highest, seq), month.seq) }
}

/** The hours in which something was used, the earliest first. */
export const hoursIn = ({ month, hours }: Pick<UsageMonth, 'month' | 'hours'>): { start: Date; used: number }[] =>
  hours.flatMap((used, n) => (used === 0 ? [] : [{ start: new Date(month.getTime() + n * HOUR_MS), used }]))

export interface UsageBucket {
  start: Date
  end: Date
  used: number
}

/** What was used in each of these spans, which follow on each other: an hour counts where it begins. */
export const bucketsOf = (spans: readonly { start: Date; end: Date }[], hours: readonly { start: Date; used: number }[]): UsageBucket[] => {
  const sorted = hours.toSorted((a, b) => a.start.getTime() - b.start.getTime())
  let next = sorted.findIndex(({ start }) => spans[0] && start >= spans[0].start)
  return spans.map(({ start, end }) => {
    let used = 0
    for (let hour = sorted[next]; hour && hour.start < end; hour = sorted[next]) {
      used = plus(used, hour.used)
      next += 1
    }
    return { start, end, used }
  })
}
