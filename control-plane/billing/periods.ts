/**
 * The billing periods of a subscription: pieces of a grid that its anchor lays over time. A period that does not
 * begin where the grid does (a start before a fixed billing day, an end moved by a pause) is a stub, and costs its
 * share of the whole one.
 */
import { type Cycle, daysBetween, type Interval, lastOnDay, movedBy, periodIndexAt, periodStart } from '../../common/calendar.ts'
import { shareOf } from '../../common/money.ts'
import type { Terms } from '../schemas/bundle.ts'
import type { BillingPeriod, Line } from '../schemas/period.ts'
import type { Subscription } from '../schemas/subscription.ts'

type Billed = Pick<Subscription, 'anchor' | 'billingDay' | 'timeZone' | 'pricing'>

/** Weeks need no `day`: their anchor is on it. */
const cycleOf = ({ anchor, billingDay, timeZone, pricing }: Billed): Cycle => ({
  anchor,
  interval: pricing.interval,
  count: pricing.intervalCount,
  timeZone,
  ...(billingDay && pricing.interval !== 'day' && pricing.interval !== 'week' ? { day: billingDay } : {}),
})

/** The anchor that periods beginning at `from` or later are counted from. */
export const anchorFrom = ({ billingDay, timeZone, pricing: { interval, intervalCount } }: Omit<Billed, 'anchor'>, from: Date): Date =>
  billingDay && interval !== 'day' ? lastOnDay(from, interval, intervalCount, billingDay, timeZone) : from

/** A day of the week is none of the month: a billing day is kept as long as the next terms mean the same by it. */
export const billingDayOn = (subscription: Pick<Billed, 'billingDay' | 'pricing'>, terms: Pick<Terms, 'pricing'>): number | undefined =>
  familyOf(subscription.pricing.interval) === familyOf(terms.pricing.interval) ? subscription.billingDay : undefined

const familyOf = (interval: Interval): 'day' | 'week' | 'month' => (interval === 'day' || interval === 'week' ? interval : 'month')

export const isSameCycle = (a: Pick<Terms, 'pricing'>, b: Pick<Terms, 'pricing'>): boolean =>
  a.pricing.interval === b.pricing.interval && a.pricing.intervalCount === b.pricing.intervalCount

/** The rest, from `from`, of the period that contains it: all of it where one begins there. */
export const periodFrom = (subscription: Billed, from: Date): BillingPeriod => {
  const cycle = cycleOf(subscription)
  const index = periodIndexAt(cycle, from)
  const [wholeStart, wholeEnd] = [periodStart(cycle, index), periodStart(cycle, index + 1)]
  return { index, start: from, end: wholeEnd, wholeStart, wholeEnd }
}

/** The period that contains `at`, none of it before `notBefore`. */
export const periodContaining = (subscription: Billed, at: Date, notBefore: Date): BillingPeriod => {
  const { wholeStart } = periodFrom(subscription, at)
  return periodFrom(subscription, wholeStart > notBefore ? wholeStart : notBefore)
}

export const priceOf = ({ pricing, quantity }: Pick<Terms, 'pricing' | 'quantity'>): number => pricing.amountMinor * quantity

/**
 * The share of `amountMinor`, the price of a whole period, that falls to the time from `from` to the period's end.
 * By day: the day of `from` counts in full, since it belongs to what comes; by second: to the millisecond.
 */
export const shareFrom = (subscription: Pick<Subscription, 'timeZone' | 'billing'>, amountMinor: number, period: BillingPeriod, from: Date): number => {
  const { start, end, wholeStart, wholeEnd } = period
  const first = from > start ? from : start
  if (first >= end) return 0
  if (first.getTime() === wholeStart.getTime() && end.getTime() === wholeEnd.getTime()) return amountMinor
  const whole = lengthOf(subscription, wholeStart, wholeEnd)
  // A whole period within one calendar day cannot be shared out by days.
  if (whole === 0) return amountMinor
  return shareOf(amountMinor, Math.min(lengthOf(subscription, first, end), whole), whole)
}

/** Time that was without access since it was not paid, [from, to). */
export interface OffSpan {
  from: Date
  to: Date
}

/** The part of a period that lies in such times. */
export const withoutAccess = (spans: readonly OffSpan[], { start, end }: Pick<BillingPeriod, 'start' | 'end'>): OffSpan[] =>
  spans.map(({ from, to }) => ({ from: from > start ? from : start, to: to < end ? to : end })).filter(({ from, to }) => from < to)

/** The share of `amountMinor`, the price of a whole period, that falls to the days from one instant of it to another. */
export const shareBetween = (
  subscription: Pick<Subscription, 'timeZone' | 'billing'>,
  amountMinor: number,
  { wholeStart, wholeEnd }: BillingPeriod,
  from: Date,
  to: Date,
): number => {
  const whole = lengthOf(subscription, wholeStart, wholeEnd)
  return whole === 0 || from >= to ? 0 : shareOf(amountMinor, Math.min(lengthOf(subscription, from, to), whole), whole)
}

/** The price of a period, if a whole one costs `amountMinor`: its share, less that of the time it had no access. */
export const billedShare = (
  subscription: Pick<Subscription, 'timeZone' | 'billing'>,
  amountMinor: number,
  period: BillingPeriod,
  spans: readonly OffSpan[],
): number =>
  withoutAccess(spans, period).reduce(
    (share, { from, to }) => Math.max(0, share - shareBetween(subscription, amountMinor, period, from, to)),
    shareFrom(subscription, amountMinor, period, period.start),
  )

/** Like `shareFrom`, for changes within a period: its last day counts, however little is left of it. */
export const shareOfRest = (subscription: Pick<Subscription, 'timeZone' | 'billing'>, amountMinor: number, period: BillingPeriod, from: Date): number => {
  const { start, end, wholeStart, wholeEnd } = period
  const isLastDay = from >= start && from < end && lengthOf(subscription, from, end) === 0 && lengthOf(subscription, wholeStart, wholeEnd) > 0
  return isLastDay ? shareOf(amountMinor, 1, lengthOf(subscription, wholeStart, wholeEnd)) : shareFrom(subscription, amountMinor, period, from)
}

const lengthOf = ({ billing, timeZone }: Pick<Subscription, 'timeZone' | 'billing'>, from: Date, to: Date): number =>
  billing.proration === 'day' ? daysBetween(from, to, timeZone) : to.getTime() - from.getTime()

/** The share of the whole period that a line is for, as part and whole. */
export const pieceOf = (
  subscription: Pick<Subscription, 'timeZone' | 'billing'>,
  { start, end }: Pick<Line, 'start' | 'end'>,
  { wholeStart, wholeEnd }: Pick<BillingPeriod, 'wholeStart' | 'wholeEnd'>,
): [part: number, whole: number] => {
  const whole = lengthOf(subscription, wholeStart, wholeEnd)
  const part = start && end ? Math.min(lengthOf(subscription, start, end), whole) : whole
  return part <= 0 || whole <= 0 ? [1, 1] : [part, whole]
}

/** The same period, later by the time from `from` to `to`: what a pause does to it. */
export const shifted = <P extends BillingPeriod>(period: P, from: Date, to: Date, timeZone: string): P => {
  const later = (at: Date): Date => movedBy(at, from, to, timeZone)
  return { ...period, start: later(period.start), end: later(period.end), wholeStart: later(period.wholeStart), wholeEnd: later(period.wholeEnd) }
}
