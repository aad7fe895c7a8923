import test from 'ava'
import fc from 'fast-check'
import { adyenExponents } from '../../control-plane/payments/psp/adyen/mapping.ts'
import { fromDecimal, fromPspUnits, toDecimal, toPspUnits } from '../../control-plane/payments/psp/currency-exponents.ts'
import { mercadopagoExponents } from '../../control-plane/payments/psp/mercadopago/mapping.ts'
import { paypalExponents } from '../../control-plane/payments/psp/paypal/mapping.ts'
import { stripeExponents } from '../../control-plane/payments/psp/stripe/mapping.ts'

test('each provider counts its own decimals of some currencies', (t) => {
  t.is(toPspUnits(2790, 'ISK', stripeExponents), 279_000)
  t.is(toPspUnits(5_000, 'UGX', stripeExponents), 500_000)
  t.is(toPspUnits(2900, 'USD', stripeExponents), 2900)
  t.is(toPspUnits(3200, 'JPY', stripeExponents), 3200)
  t.is(toPspUnits(12_300, 'CVE', adyenExponents), 123)
  t.is(toPspUnits(990, 'CLP', adyenExponents), 99_000)
  t.is(toDecimal(2900, 'USD', paypalExponents), '29.00')
  t.is(toDecimal(5, 'USD', paypalExponents), '0.05')
  t.is(toDecimal(320_000, 'HUF', paypalExponents), '3200')
  t.is(toDecimal(3200, 'JPY', paypalExponents), '3200')
  t.is(toDecimal(1_250_000, 'COP', mercadopagoExponents), '12500')
})

test('an amount with decimals that a provider does not count cannot be asked for there', (t) => {
  t.is(toPspUnits(12_345, 'CVE', adyenExponents), undefined)
  t.is(toPspUnits(101, 'IDR', adyenExponents), undefined)
  t.is(toDecimal(320_050, 'HUF', paypalExponents), undefined)
  t.is(toDecimal(101, 'COP', mercadopagoExponents), undefined)
})

test('what a provider is told is what it tells back', (t) => {
  const currency = fc.constantFrom('USD', 'JPY', 'KWD', 'ISK', 'CLP', 'HUF', 'EUR')
  fc.assert(
    fc.property(fc.nat(1_000_000_000), currency, fc.constantFrom(stripeExponents, adyenExponents, paypalExponents), (amount, of, exponents) => {
      const units = toPspUnits(amount, of, exponents)
      const decimal = toDecimal(amount, of, exponents)
      t.true(units === undefined || fromPspUnits(units, of, exponents) === amount)
      t.true(decimal === undefined || fromDecimal(decimal, of) === amount)
    }),
  )
})

test('decimals are read as they are written, or not at all', (t) => {
  const cases: [string, string, number | undefined][] = [
    ['29.00', 'USD', 2900],
    ['29', 'USD', 2900],
    ['29.5', 'USD', 2950],
    ['-0.05', 'USD', -5],
    ['29.000', 'USD', 2900],
    ['29.005', 'USD', undefined],
    ['3200', 'JPY', 3200],
    ['3200.00', 'JPY', 3200],
    ['1.234', 'KWD', 1234],
    ['', 'USD', undefined],
    ['abc', 'USD', undefined],
    ['1e3', 'USD', undefined],
    ['99999999999999999', 'USD', undefined],
  ]
  for (const [text, currency, amount] of cases) t.is(fromDecimal(text, currency), amount, `${text} ${currency}`)
})
