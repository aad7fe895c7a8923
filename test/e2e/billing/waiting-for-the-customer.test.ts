/** A payment that waits for its customer to act: who ends the waiting, when, and what may be done meanwhile. */
import test from 'ava'
import { openBilling } from '../../support/billing.ts'
import { eventually } from '../../support/eventually.ts'
import { inWorlds } from '../../support/in-worlds.ts'

const approve = (url: string) => fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"outcome":"approve"}' })
const monthly = (amount: number) => ({ pricing: { amount, currency: 'USD', interval: 'month' } })

inWorlds(test, (story) => {
  story('a renewal: another card is tried at once, and the late approval of the first changes nothing', async (world) => {
    const { t, buy, clock, pay, bills, kept, read } = await openBilling(world)
    const { id } = await buy()
    await pay(id, 'pm_sca')
    await clock('2024-02-01')
    const { url } = (await bills(id))[1].attempts[0].nextAction
    t.like(await pay(id, 'pm_good'), { status: 'active', payment: { status: 'succeeded' } })
    await approve(url)
    t.is((await read(id)).status, 'active')
    t.is(await kept(), 2 * 2_900)
  })

  story('money of a challenge that cannot be called off is refunded if it still comes', async (world) => {
    const { t, buy, clock, pay, bills, kept } = await openBilling(world)
    const { id } = await buy()
    await pay(id, 'pm_sca_late')
    await clock('2024-02-01')
    const { url } = (await bills(id))[1].attempts[0].nextAction
    await pay(id, 'pm_good')
    await approve(url)
    await clock('2024-02-02')
    t.is(await kept(), 2 * 2_900)
    t.like((await bills(id))[1], { status: 'succeeded', refunds: [{ reason: 'paid_twice', status: 'succeeded' }] })
  })

  story('a first payment: another card is tried at once', async (world) => {
    const { t, buy, pay, kept } = await openBilling(world)
    const { id } = await buy({ paymentMethod: 'pm_sca' })
    t.is((await pay(id, 'pm_good')).status, 'active')
    t.is(await kept(), 2_900)
  })

  story('an upgrade: it is given up by time, and the subscription goes on as it was', async (world) => {
    const { t, buy, clock, pay, tell, read, refused, bills } = await openBilling(world, { bundles: { more: monthly(5_800) } })
    const { id } = await buy()
    await clock('2024-01-02')
    await pay(id, 'pm_sca')
    t.like((await tell(id, 'change', { bundleId: 'more' })).payment.attempts[0], { status: 'requires_action' })
    await refused(id, 'pause', {})
    await clock('2024-01-02T22:59:59Z')
    await refused(id, 'pause', {})
    await clock('2024-01-02T23:00:00Z')
    t.like(await read(id), { status: 'active', bundleId: 'pro-plan' })
    t.like((await bills(id))[1].attempts[0], { status: 'declined', declineClass: 'action_required', pspCode: 'customer_did_not_act', nextAction: null })
    await pay(id, 'pm_good')
    t.like(await tell(id, 'change', { quantity: 2 }), { quantity: 2 })
  })

  story('an upgrade: it is given up by a call, and so is its attempt', async (world) => {
    const { t, buy, clock, pay, tell, read, refused, bills, shop } = await openBilling(world, { bundles: { more: monthly(5_800) } })
    const { id } = await buy()
    await clock('2024-01-02')
    await pay(id, 'pm_sca')
    const first = (await tell(id, 'change', { bundleId: 'more' })).payment
    const canceled = await shop.api.post(`/payments/${first.id}/attempts/${first.attempts[0].id}/cancel`)
    t.like(canceled, { status: 200, body: { attempts: [{ status: 'declined' }] } }, JSON.stringify(canceled.body))
    t.is((await shop.api.post(`/payments/${first.id}/attempts/${first.attempts[0].id}/cancel`)).status, 409)
    const second = (await tell(id, 'change', { bundleId: 'more' })).payment
    for (const [command, body] of [
      ['pause', {}],
      ['change', { quantity: 3 }],
    ] as const) {
      const { detail } = await refused(id, command, body)
      t.true(detail.includes(`/payments/${second.id}/cancel`), detail)
    }
    const given = await shop.api.post(`/payments/${second.id}/cancel`)
    t.like(given.body, { status: 'canceled', attempts: [{ status: 'declined', pspCode: 'customer_did_not_act', nextAction: null }] })
    t.like(await read(id), { status: 'active', bundleId: 'pro-plan' })
    await approve(second.attempts[0].nextAction.url)
    t.is((await bills(id)).at(-1).refunds.length, 0, 'nobody could pay it any more')
    await pay(id, 'pm_good')
    t.like(await tell(id, 'change', { bundleId: 'more' }), { bundleId: 'more' })
  })

  story('a canceled subscription whose first payment waits can no longer be paid, and nothing is under way', async (world) => {
    const { t, buy, tell, bills, kept, shop } = await openBilling(world)
    const { id, payment } = await buy({ paymentMethod: 'pm_sca' })
    await tell(id, 'cancel', { at: 'now' })
    t.like((await bills(id))[0], { status: 'canceled', attempts: [{ status: 'declined', nextAction: null }] })
    await approve(payment.attempts[0].nextAction.url)
    t.like((await bills(id))[0], { status: 'canceled', refunds: [] })
    t.is(await kept(), 0)
    t.is((await shop.api.call('DELETE', '/storefronts/us-store/customers/c')).status, 200)
  })

  story('an upgrade that waits is paid with the card that is given meanwhile', async (world) => {
    const { t, buy, clock, pay, tell, kept } = await openBilling(world, { bundles: { more: monthly(6_000) } })
    const { id } = await buy()
    await clock('2024-01-16')
    await pay(id, 'pm_sca')
    await tell(id, 'change', { bundleId: 'more' })
    t.like(await pay(id, 'pm_good'), { bundleId: 'more', status: 'active' })
    t.true((await kept()) > 2_900)
  })

  story("tryOtherMethods: the customer's next method has its turn when nobody acts", async (world) => {
    const { t, buy, clock, read, shop, bills } = await openBilling(world, { billing: { tryOtherMethods: true } })
    const { id } = await buy()
    const path = '/storefronts/us-store/customers/c/payment-methods'
    for (const method of ['pm_decline_funds', 'pm_sca', 'pm_good']) await shop.api.post(path, { id: method, tokens: { '*': method } })
    await shop.api.patch(`/subscriptions/${id}`, { paymentMethod: 'pm_decline_funds' })
    await shop.api.patch(`${path}/pm_sca`, { position: 0 })
    await shop.api.patch(`${path}/pm_good`, { position: 1 })
    await clock('2024-02-01')
    t.is((await read(id)).status, 'past_due')
    await clock('2024-02-02')
    t.is((await read(id)).status, 'active')
    t.deepEqual(
      (await bills(id))[1].attempts.map(({ paymentMethod }: { paymentMethod: string }) => paymentMethod),
      ['pm_decline_funds', 'pm_sca', 'pm_good'],
    )
  })

  story('a one-time payment ends by time, or when somebody gives it up; it can be paid anew with another card', async (world) => {
    const { t, shop, clock, kept } = await openBilling(world)
    const order = { storefrontId: 'us-store', customerId: 'c', amount: 1_000, currency: 'USD', paymentMethod: 'pm_sca' }
    const pay = async () => (await shop.api.post('/payments', order)).body
    const [left, given, other] = [await pay(), await pay(), await pay()]
    t.like((await shop.api.post(`/payments/${given.id}/cancel`)).body, { status: 'canceled' })
    t.like((await shop.api.post(`/payments/${other.id}/pay`, { paymentMethod: 'pm_good' })).body, { status: 'succeeded' })
    t.is((await shop.api.post(`/payments/${other.id}/cancel`)).status, 409)
    await clock('2024-01-01T23:00:00Z')
    t.like((await shop.api.get(`/payments/${left.id}`)).body, { status: 'failed', failure: null })
    await approve(given.attempts[0].nextAction.url)
    t.is(await kept(), 1_000)
  })

  story('a renewal that the bank wants authenticated is saved by the customer being there', async (world) => {
    const { t, buy, clock, pay, bills, read, shop } = await openBilling(world)
    const { id } = await buy()
    await pay(id, 'pm_decline_action_required')
    await clock('2024-02-01')
    const [, renewal] = await bills(id)
    t.like(renewal, { status: 'failed', attempts: [{ declineClass: 'action_required' }] })
    const answer = await shop.api.post(`/payments/${renewal.id}/pay`, { returnUrl: 'https://shop.example/back' })
    t.like(answer, { status: 200, body: { status: 'processing' } }, JSON.stringify(answer.body))
    const again = await shop.api.post(`/payments/${renewal.id}/pay`, {})
    t.is(again.body.attempts.length, 2, 'a browser that was left open finds the same challenge')
    await approve(again.body.attempts[1].nextAction.url)
    await eventually(async () => (await read(id)).status === 'active')
    t.is((await shop.api.post(`/payments/${renewal.id}/pay`, {})).status, 409)
    t.like((await shop.api.post(`/payments/${renewal.id}/pay`, { returnUrl: 'javascript:alert(1)' })).body, { field: 'returnUrl' })
  })

  story("a present customer's own requests are sent as such; those that time brings are not", async (world) => {
    const { t, buy, clock, tell, shop } = await openBilling(world, { bundle: { ...monthly(3_100), trialDays: 0 } })
    const { id } = await buy()
    await clock('2024-01-16')
    await tell(id, 'change', { quantity: 2 })
    await clock('2024-02-01')
    const { charges } = (await (await fetch(`${world.tollgate.simulator}/v1/ledger/${shop.tenantId}`)).json()) as { charges: { offSession: boolean }[] }
    t.deepEqual(charges.map(({ offSession }) => Boolean(offSession)).sort(), [false, false, true])
  })
})
