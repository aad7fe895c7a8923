import test from 'ava'
import fc from 'fast-check'
import { countedBy } from '../../control-plane/payments/psp/counted-currencies.ts'
import { fromDecimal, fromPspUnits, toDecimal, toPspUnits } from '../../control-plane/payments/psp/currency-exponents.ts'

test('each provider counts its own decimals of some currencies', (t) => {
  t.is(toPspUnits(2790, 'ISK', countedBy.stripe), 279_000)
  t.is(toPspUnits(5_000, 'UGX', countedBy.stripe), 500_000)
  t.is(toPspUnits(2900, 'USD', countedBy.stripe), 2900)
  t.is(toPspUnits(3200, 'JPY', countedBy.stripe), 3200)
  t.is(toPspUnits(12_300, 'CVE', countedBy.adyen), 123)
  t.is(toPspUnits(990, 'CLP', countedBy.adyen), 99_000)
  t.is(toDecimal(2900, 'USD', countedBy.paypal), '29.00')
  t.is(toDecimal(5, 'USD', countedBy.paypal), '0.05')
  t.is(toDecimal(320_000, 'HUF', countedBy.paypal), '3200')
  t.is(toDecimal(3200, 'JPY', countedBy.paypal), '3200')
  t.is(toDecimal(1_250_000, 'COP', countedBy.mercadopago), '12500')
})

test('an amount with decimals that a provider does not count cannot be asked for there', (t) => {
  t.is(toPspUnits(12_345, 'CVE', countedBy.adyen), undefined)
  t.is(toPspUnits(101, 'IDR', countedBy.adyen), undefined)
  t.is(toDecimal(320_050, 'HUF', countedBy.paypal), undefined)
  t.is(toDecimal(101, 'COP', countedBy.mercadopago), undefined)
})

test("an amount survives the way to the provider's units and back", (t) => {
  const currency = fc.constantFrom('USD', 'JPY', 'KWD', 'ISK', 'CLP', 'HUF', 'EUR')
  fc.assert(
    fc.property(fc.nat(1_000_000_000), currency, fc.constantFrom(countedBy.stripe, countedBy.adyen, countedBy.paypal), (amount, of, exponents) => {
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
