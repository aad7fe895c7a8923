/** A customer is erased, and the process dies between any two of the writes and calls that it takes. */

import { isDeepStrictEqual } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { defined } from '../../common/defined.ts'
import { isAppError } from '../../common/errors.ts'
import { createBundle } from '../../control-plane/catalog/bundles.ts'
import { changeCustomer } from '../../control-plane/customers/change-customer.ts'
import { addPaymentMethod, createCustomer } from '../../control-plane/customers/customers.ts'
import { eraseCustomer } from '../../control-plane/customers/erase-customer.ts'
import { addMethod } from '../../control-plane/customers/payment-methods.ts'
import { giveGrant } from '../../control-plane/entitlements/give-grants.ts'
import { reportUsage } from '../../control-plane/entitlements/report-usage.ts'
import { keys } from '../../control-plane/keys.ts'
import { payOnce } from '../../control-plane/payments/one-time-payment.ts'
import type { Customer, PaymentMethod } from '../../control-plane/schemas/customer.ts'
import type { Tenant } from '../../control-plane/schemas/tenant.ts'
import { cancelSubscription } from '../../control-plane/subscriptions/change-subscription.ts'
import { createSubscription } from '../../control-plane/subscriptions/create-subscription.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { type Laboratory, openLaboratory, storefront } from './laboratory.ts'

const JOHN = 'john@example.com'
const DAY_MS = 86_400_000
/** Longer than the whole takes. */
const MAX_STEPS = 1_000
const name = { storefront: 'shop', customer: JOHN }
const key = keys.customer('t', 'shop', JOHN)
const card = { id: 'card', type: 'card', tokens: [{ account: 'a', token: 'good' }] } as PaymentMethod

/** John has a subscription that has ended and one that has not, has used something, has paid once, and another payment is pending. Mary has the same card. */
const openBusiness = async (laboratory: Laboratory): Promise<Tenant> => {
  const { services } = laboratory
  const tenant = await laboratory.newTenant('t', undefined, storefront)
  await createBundle(tenantScope(services, tenant), 'shop', 'daily', {
    name: 'daily',
    pricing: { amountMinor: 100, currency: 'USD', interval: 'day', intervalCount: 1 },
    entitlements: [{ key: 'seats', kind: 'capacity', limit: 5 }],
    trialDays: 0,
    refundEndsAccess: false,
  })
  const metadata = { note: 'call on Monday' }
  for (const id of [JOHN, 'mary'])
    await createCustomer(tenantScope(services, tenant), 'shop', id, { email: `mail-${id}`, name: `named ${id}`, paymentMethods: [card], metadata })
  const order = { bundleId: 'daily', storefrontId: 'shop', paymentMethod: 'card', metadata }
  await createSubscription(tenantScope(services, tenant), 'ended', { ...order, customerId: JOHN })
  await cancelSubscription(tenantScope(services, tenant), { id: 'cmd', subscriptionId: 'ended', check: () => {} }, 'now')
  await createSubscription(tenantScope(services, tenant), 'running', { ...order, customerId: JOHN })
  await createSubscription(tenantScope(services, tenant), 'other', { ...order, customerId: 'mary' })
  await reportUsage(
    tenantScope(services, tenant),
    { tenantId: 't', storefrontId: 'shop', customerId: JOHN },
    { id: 'use', entitlement: 'seats', change: { add: 2 } },
  )
  await giveGrant(tenantScope(services, tenant), name, 'grt', {
    entitlements: [{ key: 'seats', kind: 'capacity', limit: 1 }],
    source: 'manual',
    mode: 'add',
    reason: 'John was patient',
  })
  const payment = { storefrontId: 'shop', customerId: JOHN, amountMinor: 700, currency: 'USD', description: 'a present from John' }
  await payOnce(tenantScope(services, tenant), 'pay_done', { ...payment, paymentMethod: 'card' })
  await payOnce(tenantScope(services, tenant), 'pay_pending', { ...payment, paymentMethod: 'pending_60' })
  await laboratory.bank.deliver('a', {
    id: 'evt_done',
    type: 'charge.succeeded',
    charge: { reference: 'pay_done-1', outcome: { status: 'succeeded', pspReference: 'ch_john' } },
  })
  return tenant
}

/** Whatever can be found anywhere by a list, in words. */
const everything = async ({ storage }: Laboratory): Promise<string> => {
  const where = { tenantId: 't' }
  const pages = await Promise.all([
    storage.customers.page({ where: { ...where, storefrontId: 'shop' }, limit: 500 }),
    ...([storage.subscriptions, storage.payments, storage.entitlementSets, storage.webhookEvents] as const).map((one) => one.page({ where, limit: 500 })),
  ])
  const byKey = await Promise.all(([storage.usageCounters, storage.customerGrants, storage.entitlementSets] as const).map((one) => one.find(key)))
  return JSON.stringify([...pages.map(({ data }) => data), ...byKey])
}

const isErased = async (t: ExecutionContext, laboratory: Laboratory, what: string): Promise<void> => {
  const { storage, feed, bank } = laboratory
  await laboratory.handOnAll()
  const told = await storage.loggedEvents.after({ where: { tenantId: 't' }, above: 0, limit: 500 })
  const aboutJohn = told.filter((event) => /john|Monday/i.test(JSON.stringify(event)) && event.customerId !== 'mary')
  t.deepEqual(
    aboutJohn.map(({ type }) => type),
    ['customer.erased'],
    `${what}: whoever has kept something hears whom to forget`,
  )
  t.false(/named|mail-|Monday/.test(JSON.stringify(aboutJohn)), what)
  t.true(
    told.some(({ type, data }) => type === 'payment.succeeded' && isDeepStrictEqual(data, { erased: true })),
    what,
  )
  t.false(/john/i.test(await everything(laboratory)), `${what}: ${(await everything(laboratory)).match(/.{80}john.{80}/i)?.[0]}`)
  t.is(await storage.customers.find(key), undefined, what)
  t.is(await feed.getSet({ tenantId: 't', storefrontId: 'shop', customerId: JOHN }), undefined, what)
  const payments = await storage.payments.page({ where: { tenantId: 't' }, limit: 100 })
  const ofJohn = payments.data.filter(({ subscriptionId }) => subscriptionId !== 'other')
  const [as] = new Set(ofJohn.map(({ customerId }) => customerId))
  t.regex(as ?? '', /^erased_[0-9a-f]{32}$/, what)
  t.is(ofJohn.length, 4, `${what}: the books are kept`)
  t.true(ofJohn.every(({ customerId, ownMethod }) => customerId === as && !ownMethod))
  for (const id of ['ended', 'running'])
    t.like(await storage.subscriptions.get(keys.subscription('t', id)), { customerId: as, status: 'canceled', metadata: undefined }, what)
  t.is((await everything(laboratory)).split('Monday').length, 3, `${what}: of two documents of Mary`)
  t.like(await storage.payments.get(keys.payment('t', 'pay_done')), { status: 'succeeded', amountMinor: 700, refunds: [] }, what)
  t.like(await storage.subscriptions.get(keys.subscription('t', 'other')), { customerId: 'mary', status: 'active' }, what)
  t.is(bank.kept(''), 3 * 100 + 700, `${what}: money that was paid stays paid`)
  const event = await storage.webhookEvents.get(keys.webhookEvent('t', 'a', 'evt_done'))
  t.like(event, { type: 'charge.succeeded', status: 'applied', paymentId: 'pay_done' }, what)
  t.false('rawBody' in event || 'charge' in event)
  t.truthy(event.erasedAt)
}

test('an erasure completes wherever the process dies, and leaves nothing of the customer', async (t) => {
  let [marked, whole, ended] = [0, 0, false]
  for (let step = 1; step < MAX_STEPS; step += 1) {
    const laboratory = openLaboratory()
    const { services, storage } = laboratory
    const tenant = await openBusiness(laboratory)
    const before = await everything(laboratory)
    laboratory.dieAt(step)
    const [outcome] = await Promise.allSettled([eraseCustomer(tenantScope(services, tenant), name, () => {}, true)])
    laboratory.dieAt(undefined)
    const customer = await storage.customers.find(key)
    if (customer && !customer.erasing) {
      whole += 1
      t.is(await everything(laboratory), before, `step ${step}: what was not begun has changed nothing`)
    } else {
      marked += 1
      if (customer) await isClosed(t, laboratory, tenant, customer)
      await laboratory.recover()
      await isErased(t, laboratory, `step ${step}`)
    }
    await laboratory.close()
    if (outcome.status === 'fulfilled' && outcome.value.finished) {
      ended = true
      break
    }
  }
  t.log(`${whole} deaths before the mark, ${marked} after it`)
  t.true(ended && whole > 2 && marked > 80)
})

/** While the mark stands nothing begins with the customer. */
const isClosed = async (t: ExecutionContext, { services, storage }: Laboratory, tenant: Tenant, customer: Customer): Promise<void> => {
  const order = { customerId: JOHN, bundleId: 'daily', storefrontId: 'shop', paymentMethod: 'good' }
  const payment = { storefrontId: 'shop', customerId: JOHN, amountMinor: 1, currency: 'USD', paymentMethod: 'good' }
  const doors: (() => Promise<unknown>)[] = [
    () => changeCustomer(tenantScope(services, tenant), 'shop', JOHN, () => {}, { name: 'John again' }),
    () => addMethod(tenantScope(services, tenant), name, () => {}, card),
    () => addPaymentMethod(tenantScope(services, tenant), customer, card),
    () => createSubscription(tenantScope(services, tenant), 'new', order),
    () => payOnce(tenantScope(services, tenant), 'pay_new', payment),
    () => giveGrant(tenantScope(services, tenant), name, 'new', { entitlements: [], source: 'manual', mode: 'add', reason: 'r' }),
  ]
  for (const [n, door] of doors.entries()) {
    const error = await t.throwsAsync(door())
    t.true(isAppError(error, 'not_allowed_in_state'), `door ${n}: ${error}`)
    t.regex(error?.message ?? '', /is being erased/)
  }
  t.deepEqual((await storage.customers.get(key)).paymentMethods, [])
  t.false(/mail-|named|Monday/.test(JSON.stringify(customer)), 'the mark itself holds nothing of the customer but its id')
}

test("money that arrives after the erasure is refunded, and the provider's words about it are not kept", async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const { services, storage, bank } = laboratory
  const tenant = await openBusiness(laboratory)
  t.true((await eraseCustomer(tenantScope(services, tenant), name, () => {}, true)).finished)
  t.like(await storage.payments.get(keys.payment('t', 'pay_pending')), { status: 'processing', abandoned: true })
  laboratory.pass(3_600_000)
  await bank.deliver('a', {
    id: 'evt_late',
    type: 'charge.succeeded',
    charge: { reference: 'pay_pending-1', outcome: { status: 'succeeded', pspReference: 'ch_2' } },
  })
  await laboratory.recover()
  const late = await storage.payments.get(keys.payment('t', 'pay_pending'))
  t.like(late, { status: 'succeeded', abandoned: true })
  t.is(late.refunds[0]?.reason, 'not_wanted')
  t.false('rawBody' in (await storage.webhookEvents.get(keys.webhookEvent('t', 'a', 'evt_late'))))
  await isErased(t, laboratory, 'afterwards')
})

test('the same id made again is another customer, whose revisions go on growing; after a day nothing names the old one', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const { services, storage, feed } = laboratory
  const tenant = await openBusiness(laboratory)
  const john = { tenantId: 't', storefrontId: 'shop', customerId: JOHN }
  const before = (await feed.getSet(john))?.revision ?? 0
  t.true(before > 2)
  await eraseCustomer(tenantScope(services, tenant), name, () => {}, true)
  const tombstone = keys.tombstone('t', 'shop', JOHN)
  t.false(/john/i.test(tombstone))
  const made = await createSubscription(tenantScope(services, tenant), 'anew', {
    customerId: JOHN,
    bundleId: 'daily',
    storefrontId: 'shop',
    paymentMethod: 'good',
  })
  t.true(made.entitlementRevision > before + 1, `${made.entitlementRevision} follows ${before}`)
  const set = await feed.getSet(john)
  t.is(set?.revision, made.entitlementRevision)
  t.deepEqual(set?.usage, [], 'what the old one had used is not its own')
  t.is((await storage.tombstones.get(tombstone)).inFeed?.customerId, JOHN)
  laboratory.pass(DAY_MS)
  await laboratory.recover()
  t.deepEqual((await storage.tombstones.get(tombstone)).inFeed, undefined)
  t.is((await feed.getSet(john))?.revision, made.entitlementRevision, 'the new one stays')
  const again = await eraseCustomer(tenantScope(services, tenant), name, () => {}, true)
  t.true(again.finished)
  t.true((await storage.tombstones.get(tombstone)).lastRevision > made.entitlementRevision)
})

for (const when of ['before', 'after'] as const) {
  test(`a payment that is stored just ${when} its customer is erased is not made, and names nobody`, async (t) => {
    const laboratory = openLaboratory()
    t.teardown(laboratory.close)
    const { services, storage, bank } = laboratory
    const tenant = await openBusiness(laboratory)
    const erase = () => eraseCustomer(tenantScope(services, tenant), name, () => {}, true)
    const insert: typeof storage.payments.insert = async (payment) => {
      if (when === 'before') await erase()
      const made = await storage.payments.insert(payment)
      if (when === 'after') await erase()
      return made
    }
    const interrupted = { ...services, storage: { ...services.storage, payments: { ...storage.payments, insert } } }
    const order = { storefrontId: 'shop', customerId: JOHN, amountMinor: 900, currency: 'USD', description: 'for John', paymentMethod: 'card' }
    const payment = await payOnce(tenantScope(interrupted, tenant), 'pay_race', order)
    t.true(['failed', 'canceled'].includes(payment.status), payment.status)
    t.regex(payment.customerId, /^erased_/)
    await laboratory.recover()
    t.false(bank.charges().some(({ reference }) => reference.startsWith('pay_race')))
    t.false(/john/i.test(await everything(laboratory)))
  })
}

test('an erasure is refused if something would be lost, and the refusal says what it is and how to go on', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const { services, storage } = laboratory
  const tenant = await openBusiness(laboratory)
  const refusal = async () => (await t.throwsAsync(eraseCustomer(tenantScope(services, tenant), name, () => {}, false)))?.message ?? ''
  t.regex(await refusal(), /subscriptions that have not ended: running; and payments or refunds in progress: pay_pending\. .*\?cancel=now/)
  await cancelSubscription(tenantScope(services, tenant), { id: 'now', subscriptionId: 'running', check: () => {} }, 'now')
  t.regex(await refusal(), /^the customer has payments or refunds in progress: pay_pending/)
  await laboratory.bank.deliver('a', { id: 'evt', type: 'x', charge: { reference: 'pay_pending-1', outcome: { status: 'succeeded', pspReference: 'ch' } } })
  const claim = { subscriptionId: 'soon', bundleId: 'daily', trial: false, at: services.clock.now() }
  const claimed = await storage.customers.replace({ ...(await storage.customers.get(key)), claims: [claim] })
  t.regex(await refusal(), /the customer's subscription soon is being created right now/)
  await storage.customers.replace(defined({ ...claimed, claims: undefined }))
  t.like(await eraseCustomer(tenantScope(services, tenant), name, () => {}, false), { finished: true })
  t.is((await storage.payments.get(keys.payment('t', 'pay_pending'))).refunds.length, 0, 'what had been paid by then stays paid')
  const error = await t.throwsAsync(eraseCustomer(tenantScope(services, tenant), name, () => {}, true))
  t.true(isAppError(error, 'not_found'))
})
