/** A payment method that something is paid with cannot be taken away, at whatever moment somebody tries: on every real storage. */

import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { AppError, isAppError } from '../../common/errors.ts'
import { createBundle } from '../../control-plane/catalog/bundles.ts'
import { createTenant } from '../../control-plane/catalog/tenants.ts'
import { changeCustomer } from '../../control-plane/customers/change-customer.ts'
import { createCustomer } from '../../control-plane/customers/customers.ts'
import { removeMethod } from '../../control-plane/customers/payment-methods.ts'
import { keys } from '../../control-plane/keys.ts'
import type { Services } from '../../control-plane/ports.ts'
import type { PaymentMethod } from '../../control-plane/schemas/customer.ts'
import type { Tenant } from '../../control-plane/schemas/tenant.ts'
import { update } from '../../control-plane/storage/update.ts'
import { editSubscription } from '../../control-plane/subscriptions/change-subscription.ts'
import { createSubscription } from '../../control-plane/subscriptions/create-subscription.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { openLaboratory } from '../simulation/laboratory.ts'
import { mongodbMissing } from '../support/mongodb.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { mongodb, type Stores, sqlite } from '../support/two-stores.ts'

const ROUNDS = 120

const billing = { graceHours: 72, retryHours: [24], firstPaymentHours: 23, proration: 'day' as const, maxAttempts: 15, maxAttemptsDays: 30 }
const routing = { split: [{ account: 'a', weight: 1 }], fallback: [], rules: [] }
const daily = {
  name: 'daily',
  pricing: { amountMinor: 100, currency: 'USD', interval: 'day' as const, intervalCount: 1 },
  entitlements: [],
  trialDays: 0,
  refundEndsAccess: false,
}

const method = (id: string): PaymentMethod => ({ id, type: 'card', tokens: [{ account: 'a', token: 'good' }] }) as PaymentMethod

/** As whoever makes a subscription does: it is claimed in the customer's document, in a write that sees the method there, and only then stored. */
const buy = async (services: Services, tenant: Tenant, customerId: string, subscriptionId: string, pause: () => Promise<void>): Promise<void> => {
  await update(services.storage.customers, keys.customer(tenant.tenantId, 'shop', customerId), (customer) => {
    if (!customer.paymentMethods.some(({ id }) => id === 'pm')) throw new AppError('not_allowed_in_state', 'the method has just been taken away')
    const claim = { subscriptionId, bundleId: 'daily', paymentMethodId: 'pm', trial: false, at: services.clock.now() }
    return { ...customer, claims: [...(customer.claims ?? []), claim] }
  })
  await pause()
  await createSubscription(tenantScope(services, tenant), subscriptionId, { customerId, bundleId: 'daily', storefrontId: 'shop', paymentMethod: 'pm' })
}

const refusedOr = async (work: Promise<unknown>): Promise<boolean> => {
  try {
    await work
    return false
  } catch (error) {
    if (isAppError(error, 'not_allowed_in_state')) return true
    throw error
  }
}

const raceOn = (name: string, open: () => Promise<Stores>) => {
  test(`${name}: either a subscription or the removal of its method succeeds when both come at the same moment, ${ROUNDS} times`, async (t) => {
    const seed = Number(process.env.RACE_SEED ?? 20_261_125)
    t.log(`RACE_SEED=${seed}`)
    const random = seededRandom(seed)
    const { a, b, close } = await open()
    const laboratory = openLaboratory()
    t.teardown(async () => {
      await close()
      await laboratory.close()
    })
    const [buyer, remover] = [a, b].map((storage): Services => ({ ...laboratory.services, storage, clock: systemClock })) as [Services, Services]
    const storefronts = [{ id: 'shop', name: 'shop', currency: 'USD', timeZone: 'UTC', routing, billing }]
    const id = `race-${process.pid}`
    const { tenant } = await createTenant(buyer, { id, name: id, mode: 'live', storefronts }, 'key')
    await createBundle(tenantScope(buyer, tenant), 'shop', 'daily', daily)
    const pause = () => new Promise<void>((resolve) => setTimeout(resolve, random() * 6))
    const doors = [
      (customer: string) => removeMethod(tenantScope(remover, tenant), { storefront: 'shop', customer, method: 'pm' }, () => {}),
      (customer: string) => changeCustomer(tenantScope(remover, tenant), 'shop', customer, () => {}, { paymentMethods: [method('other')] }),
    ]
    const outcomes = { bought: 0, removed: 0 }
    for (let round = 0; round < ROUNDS; round += 1) {
      const customer = `c${round}`
      await createCustomer(tenantScope(buyer, tenant), 'shop', customer, { paymentMethods: [method('pm'), method('other')] })
      const remove = doors[round % doors.length] as (typeof doors)[number]
      const [notBought, notRemoved] = await Promise.all([
        refusedOr(pause().then(() => buy(buyer, tenant, customer, `s${round}`, pause))),
        refusedOr(pause().then(() => remove(customer))),
      ])
      const subscription = await a.subscriptions.find(keys.subscription(id, `s${round}`))
      const { paymentMethods } = await a.customers.get(keys.customer(id, 'shop', customer))
      t.is(notBought, !notRemoved, `round ${round}: one of the two`)
      t.is(Boolean(subscription), !notBought)
      t.is(
        paymentMethods.some((one) => one.id === 'pm'),
        notRemoved,
      )
      if (subscription) t.is(subscription.paymentMethodId, 'pm')
      outcomes[notBought ? 'removed' : 'bought'] += 1
    }
    t.log(JSON.stringify(outcomes))
    t.true(outcomes.bought > 0 && outcomes.removed > 0, 'both have been first')
  })
}

raceOn('SQLite', sqlite)
if (mongodbMissing) test.skip(`MongoDB (${mongodbMissing})`, () => {})
else raceOn('MongoDB', mongodb)

test('a claim whose maker has died holds the method for ten minutes, and no longer', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const { services, storage } = laboratory
  const tenant = await laboratory.newTenant('t', undefined, { id: 'shop', name: 'shop', currency: 'USD', timeZone: 'UTC', routing, billing })
  const { _id } = await createCustomer(tenantScope(services, tenant), 'shop', 'c', { paymentMethods: [method('pm'), method('other')] })
  const claim = { subscriptionId: 'never', bundleId: 'b', paymentMethodId: 'pm', trial: false, at: services.clock.now() }
  await update(storage.customers, _id, (customer) => ({ ...customer, claims: [claim] }))
  const remove = (one: string) => removeMethod(tenantScope(services, tenant), { storefront: 'shop', customer: 'c', method: one }, () => {})
  const refusal = await t.throwsAsync(remove('pm'))
  t.regex(refusal?.message ?? '', /the subscription never is being paid with it right now; try again in a few minutes/)
  t.is((await remove('other')).paymentMethods.length, 1, 'another method is free')
  laboratory.pass(10 * 60_000)
  t.deepEqual((await remove('pm')).paymentMethods, [])
})

test('a claim holds the method that a stored subscription is being given, and nothing else holds the one that it was made with', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const { services, storage } = laboratory
  const tenant = await laboratory.newTenant('t', undefined, { id: 'shop', name: 'shop', currency: 'USD', timeZone: 'UTC', routing, billing })
  await createBundle(tenantScope(services, tenant), 'shop', 'daily', daily)
  await createCustomer(tenantScope(services, tenant), 'shop', 'c', { paymentMethods: [method('pm'), method('other')] })
  await buy(services, tenant, 'c', 's', async () => laboratory.pass(1_000))
  const remove = (one: string) => removeMethod(tenantScope(services, tenant), { storefront: 'shop', customer: 'c', method: one }, () => {})
  laboratory.pass(1_000)
  const claim = { subscriptionId: 's', bundleId: 'daily', paymentMethodId: 'other', commandId: 'cmd', trial: false, at: services.clock.now() }
  await update(storage.customers, keys.customer('t', 'shop', 'c'), (customer) => ({ ...customer, claims: [...(customer.claims ?? []), claim] }))
  t.regex((await t.throwsAsync(remove('other')))?.message ?? '', /being paid with it right now/)
  t.regex((await t.throwsAsync(remove('pm')))?.message ?? '', /PATCH the subscription with another/)
  await editSubscription(tenantScope(services, tenant), { id: 'cmd', subscriptionId: 's', check: () => {} }, { paymentMethod: 'other' })
  t.regex((await t.throwsAsync(remove('other')))?.message ?? '', /PATCH the subscription with another/)
  t.deepEqual(
    (await remove('pm')).paymentMethods.map(({ id }) => id),
    ['other'],
  )
})
