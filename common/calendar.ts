/**
 * Billing dates: always `anchor + n × interval` on the wall clock of a time zone, never chained, so that
 * Jan 31 → Feb 28 → Mar 31 (https://docs.stripe.com/billing/subscriptions/billing-cycle). Periods are half-open.
 * A wall-clock time that daylight saving skips or repeats is resolved as RFC 5545 and Temporal do ("compatible").
 */
import { Temporal } from 'temporal-polyfill'
import { HOUR_MS } from './durations.ts'

export const intervals = ['day', 'week', 'month', 'quarter', 'year'] as const
export type Interval = (typeof intervals)[number]

/** A repeating span of time that starts at `anchor`. `count` intervals make one period. */
export interface Cycle {
  anchor: Date
  interval: Interval
  count: number
  timeZone: string
  /**
   * For cycles of months and longer: periods begin on this day of the month, at its first instant; in a month that is
   * shorter, on its last. `anchor` is one such beginning. Absent: on the anchor's own day and time.
   */
  day?: number | undefined
}

export interface Period {
  start: Date
  end: Date
}

const inZone = (instant: Date, timeZone: string) => Temporal.Instant.fromEpochMilliseconds(instant.getTime()).toZonedDateTimeISO(timeZone)

const duration = (interval: Interval, n: number): Temporal.DurationLike => {
  switch (interval) {
    case 'day':
      return { days: n }
    case 'week':
      return { weeks: n }
    case 'month':
      return { months: n }
    case 'quarter':
      return { months: 3 * n }
    case 'year':
      return { years: n }
    default:
      return interval satisfies never
  }
}

/** The start of period `n` (which may be negative): anchor + n × count × interval. */
export const periodStart = (cycle: Cycle, n: number): Date => {
  const start = inZone(cycle.anchor, cycle.timeZone).add(duration(cycle.interval, n * cycle.count))
  return new Date(cycle.day === undefined ? start.epochMilliseconds : onDay(start, cycle.day).epochMilliseconds)
}

const onDay = (at: Temporal.ZonedDateTime, day: number): Temporal.ZonedDateTime => at.with({ day: Math.min(day, at.daysInMonth) }).startOfDay()

/**
 * The first beginning, at or after `from`, of a cycle that begins on a fixed day: of the week (1 is Monday) for weeks,
 * else of the month (31 is the last).
 */
const firstOnDay = (from: Date, interval: Exclude<Interval, 'day'>, day: number, timeZone: string): Date => {
  const start = inZone(from, timeZone)
  const isPast = (at: Temporal.ZonedDateTime) => at.epochMilliseconds < from.getTime()
  if (interval === 'week') {
    const thisWeek = start.startOfDay().add({ days: day - start.dayOfWeek })
    return new Date((isPast(thisWeek) ? thisWeek.add({ weeks: 1 }) : thisWeek).epochMilliseconds)
  }
  const thisMonth = onDay(start, day)
  return new Date((isPast(thisMonth) ? onDay(start.with({ day: 1 }).add({ months: 1 }), day) : thisMonth).epochMilliseconds)
}

/**
 * The beginning that a cycle of a fixed day is counted from, for who begins at `from`: the last such day within one
 * period of it. What comes before is a piece of a period, and never longer than one: a month to the day in this month or
 * the next, and nearly a year for years, not a few weeks and then a year besides.
 */
export const lastOnDay = (from: Date, interval: Exclude<Interval, 'day'>, count: number, day: number, timeZone: string): Date => {
  const first = firstOnDay(from, interval, day, timeZone)
  if (first.getTime() === from.getTime()) return from
  const end = inZone(from, timeZone).add(duration(interval, count))
  const step = interval === 'week' ? { weeks: 1 } : { months: 1 }
  const inLast = (at: Temporal.ZonedDateTime) => (interval === 'week' ? at.startOfDay().add({ days: day - at.dayOfWeek }) : onDay(at, day))
  const candidate = inLast(end)
  const last = candidate.epochMilliseconds <= end.epochMilliseconds ? candidate : inLast((interval === 'week' ? end : end.with({ day: 1 })).subtract(step))
  return last.epochMilliseconds < first.getTime() ? first : new Date(last.epochMilliseconds)
}

/**
 * A beginning of the same cycle on `day` itself, from which later ones are counted without loss: a cycle of the 31st that
 * was begun on February 29 returns to the 31st.
 */
export const anchorOnDay = (anchor: Date, interval: Interval, day: number | undefined, timeZone: string): Date => {
  if (day === undefined || interval === 'day' || interval === 'week' || inZone(anchor, timeZone).day >= day) return anchor
  // For yearly intervals there may be none: periods that begin in a shorter month stay on its last day.
  for (let n = 1; n <= 12; n += 1) {
    const earlier = periodStart({ anchor, interval, count: 1, timeZone, day }, -n)
    if (inZone(earlier, timeZone).day === day) return earlier
  }
  return anchor
}

/**
 * `at`, moved by the time between two instants as the calendar counts it: whole days, and hours of the clock. A pause of
 * 15 days moves midnight to midnight, whatever daylight saving does meanwhile.
 */
export const movedBy = (at: Date, from: Date, to: Date, timeZone: string): Date => {
  const passed = inZone(from, timeZone).until(inZone(to, timeZone), { largestUnit: 'day' })
  return new Date(inZone(at, timeZone).add(passed).epochMilliseconds)
}

/** Calendar days from one instant to another in a time zone; one of 23 or 25 hours is a day. */
export const daysBetween = (from: Date, to: Date, timeZone: string): number =>
  inZone(from, timeZone).toPlainDate().until(inZone(to, timeZone).toPlainDate(), { largestUnit: 'day' }).days

export const period = (cycle: Cycle, n: number): Period => ({ start: periodStart(cycle, n), end: periodStart(cycle, n + 1) })

/** The index of the period that contains `at`. */
export const periodIndexAt = (cycle: Cycle, at: Date): number => {
  const anchor = inZone(cycle.anchor, cycle.timeZone)
  const unit = cycle.interval === 'quarter' ? 'month' : cycle.interval
  const elapsed = anchor.until(inZone(at, cycle.timeZone), { largestUnit: unit, smallestUnit: unit, roundingMode: 'floor' })
  const units = { day: elapsed.days, week: elapsed.weeks, month: elapsed.months, year: elapsed.years }[unit]
  let n = Math.floor(units / (cycle.count * (cycle.interval === 'quarter' ? 3 : 1)))
  // The estimate can be one off where a month end was clamped; the definition decides.
  while (periodStart(cycle, n) > at) n -= 1
  while (periodStart(cycle, n + 1) <= at) n += 1
  return n
}

/** The date on the calendar of `timeZone` at `instant`, as YYYY-MM-DD. */
export const localDate = (instant: Date, timeZone: string): string => inZone(instant, timeZone).toPlainDate().toString()

/** The first instant of a YYYY-MM-DD date in `timeZone`. @throws RangeError for a date that does not exist. */
export const startOfLocalDate = (date: string, timeZone: string): Date => new Date(Temporal.PlainDate.from(date).toZonedDateTime(timeZone).epochMilliseconds)

/** A YYYY-MM-DD date as its first instant in `timeZone`, or an instant as it is. @throws RangeError for a date that does not exist. */
export const dateIn = (text: string, timeZone: string): Date => (/^\d{4}-\d\d-\d\d$/.test(text) ? startOfLocalDate(text, timeZone) : new Date(text))

/**
 * The hours, or the days or months of a time zone, that the time from `from` up to `to` touches. Hours are those of UTC.
 * @param most of them. @returns undefined when there are more.
 */
export const spansOf = (from: Date, to: Date, unit: 'hour' | 'day' | 'month', timeZone: string, most: number): Period[] | undefined => {
  const starts = unit === 'hour' ? hoursFrom(from) : datesFrom(from, unit, timeZone)
  const spans: Period[] = []
  let [start, next] = [starts(0), starts(1)]
  while (start < to) {
    if (spans.length === most) return undefined
    spans.push({ start, end: next })
    start = next
    next = starts(spans.length + 1)
  }
  return spans
}

const hoursFrom = (from: Date) => {
  const firstMs = Math.floor(from.getTime() / HOUR_MS) * HOUR_MS
  return (n: number): Date => new Date(firstMs + n * HOUR_MS)
}

const datesFrom = (from: Date, unit: 'day' | 'month', timeZone: string) => {
  const date = inZone(from, timeZone).toPlainDate()
  const first = unit === 'month' ? date.with({ day: 1 }) : date
  return (n: number): Date => new Date(first.add(duration(unit, n)).toZonedDateTime(timeZone).epochMilliseconds)
}

export const isTimeZone = (name: string): boolean => {
  try {
    Temporal.Instant.fromEpochMilliseconds(0).toZonedDateTimeISO(name)
    // Offsets such as +02:00 are accepted by Temporal, but have no daylight saving: not what a storefront means.
    return !/^[+-]/.test(name)
  } catch {
    return false
  }
}
