/**
 * The platform model's routing example, over real adapters and HTTP: Stripe for 80 of 100, PayPal for the rest and when
 * Stripe fails, a regional bank for bank transfers.
 *
 *   ROUTING_PAYMENTS=10000 npx ava test/e2e/payments/routing-run.test.ts
 */
import test from 'ava'
import pMap from 'p-map'
import { type Counter, openCounter } from '../../support/psp/counter.ts'
import { type StandIn, standIns } from '../../support/psp/index.ts'

const PAYMENTS = Number(process.env.ROUTING_PAYMENTS ?? 600)
const AT_ONCE = 16

interface Paid {
  id: string
  status: string
  attempts: { id: string; account: string; status: string }[]
}

test.serial('80/20 within a point; with Stripe down everything is paid at PayPal, once; bank transfers go to the bank', async (t) => {
  t.timeout(600_000)
  const servers = { stripe: await standIns.stripe(), paypal: await standIns.paypal(), bank: await standIns.local() } as Record<string, StandIn>
  const { stripe, paypal, bank } = servers as { stripe: StandIn; paypal: StandIn; bank: StandIn }
  for (const { fake } of [stripe, paypal, bank]) fake.webhooks.mode = 'never'
  const routing = {
    split: [
      { account: 'stripe', weight: 80 },
      { account: 'paypal', weight: 20 },
    ],
    fallback: ['paypal'],
    rules: [{ name: 'bank transfers', when: { paymentMethodTypes: ['bank_transfer'] }, use: ['bank'] }],
  }
  const counter: Counter = await openCounter(servers, { routing }, { env: { CIRCUIT_FAILURES: '5', PSP_TIMEOUT_MS: '10000' } })
  try {
    const tokens = { stripe: stripe.token('ok'), paypal: paypal.token('ok'), bank: bank.token('ok') }
    await counter.api.post('/customers', {
      id: 'c',
      storefrontId: 'store',
      paymentMethods: [
        { id: 'card', tokens },
        { id: 'transfer', type: 'bank_transfer', tokens: { bank: tokens.bank } },
      ],
    })
    const pay = async (paymentMethod: string): Promise<Paid> => {
      const answer = await counter.api.post('/payments', { storefrontId: 'store', customerId: 'c', amount: 2900, currency: 'USD', paymentMethod })
      if (answer.status !== 201 || answer.body.status !== 'succeeded') throw new Error(JSON.stringify(answer.body))
      return answer.body
    }
    const payMany = (count: number, method: string) => pMap(Array.from({ length: count }), () => pay(method), { concurrency: AT_ONCE })
    const count = (payments: Paid[], account: string) =>
      payments.filter(({ attempts }) => attempts.find(({ status }) => status === 'succeeded')?.account === account).length
    const chargesOf = (payments: Paid[]) =>
      payments.map(({ id }) =>
        [stripe, paypal, bank].reduce(
          (sum, { fake }) =>
            sum + fake.charges().filter(({ reference, status }) => reference === `${id}-1` || (reference === `${id}-2` && status === 'captured')).length,
          0,
        ),
      )

    const split = await payMany(PAYMENTS, 'card')
    const share = (100 * count(split, 'stripe')) / PAYMENTS
    // Of 10,000, one point is 2.5 standard deviations; of fewer, as many.
    const tolerance = Math.max(1, 2.5 * Math.sqrt((80 * 20) / PAYMENTS))
    t.true(Math.abs(share - 80) <= tolerance, `${share} %`)
    t.is(count(split, 'stripe') + count(split, 'paypal'), PAYMENTS)
    t.true(split.every(({ attempts }) => attempts.length === 1))
    t.is(stripe.fake.charges().length + paypal.fake.charges().length, PAYMENTS)

    const transfers = await payMany(20, 'transfer')
    t.is(count(transfers, 'bank'), 20)
    t.is(bank.fake.charges().length, 20)

    const before = { stripe: stripe.fake.charges().length, paypal: paypal.fake.charges().length }
    await stripe.fake.down()
    const down = await payMany(PAYMENTS, 'card')
    t.is(count(down, 'paypal'), PAYMENTS)
    t.is(stripe.fake.charges().length, before.stripe)
    t.is(paypal.fake.charges().length, before.paypal + PAYMENTS)
    t.is(new Set(paypal.fake.charges().map(({ reference }) => reference.replace(/-\d+$/, ''))).size, before.paypal + PAYMENTS)
    t.deepEqual([...new Set(chargesOf(down.slice(0, 50)))], [1])
    // The circuit is open after a few, so that the others do not even try.
    t.true(down.filter(({ attempts }) => attempts.length > 1).length < 5 + AT_ONCE * (1 + PAYMENTS / 1000))
    t.log(`${PAYMENTS} payments: ${share.toFixed(2)} % at stripe; ${PAYMENTS} with stripe down: all at paypal, once`)
  } finally {
    await counter.close()
    for (const { fake } of Object.values(servers)) await fake.close()
  }
})
