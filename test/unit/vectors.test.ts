/** Facts with known right answers, from published documentation and test suites (test/vectors/). */
import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import adyen from '@adyen/api-library'
import test from 'ava'
import { WebhookSignatureValidator } from 'mercadopago'
import { Webhook } from 'standardwebhooks'
import Stripe from 'stripe'
import { daysBetween, type Interval, localDate, period, periodIndexAt, periodStart, startOfLocalDate } from '../../common/calendar.ts'
import { minorUnitDigits, shareOf } from '../../common/money.ts'
import { anchorFrom, periodFrom, shareFrom } from '../../control-plane/billing/periods.ts'
import { countedBy } from '../../control-plane/payments/psp/counted-currencies.ts'
import { toPspUnits } from '../../control-plane/payments/psp/currency-exponents.ts'

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

for (const { id, input, expected } of of('dst-days')) {
  test(`${id}: a day of 23 or 25 hours is a day`, (t) => {
    const days = (input as [string, string, string][]).map(([from, to, zone]) => daysBetween(startOfLocalDate(from, zone), startOfLocalDate(to, zone), zone))
    t.deepEqual(days, expected)
  })
}

const cents = (amount: string): number => Math.round(Number(amount) * 100)

for (const { id, input, expected } of of('rounding')) {
  test(`${id}: a share is rounded half up, once`, (t) => {
    t.deepEqual(
      (input.samples as [string, number, number][]).map(([amount, part, whole]) => shareOf(cents(amount), part, whole)),
      (expected as string[]).map(cents),
    )
  })
}

const pricing = (interval: Interval) => ({ amountMinor: 0, currency: 'USD', interval, intervalCount: 1 })
const byDay = { graceHours: 72, retryHours: [24], firstPaymentHours: 23, maxAttempts: 15, maxAttemptsDays: 30, proration: 'day' as const }

for (const { id, input, expected } of of('proration')) {
  test(`${id}: half of a period credits half of the old plan and charges half of the new`, (t) => {
    const subscription = {
      anchor: startOfLocalDate('2024-06-01', 'UTC'),
      timeZone: 'UTC',
      pricing: pricing('month'),
      billing: { ...byDay, proration: 'second' as const },
    }
    const period = periodFrom(subscription, subscription.anchor)
    const half = new Date((period.start.getTime() + period.end.getTime()) / 2)
    const [credit, debit] = [-shareFrom(subscription, input.from, period, half), shareFrom(subscription, input.to, period, half)]
    t.deepEqual({ credit, debit, net: credit + debit }, expected)
  })
}

for (const { id, input, expected } of of('proration-money')) {
  test(`${id}: a first piece before a fixed billing day costs its share of the whole period`, (t) => {
    const from = startOfLocalDate(input.trial_end, 'UTC')
    const based = { timeZone: 'UTC', pricing: pricing('month'), billingDay: input.bcd as number, billing: byDay }
    const subscription = { ...based, anchor: anchorFrom(based, from) }
    const first = periodFrom(subscription, from)
    const [start, end, amount] = expected.first_invoice
    t.deepEqual([localDate(first.start, 'UTC'), localDate(first.end, 'UTC')], [start, end])
    t.is(shareFrom(subscription, cents(input.price), first, first.start), cents(amount))
    const ends: string[] = []
    let next = first
    for (const _ of expected.next_period_ends) {
      next = periodFrom(subscription, next.end)
      ends.push(localDate(next.end, 'UTC'))
    }
    t.deepEqual(ends, expected.next_period_ends)
  })
}

const stripe = new Stripe('sk_test_verifies_only')
const { webhooks } = stripe

for (const { id, input, expected } of of('sig-stripe-hmac')) {
  test(`${id}: the HMAC of Stripe`, (t) => {
    t.is(createHmac('sha256', input.secret).update(input.payload).digest('hex'), expected)
    t.is(Stripe.createNodeCryptoProvider().computeHMACSignature(input.payload, input.secret), expected)
  })
}

for (const { id, input, expected } of of('sig-stripe-header')) {
  test(`${id}: the Stripe-Signature header`, (t) => {
    const { body: payload, secret, t: timestamp } = input
    t.is(webhooks.generateTestHeaderString({ payload, secret, timestamp }), expected)
    const receivedAt = timestamp * 1000
    const verify = (header: string, body = payload) => webhooks.constructEvent(body, header, secret, 300, undefined, receivedAt)
    t.notThrows(() => verify(expected))
    t.notThrows(() => verify(`${expected},v1=potato`))
    t.throws(() => verify(expected.replace('v1=', 'v0=')))
    t.throws(() => verify(expected, `${payload} `))
  })
}

for (const { id, input, expected } of of('sig-stripe-tolerance')) {
  test(`${id}: an event of Stripe that is too old is refused`, (t) => {
    const found = (input.t as number[]).map((timestamp) => {
      const header = webhooks.generateTestHeaderString({ payload: '{}', secret: 'whsec_test_secret', timestamp })
      try {
        webhooks.constructEvent('{}', header, 'whsec_test_secret', input.tolerance_s, undefined, input.received_at_ms)
        return 'accept'
      } catch {
        return 'reject'
      }
    })
    t.deepEqual(found, expected)
  })
}

for (const { id, input, expected } of of('sig-adyen')) {
  test(`${id}: the HMAC of Adyen`, (t) => {
    const validator = new adyen.hmacValidator()
    t.is(validator.calculateHmac(input.data_to_sign, input.hex_key), expected)
    const [pspReference, originalReference, merchantAccountCode, merchantReference, value, currency, eventCode, success] = input.data_to_sign.split(':')
    const item = { pspReference, originalReference, merchantAccountCode, merchantReference, amount: { value: Number(value), currency }, eventCode, success }
    t.true(validator.validateHMAC({ ...item, additionalData: { hmacSignature: expected } } as never, input.hex_key))
    t.false(validator.validateHMAC({ ...item, success: 'false', additionalData: { hmacSignature: expected } } as never, input.hex_key))
  })
}

for (const { id, input, expected } of of('sig-mercadopago')) {
  test(`${id}: the x-signature of MercadoPago`, (t) => {
    const [, dataId, xRequestId] = /^id:([^;]+);request-id:([^;]+);/.exec(input.manifest) ?? []
    const verify = (change: object = {}) => WebhookSignatureValidator.validate({ xSignature: expected, xRequestId, dataId, secret: input.secret, ...change })
    t.notThrows(() => verify())
    for (const change of [{ dataId: 'other' }, { xRequestId: 'other' }, { secret: 'other' }, { xSignature: undefined }]) t.throws(() => verify(change))
  })
}

for (const { id, input, expected } of of('minor-units-psp')) {
  test(`${id}: the decimals that ${input.psp} counts are its adapter's`, (t) => {
    t.deepEqual(input.currency.map(minorUnitDigits), input.iso)
    const factors = (input.currency as string[]).map(
      (currency, n) => toPspUnits(10_000, currency, countedBy.adyen) === 10_000 * 10 ** (expected.adyen_decimals[n] - input.iso[n]),
    )
    t.deepEqual(factors, [true, true, true])
    t.is(toPspUnits(2790, 'ISK', countedBy.adyen), 279_000)
  })
}
