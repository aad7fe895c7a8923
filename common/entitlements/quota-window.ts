import { type Period, period, periodIndexAt } from '../calendar.ts'
import type { Terms } from './model.ts'

type QuotaTerms = Extract<Terms, { kind: 'quota' }>

/** Calendar arithmetic costs tens of microseconds, so a grant remembers its window until time leaves it. */
const remembered = new WeakMap<QuotaTerms, Period>()

/** The quota period [start, end) that contains `nowMs`. */
export const quotaWindow = (terms: QuotaTerms, nowMs: number): Period => {
  const known = remembered.get(terms)
  if (known && known.start.getTime() <= nowMs && nowMs < known.end.getTime()) return known
  const cycle = { anchor: new Date(terms.anchorMs), interval: terms.per, count: 1, timeZone: terms.timeZone }
  const window = period(cycle, periodIndexAt(cycle, new Date(nowMs)))
  remembered.set(terms, window)
  return window
}
