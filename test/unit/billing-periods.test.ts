/** Billing periods, for any anchor, billing day, interval and time zone. */

import test from 'ava'
import fc from 'fast-check'
import { intervals, localDate } from '../../common/calendar.ts'
import { defined } from '../../common/defined.ts'
import { shareOf } from '../../common/money.ts'
import { anchorFrom, periodContaining, periodFrom, shareFrom } from '../../control-plane/billing/periods.ts'

const billing = { graceHours: 72, retryHours: [24], firstPaymentHours: 23, maxAttempts: 15, maxAttemptsDays: 30, proration: 'day' as const }

const anyBilled = fc
  .record({
    interval: fc.constantFrom(...intervals),
    intervalCount: fc.integer({ min: 1, max: 4 }),
    day: fc.option(fc.integer({ min: 1, max: 31 }), { nil: undefined }),
    timeZone: fc.constantFrom('UTC', 'America/New_York', 'Europe/Berlin', 'Australia/Lord_Howe', 'Asia/Kolkata', 'Pacific/Apia'),
    startMs: fc.integer({ min: Date.UTC(2020, 0, 1), max: Date.UTC(2030, 0, 1) }),
    second: fc.boolean(),
  })
  .map(({ interval, intervalCount, day, timeZone, startMs, second }) => {
    const billingDay = day === undefined || interval === 'day' ? undefined : interval === 'week' ? ((day - 1) % 7) + 1 : day
    const pricing = { amountMinor: 1_000, currency: 'USD', interval, intervalCount }
    const start = new Date(startMs)
    const based = defined({ pricing, timeZone, billingDay, billing: { ...billing, proration: second ? ('second' as const) : ('day' as const) } })
    return { ...based, anchor: anchorFrom(based, start), start }
  })

test('periods follow on each other without a gap, each the rest of a whole one, and whole from the second on', (t) => {
  fc.assert(
    fc.property(anyBilled, (billed) => {
      let period = periodFrom(billed, billed.start)
      for (let n = 0; n < 14; n += 1) {
        t.true(period.start < period.end)
        t.true(period.wholeStart <= period.start && period.end.getTime() === period.wholeEnd.getTime())
        if (n > 0) t.is(period.start.getTime(), period.wholeStart.getTime())
        const next = periodFrom(billed, period.end)
        t.is(next.start.getTime(), period.end.getTime())
        period = next
      }
    }),
    { numRuns: 400 },
  )
})

test('with a billing day every period begins on it, or on the last day of a shorter month', (t) => {
  fc.assert(
    fc.property(anyBilled, (billed) => {
      if (!billed.billingDay || billed.pricing.interval === 'week') return
      let period = periodFrom(billed, billed.anchor)
      for (let n = 0; n < 14; n += 1) {
        const [year = 0, month = 0, day = 0] = localDate(period.start, billed.timeZone).split('-').map(Number)
        const last = new Date(Date.UTC(year, month, 0)).getUTCDate()
        t.is(day, Math.min(billed.billingDay, last))
        period = periodFrom(billed, period.end)
      }
    }),
    { numRuns: 200 },
  )
})

test('the period that contains an instant contains it, and begins not before the subscription', (t) => {
  fc.assert(
    fc.property(anyBilled, fc.integer({ min: 0, max: 4 * 365 * 86_400_000 }), (billed, laterMs) => {
      const at = new Date(billed.start.getTime() + laterMs)
      const period = periodContaining(billed, at, billed.start)
      t.true(period.start <= at && at < period.end)
      t.true(period.start >= billed.start)
    }),
    { numRuns: 400 },
  )
})

test('a share is between nothing and all, all at the start of a whole period, and less the later', (t) => {
  fc.assert(
    fc.property(anyBilled, fc.integer({ min: 0, max: 1_000_000 }), fc.double({ min: 0, max: 1, noNaN: true }), (billed, amount, part) => {
      const period = periodFrom(billed, billed.anchor)
      const lengthMs = period.end.getTime() - period.start.getTime()
      const at = new Date(period.start.getTime() + Math.floor(part * lengthMs))
      const share = shareFrom(billed, amount, period, at)
      t.true(share >= 0 && share <= amount)
      t.is(shareFrom(billed, amount, period, period.start), amount)
      t.is(shareFrom(billed, amount, period, period.end), 0)
      t.true(shareFrom(billed, amount, period, new Date(Math.min(at.getTime() + 86_400_000, period.end.getTime()))) <= share)
    }),
    { numRuns: 400 },
  )
})

test('shares are exact where floating point is not, and rounded half away from zero', (t) => {
  t.is(shareOf(1, 1, 2), 1)
  t.is(shareOf(-1, 1, 2), -1)
  t.is(shareOf(3, 1, 2), 2)
  t.is(shareOf(0, 1, 3), 0)
  t.is(shareOf(100_000_000_000_000_000, 1, 3), 33_333_333_333_333_332)
  t.throws(() => shareOf(1, 1, 0), { instanceOf: RangeError })
  t.throws(() => shareOf(0.5, 1, 2), { instanceOf: RangeError })
})
