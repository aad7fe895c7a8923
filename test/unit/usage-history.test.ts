import test from 'ava'
import { spansOf } from '../../common/calendar.ts'
import { addTo, bucketsOf, byMonth, close, hoursIn, isClosed, note, withoutMoved } from '../../control-plane/metering/history.ts'
import type { UsageCounters } from '../../control-plane/schemas/entitlement-set.ts'

const at = (text: string): Date => new Date(text)
const systemNow = at('2024-03-31T12:00:00Z')
const counters: UsageCounters = {
  _id: 't/shop/c',
  tenantId: 't',
  storefrontId: 'shop',
  customerId: 'c',
  entries: [],
  recentReports: [],
  revision: 1,
  createdAt: systemNow,
  updatedAt: systemNow,
}
const empty = (month: string) => ({ month: at(month), hours: [], seq: 0 })

test('uses of one hour are one entry, and the same write marks when they are to move', (t) => {
  const noted = note(
    counters,
    [
      { key: 'calls', at: at('2024-03-31T10:00:00Z'), units: 2 },
      { key: 'calls', at: at('2024-03-31T10:59:59.999Z'), units: 3 },
      { key: 'seats', at: at('2024-03-31T10:30:00Z'), units: -1 },
      { key: 'calls', at: at('2024-03-31T11:00:00Z'), units: 4 },
      { key: 'calls', at: at('2024-03-31T12:00:00Z'), units: 0 },
    ],
    systemNow,
  )
  t.deepEqual(
    noted.pending?.map(({ key, hour, units }) => [key, hour.toISOString(), units]),
    [
      ['calls', '2024-03-31T10:00:00.000Z', 5],
      ['seats', '2024-03-31T10:00:00.000Z', -1],
      ['calls', '2024-03-31T11:00:00.000Z', 4],
    ],
  )
  t.is(noted.moveAt?.getTime(), systemNow.getTime() + 600_000)
  t.deepEqual(noted.repairAt, noted.moveAt)
  const later = note({ ...noted, repairAt: systemNow }, [{ key: 'calls', at: systemNow, units: 1 }], at('2024-03-31T12:05:00Z'))
  t.deepEqual([later.moveAt, later.repairAt], [noted.moveAt, systemNow], 'a mark that is there stays')
  t.is(note(counters, [{ key: 'calls', at: systemNow, units: 0 }], systemNow), counters)
})

test('what moves does not change any more, and moves once however often it is tried', (t) => {
  const first = note(counters, [{ key: 'calls', at: at('2024-03-31T10:00:00Z'), units: 2 }], systemNow)
  const closed = close(first)
  t.truthy(closed)
  if (!closed) return
  t.is(close(closed), undefined, 'nothing has the running number')
  const later = note(closed, [{ key: 'calls', at: at('2024-03-31T10:30:00Z'), units: 5 }], systemNow)
  t.deepEqual(
    later.pending?.map(({ units }) => units),
    [2, 5],
  )
  const [march] = byMonth((later.pending ?? []).filter((use) => isClosed(closed, use)))
  const moved = addTo(empty('2024-03-01T00:00:00Z'), march?.uses ?? [])
  t.deepEqual(hoursIn(moved), [{ start: at('2024-03-31T10:00:00Z'), used: 2 }])
  t.deepEqual(addTo(moved, march?.uses ?? []), moved)
  const left = withoutMoved(later, closed, systemNow)
  t.deepEqual(
    left.pending?.map(({ units }) => units),
    [5],
  )
  t.truthy(left.moveAt)
  t.deepEqual(hoursIn(addTo(moved, left.pending ?? [])), [{ start: at('2024-03-31T10:00:00Z'), used: 7 }])
  const again = close(left)
  const none = again && withoutMoved(again, again, systemNow)
  t.deepEqual([none?.pending, none?.moveAt], [[], undefined])
})

test('months are those of UTC', (t) => {
  const noted = note(
    counters,
    [
      { key: 'calls', at: at('2024-02-29T23:59:59Z'), units: 1 },
      { key: 'calls', at: at('2024-03-01T00:00:00Z'), units: 2 },
      { key: 'calls', at: at('2024-03-31T23:00:00Z'), units: 3 },
    ],
    systemNow,
  )
  const months = byMonth(noted.pending ?? [])
  t.deepEqual(
    months.map(({ month }) => month.toISOString()),
    ['2024-02-01T00:00:00.000Z', '2024-03-01T00:00:00.000Z'],
  )
  const march = addTo(empty('2024-03-01T00:00:00Z'), months[1]?.uses ?? [])
  t.is(march.hours.length, 31 * 24)
  t.deepEqual([march.hours[0], march.hours.at(-1)], [2, 3])
})

const spans = (from: string, to: string, unit: 'hour' | 'day' | 'month', timeZone: string, most = 10_000) => spansOf(at(from), at(to), unit, timeZone, most)
const lengths = (list: ReturnType<typeof spans>) => list?.map(({ start, end }) => (end.getTime() - start.getTime()) / 3_600_000)

test('a range is widened to whole hours, days or months, which follow on each other', (t) => {
  t.deepEqual(spans('2024-03-10T05:30:00Z', '2024-03-10T07:00:00.001Z', 'hour', 'UTC')?.length, 3)
  t.deepEqual(spans('2024-03-10T05:00:00Z', '2024-03-10T07:00:00Z', 'hour', 'UTC')?.length, 2)
  t.deepEqual(lengths(spans('2024-03-30T12:00:00Z', '2024-04-01T12:00:00Z', 'day', 'Europe/Berlin')), [24, 23, 24])
  t.deepEqual(lengths(spans('2024-10-26T22:00:00Z', '2024-10-28T00:00:00Z', 'day', 'Europe/Berlin')), [25, 24])
  t.deepEqual(spans('2024-01-31T23:30:00Z', '2024-03-15T00:00:00Z', 'month', 'Europe/Berlin'), [
    { start: at('2024-01-31T23:00:00Z'), end: at('2024-02-29T23:00:00Z') },
    { start: at('2024-02-29T23:00:00Z'), end: at('2024-03-31T22:00:00Z') },
  ])
  const santiago = spans('2024-09-07T12:00:00Z', '2024-09-09T12:00:00Z', 'day', 'America/Santiago')
  t.deepEqual(lengths(santiago), [24, 23, 24], 'where midnight is skipped a day begins at one')
  t.is(santiago?.[1]?.start.getTime(), santiago?.[0]?.end.getTime())
  t.is(spans('2024-03-10T00:00:00Z', '2024-03-10T04:00:00Z', 'hour', 'UTC', 4)?.length, 4)
  t.is(spans('2024-03-10T00:00:00Z', '2024-03-10T04:00:00.001Z', 'hour', 'UTC', 4), undefined)
})

test('an hour counts in the day in which it begins, also where a day begins at half past', (t) => {
  const days = spans('2024-03-10T00:00:00Z', '2024-03-11T00:00:00Z', 'day', 'Asia/Kolkata') ?? []
  t.is(days[1]?.start.toISOString(), '2024-03-10T18:30:00.000Z')
  const hours = ['2024-03-09T18:00:00Z', '2024-03-09T19:00:00Z', '2024-03-10T18:00:00Z', '2024-03-10T19:00:00Z', '2024-03-12T00:00:00Z']
  const used = bucketsOf(
    days,
    hours.map((start, n) => ({ start: at(start), used: 10 ** n })),
  )
  t.deepEqual(
    used.map((one) => one.used),
    [110, 1_000],
  )
})

test('buckets without a use are zero, and the order of hours does not matter', (t) => {
  const days = spans('2024-03-10T00:00:00Z', '2024-03-13T00:00:00Z', 'day', 'UTC') ?? []
  const used = (hours: [string, number][]) =>
    bucketsOf(
      days,
      hours.map(([start, one]) => ({ start: at(start), used: one })),
    ).map((one) => one.used)
  t.deepEqual(used([]), [0, 0, 0])
  t.deepEqual(
    used([
      ['2024-03-12T01:00:00Z', 4],
      ['2024-03-09T23:00:00Z', 8],
      ['2024-03-10T05:00:00Z', 1],
      ['2024-03-10T00:00:00Z', -3],
    ]),
    [-2, 0, 4],
  )
  t.deepEqual(used([['2024-03-09T23:00:00Z', 8]]), [0, 0, 0])
})
