import test from 'ava'
import fc from 'fast-check'
import { intervals, isTimeZone, localDate, period, periodIndexAt, periodStart, startOfLocalDate } from '../../common/calendar.ts'

const anyCycle = fc.record({
  anchor: fc.date({ min: new Date('1990-01-01'), max: new Date('2060-01-01'), noInvalidDate: true }),
  interval: fc.constantFrom(...intervals),
  count: fc.integer({ min: 1, max: 18 }),
  timeZone: fc.constantFrom('UTC', 'America/New_York', 'Europe/Berlin', 'Australia/Lord_Howe', 'Asia/Kolkata', 'Pacific/Apia'),
})

test('periods tile time: each begins where the last ended, and every instant is in exactly one', (t) => {
  fc.assert(
    fc.property(
      anyCycle,
      fc.integer({ min: -50, max: 200 }),
      fc.date({ min: new Date('1995-01-01'), max: new Date('2055-01-01'), noInvalidDate: true }),
      (cycle, n, at) => {
        const here = period(cycle, n)
        t.is(here.end.getTime(), period(cycle, n + 1).start.getTime())
        t.true(here.start < here.end)
        const index = periodIndexAt(cycle, at)
        const found = period(cycle, index)
        t.true(found.start <= at && at < found.end, `${JSON.stringify(cycle)} ${at.toISOString()}`)
      },
    ),
    { numRuns: 500 },
  )
})

test('a billing time keeps its hour on the wall through daylight saving', (t) => {
  const cycle = { anchor: new Date('2024-02-10T14:00:00Z'), interval: 'month', count: 1, timeZone: 'America/New_York' } as const
  // 9:00 in New York is 14:00 UTC in winter and 13:00 UTC in summer.
  t.is(periodStart(cycle, 1).toISOString(), '2024-03-10T13:00:00.000Z')
  t.is(periodStart(cycle, 9).toISOString(), '2024-11-10T14:00:00.000Z')
})

test('a wall time that daylight saving skips is taken an hour later, and the next month recovers', (t) => {
  const cycle = { anchor: new Date('2024-02-10T07:30:00Z'), interval: 'month', count: 1, timeZone: 'America/New_York' } as const
  t.is(periodStart(cycle, 1).toISOString(), '2024-03-10T07:30:00.000Z')
  t.is(periodStart(cycle, 2).toISOString(), '2024-04-10T06:30:00.000Z')
})

test("a date begins at its storefront's midnight", (t) => {
  t.is(startOfLocalDate('2024-03-15', 'America/New_York').toISOString(), '2024-03-15T04:00:00.000Z')
  t.is(localDate(new Date('2024-03-15T03:59:59Z'), 'America/New_York'), '2024-03-14')
  t.throws(() => startOfLocalDate('2024-02-30', 'UTC'), { instanceOf: RangeError })
})

test('time zones are IANA names', (t) => {
  for (const name of ['UTC', 'Europe/Berlin', 'America/Argentina/Buenos_Aires']) t.true(isTimeZone(name), name)
  for (const name of ['', 'Mars/Olympus', '+02:00', 'berlin']) t.false(isTimeZone(name), name)
})
