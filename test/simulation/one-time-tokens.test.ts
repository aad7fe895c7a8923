/** Payments that are made with a token alone: it stays with the payment, for as long as anything may be sent with it. */

import test from 'ava'
import { resumePayment } from '../../control-plane/engine/advance-payment.ts'
import { keys } from '../../control-plane/keys.ts'
import { payOnce } from '../../control-plane/payments/one-time-payment.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { openLaboratory, storefront } from './laboratory.ts'

const withFallback = { ...storefront, routing: { ...storefront.routing, fallback: ['b'] } }
const order = (paymentMethod: string) => ({ storefrontId: 'shop', customerId: 'c', amountMinor: 700, currency: 'USD', paymentMethod })
const open = async () => {
  const laboratory = openLaboratory()
  const tenant = await laboratory.newTenant('t', undefined, withFallback)
  const read = (id: string) => laboratory.storage.payments.get(keys.payment('t', id))
  return { ...laboratory, tenant, read }
}

test('the token is kept until its payment is final, and the customer has no method of it', async (t) => {
  const { services, storage, tenant, read, bank, pass, recover, close } = await open()
  t.teardown(close)
  for (const token of ['good', 'funds', 'hard', 'paidsilent', 'pending_60', 'sca', 'lost']) {
    const { status } = await payOnce(tenantScope(services, tenant), `pay_${token}`, order(token))
    const stored = await read(`pay_${token}`)
    t.is(stored.status, status)
    t.is(stored.ownMethod?.tokens[0]?.token, status === 'processing' ? token : undefined, `${token} is ${status}`)
    // At a live tenant a token belongs to the first account alone.
    t.deepEqual([...new Set(stored.attempts.map(({ account }) => account))], ['a'], token)
    t.false(
      stored.attempts.some(({ paymentMethodId }) => paymentMethodId.includes(token)),
      'the id does not show it',
    )
  }
  t.deepEqual((await storage.customers.get(keys.customer('t', 'shop', 'c'))).paymentMethods, [])
  // The provider never saw one of them: it is sent again, with the token that was kept.
  pass(3_600_000)
  for (const payment of await storage.payments.due({ by: 'dueAt', where: { clock: 'system' }, until: services.clock.now(), limit: 100 })) {
    await resumePayment(tenantScope(services, tenant), payment.id)
  }
  await recover()
  for (const token of ['lost', 'paidsilent', 'pending_60']) {
    t.like(await read(`pay_${token}`), { status: 'succeeded' }, token)
    t.false('ownMethod' in (await read(`pay_${token}`)), token)
  }
  t.is(bank.charges().filter(({ reference, status }) => reference.startsWith('pay_lost') && status === 'succeeded').length, 1)
  t.like(await read('pay_sca'), { status: 'processing', ownMethod: { type: 'card' } })
})

test('a process that dies anywhere leaves a payment that is made once, and no token behind', async (t) => {
  let ended = false
  for (let step = 1; step < 60 && !ended; step += 1) {
    const { services, storage, tenant, bank, dieAt, recover, close } = await open()
    dieAt(step)
    const [outcome] = await Promise.allSettled([payOnce(tenantScope(services, tenant), 'pay_1', order('good'))])
    dieAt(undefined)
    await recover()
    ended = outcome.status === 'fulfilled'
    const payment = await storage.payments.find(keys.payment('t', 'pay_1'))
    t.is(bank.kept('pay_1'), payment ? 700 : 0, `step ${step}`)
    if (payment) t.is(payment.status, 'succeeded', `step ${step}`)
    t.is(payment?.ownMethod, undefined, `step ${step}`)
    await close()
  }
  t.true(ended)
})
