/** What a provider can be asked for is known before it is asked, and the adapters go by the same tables. */
import test from 'ava'
import currencyCodes from 'currency-codes'
import { isCurrency, minorUnitDigits } from '../../common/money.ts'
import { smallestChargeMinor, stepMinor } from '../../control-plane/payments/psp/charge-limits.ts'
import { countedBy } from '../../control-plane/payments/psp/counted-currencies.ts'
import { fromDecimal, fromPspUnits, toDecimal, toPspUnits } from '../../control-plane/payments/psp/currency-exponents.ts'
import { pspProviders } from '../../control-plane/schemas/psp-account.ts'

const currencies = currencyCodes.codes().filter(isCurrency)

test('the test looks at every currency of ISO 4217 that is money', (t) => t.true(currencies.length > 150))

for (const provider of pspProviders) {
  test(`${provider}: a multiple of the step can be expressed, and nothing else, in every currency`, (t) => {
    for (const currency of currencies) {
      const step = stepMinor(provider, currency)
      for (let amountMinor = 0; amountMinor <= 2 * step; amountMinor += step > 20 ? 7 : 1) {
        const expressible = amountMinor % step === 0
        t.is(toPspUnits(amountMinor, currency, countedBy[provider]) !== undefined, expressible, `${amountMinor} ${currency}`)
        t.is(toDecimal(amountMinor, currency, countedBy[provider]) !== undefined, expressible, `${amountMinor} ${currency}`)
      }
      for (const times of [1, 7, 12_345]) {
        const units = toPspUnits(times * step, currency, countedBy[provider])
        t.is(fromPspUnits(units ?? Number.NaN, currency, countedBy[provider]), times * step, currency)
        t.is(fromDecimal(toDecimal(times * step, currency, countedBy[provider]) ?? '', currency), times * step, currency)
      }
    }
  })

  test(`${provider}: the smallest charge is an amount that can be expressed, and more than nothing, in every currency`, (t) => {
    for (const currency of currencies) {
      const smallest = smallestChargeMinor(provider, currency)
      t.true(smallest > 0 && smallest % stepMinor(provider, currency) === 0, currency)
      // A table that is wrong by a factor of a hundred would keep whole subscriptions from being charged.
      t.true(smallest <= 1000 * 10 ** minorUnitDigits(currency), `${smallest} ${currency}`)
    }
  })
}

test('the steps are those that the providers document', (t) => {
  const documented: [Parameters<typeof stepMinor>[0], string, number][] = [
    ['stripe', 'USD', 1],
    ['stripe', 'JPY', 1],
    ['stripe', 'ISK', 1],
    ['stripe', 'UGX', 1],
    ['stripe', 'MGA', 100],
    ['stripe', 'KWD', 10],
    ['stripe', 'TND', 10],
    // Without decimals in payouts, with them in charges.
    ['stripe', 'HUF', 1],
    ['stripe', 'TWD', 1],
    ['adyen', 'CVE', 100],
    ['adyen', 'IDR', 100],
    ['adyen', 'CLP', 1],
    ['adyen', 'KWD', 1],
    ['paypal', 'HUF', 100],
    ['paypal', 'TWD', 100],
    ['paypal', 'JPY', 1],
    ['mercadopago', 'COP', 100],
    ['mercadopago', 'CLP', 1],
    ['local', 'KWD', 1],
    ['simulator', 'MGA', 1],
  ]
  for (const [provider, currency, step] of documented) t.is(stepMinor(provider, currency), step, `${provider} ${currency}`)
})

test('the smallest charges are those that are published; a currency in no table has the step', (t) => {
  const published: [Parameters<typeof stepMinor>[0], string, number][] = [
    ['stripe', 'USD', 50],
    ['stripe', 'GBP', 30],
    ['stripe', 'JPY', 50],
    ['stripe', 'HUF', 17_500],
    ['stripe', 'MXN', 1000],
    ['simulator', 'USD', 50],
    ['adyen', 'EUR', 50],
    ['paypal', 'HUF', 17_500],
    ['mercadopago', 'BRL', 50],
    ['mercadopago', 'COP', 100_000],
    ['mercadopago', 'CLP', 1000],
    ['local', 'JPY', 50],
    ['adyen', 'CVE', 100],
    ['stripe', 'KWD', 10],
    ['stripe', 'ISK', 1],
  ]
  for (const [provider, currency, smallest] of published) t.is(smallestChargeMinor(provider, currency), smallest, `${provider} ${currency}`)
  t.throws(() => smallestChargeMinor('stripe', 'XYZ'), { instanceOf: RangeError })
})
