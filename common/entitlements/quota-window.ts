import { LRUCache } from 'lru-cache'
import { period, periodIndexAt } from '../calendar.ts'
import type { GrantTerms, QuotaWindow } from './model.ts'

type QuotaTerms = Pick<Extract<GrantTerms, { kind: 'quota' }>, 'anchorMs' | 'per' | 'timeZone' | 'window'>

/** Calendar arithmetic costs tens of microseconds, so what was worked out lately is remembered until time leaves it. */
const remembered = new LRUCache<string, QuotaWindow>({ max: 10_000 })

const holds = (window: QuotaWindow | undefined, nowMs: number): window is QuotaWindow => window !== undefined && window.startMs <= nowMs && nowMs < window.endMs

/** The quota period [start, end) that contains `nowMs`. */
export const quotaWindow = (terms: QuotaTerms, nowMs: number): QuotaWindow => {
  if (holds(terms.window, nowMs)) return terms.window
  const key = `${terms.anchorMs} ${terms.per} ${terms.timeZone}`
  const known = remembered.get(key)
  if (holds(known, nowMs)) return known
  const cycle = { anchor: new Date(terms.anchorMs), interval: terms.per, count: 1, timeZone: terms.timeZone }
  const { start, end } = period(cycle, periodIndexAt(cycle, new Date(nowMs)))
  const window = { startMs: start.getTime(), endMs: end.getTime() }
  remembered.set(key, window)
  return window
}
