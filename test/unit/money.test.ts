import test from 'ava'
import { formatMoney, isCurrency } from '../../common/money.ts'

test('amounts are written with the digits of their currency', (t) => {
  t.is(formatMoney(2900, 'USD'), '29.00 USD')
  t.is(formatMoney(5, 'EUR'), '0.05 EUR')
  t.is(formatMoney(3200, 'JPY'), '3200 JPY')
  t.is(formatMoney(-1234, 'KWD'), '-1.234 KWD')
  t.throws(() => formatMoney(1, 'ABC'), { instanceOf: RangeError })
})

test('a currency is an ISO 4217 code that people can pay with', (t) => {
  for (const code of ['USD', 'JPY', 'CLF', 'TRY']) t.true(isCurrency(code), code)
  for (const code of ['usd', 'ABC', '', 'XXX', 'XTS', 'XAU', 'DOLLAR']) t.false(isCurrency(code), code)
})
