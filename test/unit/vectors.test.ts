/** Facts with known right answers, from published documentation and test suites (test/vectors/). */
import { readFileSync } from 'node:fs'
import test from 'ava'
import { Webhook } from 'standardwebhooks'
import { type Interval, localDate, period, periodIndexAt, periodStart, startOfLocalDate } from '../../common/calendar.ts'
import { minorUnitDigits } from '../../common/money.ts'

interface Vector {
  id: string
  category: string
  // biome-ignore lint/suspicious/noExplicitAny: every category has a shape of its own.
  input: any
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  expected: any
}

const { vectors } = JSON.parse(readFileSync(new URL('../vectors/billing.json', import.meta.url), 'utf8')) as { vectors: Vector[] }
const of = (category: string) => vectors.filter((vector) => vector.category === category)

const utc = (anchor: string, interval: Interval, count = 1) => ({ anchor: startOfLocalDate(anchor, 'UTC'), interval, count, timeZone: 'UTC' })

for (const { id, input, expected } of of('anchor')) {
  test(`${id}: billing dates from their anchor`, (t) => {
    if (input.billing_at) {
      const cycle = utc(input.subscription_at, input.interval)
      const before = period(cycle, periodIndexAt(cycle, startOfLocalDate(input.billing_at, 'UTC')) - 1)
      t.is(before.start.getTime(), Date.parse(expected.from))
      // The source counts to the last second of the period, we to its end.
      t.is(before.end.getTime() - 1000, Date.parse(expected.to))
      return
    }
    const units: number[] = input.units ?? (input.unit ? [input.unit] : Array.from({ length: input.n }, (_, n) => n + 1))
    const cycle = utc(input.anchor, input.interval)
    t.deepEqual(
      units.map((n) => localDate(periodStart(cycle, n), 'UTC')),
      expected,
    )
  })
}

for (const { id, input, expected } of of('minor-units')) {
  test(`${id}: ISO 4217 exponents`, (t) => t.deepEqual(input.currency.map(minorUnitDigits), expected))
}

for (const { id, input, expected } of of('minor-units-trap')) {
  test(`${id}: exponents are ISO's, whatever Intl says`, (t) => t.deepEqual(input.currency.map(minorUnitDigits), expected.iso4217))
}

for (const { id, input, expected } of of('sig-standard-webhooks')) {
  test(`${id}: the webhook signature`, (t) => {
    t.is(new Webhook(input.secret).sign(input.id, new Date(input.timestamp * 1000), input.body), expected)
  })
}
