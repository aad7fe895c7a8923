/** Accounts that authorize first: at every provider the money is held, then taken, once; and let go when nobody wants it. */
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { eventually } from '../../support/eventually.ts'
import { openCounter } from '../../support/psp/counter.ts'
import { providerNames, type StandIn, standIns } from '../../support/psp/index.ts'

for (const provider of providerNames) {
  test.serial(`${provider}: an authorized charge is captured, once, also if the capture is not answered`, async (t) => {
    const standIn = (await standIns[provider]()) as StandIn
    const { fake } = standIn
    const counter = await openCounter({ primary: standIn }, { paymentProviders: ['primary'] }, { account: { capture: 'separate' } })
    try {
      const paymentMethods = [{ id: 'card', tokens: { primary: standIn.token('ok') } }]
      await counter.api.post('/customers', { id: 'c', storefrontId: 'store', paymentMethods })
      const pay = async () => {
        const { body } = await counter.api.post('/payments', { storefrontId: 'store', customerId: 'c', amount: 2900, currency: 'USD', paymentMethod: 'card' })
        return body
      }
      const paid = async (id: string) => (await counter.api.get(`/payments/${id}`)).body
      const first = await pay()
      await eventually(async () => (await paid(first.id)).status === 'succeeded')
      t.is(fake.charge(first.attempts[0].id)?.status, 'captured')

      // Nothing is heard of the authorization, nor of what became of it, until the provider is asked.
      fake.webhooks.mode = 'never'
      fake.failNext('timeout after')
      const second = await pay()
      t.is(second.status, 'processing')
      t.is(fake.charge(second.attempts[0].id)?.status, 'authorized')
      fake.webhooks.mode = 'once'
      counter.advance(6 * 60_000)
      await eventually(async () => (await paid(second.id)).status === 'succeeded')
      t.is(fake.charge(second.attempts[0].id)?.status, 'captured')

      const { body: refunded } = await counter.api.post(`/payments/${first.id}/refund`, { amount: 900 })
      t.true(['succeeded', 'pending'].includes(refunded.refunds[0].status), JSON.stringify(refunded.refunds))
      await eventually(async () => (await paid(first.id)).refundedAmount === 900)
      await sleep(50)
      for (const charge of fake.charges()) t.is(charge.refunds.length, charge.reference.startsWith(first.id) ? 1 : 0)
      t.is(fake.charges().length, 2)
    } finally {
      await counter.close()
      await fake.close()
    }
  })
}
