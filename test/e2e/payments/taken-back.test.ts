/** What a provider says had been paid, and then had not. */
import test, { type ExecutionContext } from 'ava'
import { eventually } from '../../support/eventually.ts'
import { bundleDocument } from '../../support/platform-model.ts'
import { openCounter } from '../../support/psp/counter.ts'
import { providerNames, type StandIn, standIns } from '../../support/psp/index.ts'

const open = async (t: ExecutionContext, standIn: StandIn, account: object = {}) => {
  const counter = await openCounter({ primary: standIn }, { id: 'us-store', paymentProviders: ['primary'] }, { account })
  t.teardown(async () => {
    await counter.close()
    await standIn.fake.close()
  })
  const { api } = counter
  const paymentMethods = [{ id: 'card', tokens: { primary: standIn.token('ok') } }]
  t.is((await api.post('/customers', { id: 'c', storefrontId: 'us-store', paymentMethods })).status, 201)
  t.is((await api.post('/bundles', bundleDocument)).status, 201)
  const { body: sub } = await api.post('/subscriptions', { customerId: 'c', bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod: 'card' })
  const charge = standIn.fake.charge(sub.payment.attempts[0].id)
  if (!charge) throw new Error(`nothing was charged: ${JSON.stringify(sub)}`)
  return {
    api,
    charge,
    subscription: async () => (await api.get(`/subscriptions/${sub.id}`)).body,
    payment: async () => (await api.get(`/payments/${sub.payment.id}`)).body,
  }
}

for (const provider of providerNames) {
  test(`${provider}: a dispute is followed from its opening to its loss`, async (t) => {
    const standIn = (await standIns[provider]()) as StandIn
    const { charge, subscription, payment } = await open(t, standIn)
    t.is((await subscription()).status, 'active')
    for (const status of ['open', 'won', 'lost'] as const) {
      await standIn.fake.send(standIn.disputeEvent(charge, status))
      await eventually(async () => (await payment()).disputes[0]?.status === status)
      t.like(await payment(), { facts: status === 'won' ? [] : ['disputed'], disputes: [{ status, amount: charge.amount }] })
    }
    await eventually(async () => (await subscription()).status === 'canceled')
  })
}

const tellRefunds = { stripe: standIns.stripe, adyen: standIns.adyen, paypal: standIns.paypal, local: standIns.local }
for (const [provider, start] of Object.entries(tellRefunds)) {
  test(`${provider}: a refund that comes back after it was made counts as not made, and can be asked for again`, async (t) => {
    const standIn = await start()
    const { api, charge, payment } = await open(t, standIn)
    const { id } = await payment()
    await api.post(`/payments/${id}/refund`, { amount: 900 })
    await eventually(async () => (await payment()).refundedAmount === 900)
    for (let told = 0; told < 2; told += 1) await standIn.fake.send(standIn.refundFailedEvent(charge))
    await eventually(async () => (await payment()).refundedAmount === 0)
    t.is((await payment()).refunds[0].status, 'failed')
    for (const refund of charge.refunds) refund.status = 'failed'
    t.is((await api.post(`/payments/${id}/refund`, {})).status, 200)
    await eventually(async () => (await payment()).refundedAmount === charge.amount)
  })
}

test('adyen: a capture that fails after it was reported as done is a lost dispute: the money is not ours, and access ends as the storefront says', async (t) => {
  const standIn = await standIns.adyen()
  const { api, charge, subscription, payment } = await open(t, standIn)
  t.is((await subscription()).status, 'active')
  for (let told = 0; told < 2; told += 1) await standIn.fake.send(standIn.captureFailedEvent(charge))
  await eventually(async () => (await subscription()).status === 'canceled')
  const { status, facts, disputes, refunds } = await payment()
  t.deepEqual([status, facts, refunds], ['succeeded', ['disputed'], []])
  t.is(disputes.length, 1)
  t.like(disputes[0], { status: 'lost', amount: charge.amount, reason: 'CAPTURE_FAILED: Insufficient balance' })
  t.is((await api.post(`/payments/${(await payment()).id}/refund`, {})).body.code, 'not_allowed_in_state', 'what never came is not given back')
})

test('adyen: a capture that fails before it was reported is a decline, and not a dispute', async (t) => {
  const standIn = await standIns.adyen()
  standIn.fake.webhooks.mode = 'never'
  const { charge, subscription, payment } = await open(t, standIn, { capture: 'separate' })
  t.not((await subscription()).status, 'active')
  await standIn.fake.send(standIn.captureFailedEvent(charge))
  await eventually(async () => (await payment()).attempts[0].status === 'declined')
  t.deepEqual([(await payment()).disputes ?? [], (await subscription()).status], [[], 'incomplete'])
})

test('a decline that comes after the success changes nothing, and the inbox says so', async (t) => {
  const standIn = await standIns.stripe()
  const { api, charge, subscription, payment } = await open(t, standIn)
  t.is((await subscription()).status, 'active')
  await standIn.fake.send(standIn.eventOf({ ...charge, status: 'declined', code: 'card_declined' }))
  const late = async () => (await api.get('/webhook-events?status=ignored')).body.data.find(({ why }: { why: string }) => /had succeeded before/.test(why))
  await eventually(async () => (await late()) !== undefined)
  t.is((await late()).paymentId, (await payment()).id)
  t.deepEqual([(await subscription()).status, (await payment()).status, (await payment()).disputes ?? []], ['active', 'succeeded', []])
})
