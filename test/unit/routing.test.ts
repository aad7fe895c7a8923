import test from 'ava'
import { type RoutableAccount, type RoutingQuestion, routePayment, slotOf } from '../../control-plane/payments/routing/route-payment.ts'
import type { Routing } from '../../control-plane/schemas/storefront.ts'

const account = (id: string, capabilities: RoutableAccount['capabilities'] = {}): RoutableAccount => ({ id, capabilities })
const everywhere = [{ account: '*', token: 'tok' }]
const question = (change: Partial<RoutingQuestion> = {}): RoutingQuestion => ({
  paymentId: 'pay_1',
  amountMinor: 2900,
  currency: 'USD',
  country: 'US',
  method: { type: 'card', tokens: everywhere },
  ...change,
})
const routeOf = (...args: Parameters<typeof routePayment>) => routePayment(...args).route
const routing = (change: Partial<Routing>): Routing => ({ split: [], fallback: [], rules: [], ...change })

test('an account that cannot take the payment is left out, with a reason', (t) => {
  const accounts = [
    account('eur-only', { currencies: ['EUR'] }),
    account('de-only', { countries: ['DE'] }),
    account('bank-only', { paymentMethodTypes: ['bank_transfer'] }),
    { ...account('off'), unusable: 'credentials.secretKey is required' },
    account('good'),
  ]
  const route = routeOf(routing({ fallback: ['eur-only', 'de-only', 'bank-only', 'off', 'missing', 'good'] }), accounts, question())
  t.deepEqual(route.candidates, ['good'])
  t.deepEqual(route.excluded, [
    { account: 'eur-only', reason: 'does not take USD' },
    { account: 'de-only', reason: 'does not serve US' },
    { account: 'bank-only', reason: 'does not take card' },
    { account: 'off', reason: 'credentials.secretKey is required' },
    { account: 'missing', reason: 'no such account' },
  ])
})

test('an account without a token of the method is left out', (t) => {
  const method = { type: 'card', tokens: [{ account: 'paypal', token: 'tok' }] }
  const route = routeOf(
    routing({ split: [{ account: 'stripe', weight: 1 }], fallback: ['paypal'] }),
    [account('stripe'), account('paypal')],
    question({ method }),
  )
  t.deepEqual(route.candidates, ['paypal'])
  t.is(route.excluded[0]?.reason, 'has no token of this payment method')
})

test('the first rule that matches and has somebody to use decides', (t) => {
  const rules = [
    { name: 'nobody there', when: {}, use: ['missing'] },
    { name: 'large', when: { minAmount: 10_000 }, use: ['bank'] },
    { name: 'german cards', when: { countries: ['DE'], paymentMethodTypes: ['card'] }, use: ['adyen'] },
  ]
  const accounts = ['stripe', 'bank', 'adyen'].map((id) => account(id))
  const all = routing({ rules, split: [{ account: 'stripe', weight: 1 }] })
  t.like(routeOf(all, accounts, question()), { rule: 'split', candidates: ['stripe'] })
  t.like(routeOf(all, accounts, question({ amountMinor: 10_000 })), { rule: 'large', candidates: ['bank', 'stripe'] })
  t.like(routeOf(all, accounts, question({ country: 'DE' })), { rule: 'german cards', candidates: ['adyen', 'stripe'] })
})

test('the split is 80/20 over many payments, and always the same for one', (t) => {
  const split = [
    { account: 'stripe', weight: 80 },
    { account: 'paypal', weight: 20 },
  ]
  const accounts = [account('stripe'), account('paypal')]
  const first = Array.from({ length: 10_000 }, (_, n) => routeOf(routing({ split }), accounts, question({ paymentId: `pay_${n}` })).candidates[0])
  const again = Array.from({ length: 100 }, (_, n) => routeOf(routing({ split }), accounts, question({ paymentId: `pay_${n}` })).candidates[0])
  t.deepEqual(first.slice(0, 100), again)
  const share = first.filter((name) => name === 'stripe').length / 10_000
  t.true(Math.abs(share - 0.8) < 0.01, String(share))
})

test('payments of a split account that is down go to the fallback, then to the rest of the split', (t) => {
  const split = [
    { account: 'stripe', weight: 80 },
    { account: 'paypal', weight: 20 },
  ]
  const down = [{ ...account('stripe'), unusable: 'circuit open' }, account('paypal'), account('adyen')]
  const route = routeOf(routing({ split, fallback: ['adyen'] }), down, question())
  t.like(route, { rule: 'split', slot: slotOf('pay_1', 20), candidates: ['paypal', 'adyen'] })
})
