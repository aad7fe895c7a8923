/** A card is renewed, and the process dies between any two of the writes and calls that follow. */

import test from 'ava'
import { createBundle } from '../../control-plane/catalog/bundles.ts'
import { createCustomer } from '../../control-plane/customers/customers.ts'
import { changeMethod } from '../../control-plane/customers/payment-methods.ts'
import { keys } from '../../control-plane/keys.ts'
import type { PaymentMethod } from '../../control-plane/schemas/customer.ts'
import { createSubscription } from '../../control-plane/subscriptions/create-subscription.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { openLaboratory, storefront } from './laboratory.ts'

const tokens = (token: string) => [{ account: 'a', token }] as PaymentMethod['tokens']
/** Longer than the whole takes. */
const MAX_STEPS = 400

test('an overdue payment is paid once, wherever the process dies after the renewal of the card is stored', async (t) => {
  let [deaths, afterwards, ended] = [0, 0, false]
  for (let step = 1; step < MAX_STEPS; step += 1) {
    const laboratory = openLaboratory()
    const { services, storage } = laboratory
    const tenant = await laboratory.newTenant('t', undefined, storefront)
    await createBundle(tenantScope(services, tenant), 'shop', 'daily', {
      name: 'daily',
      pricing: { amountMinor: 100, currency: 'USD', interval: 'day', intervalCount: 1 },
      entitlements: [],
      trialDays: 0,
      refundEndsAccess: false,
    })
    const method = { id: 'visa', type: 'card', tokens: tokens('funds') } as PaymentMethod
    await createCustomer(tenantScope(services, tenant), 'shop', 'c', { paymentMethods: [method] })
    for (const id of ['s1', 's2'])
      await createSubscription(tenantScope(services, tenant), id, { customerId: 'c', bundleId: 'daily', storefrontId: 'shop', paymentMethod: 'visa' })
    laboratory.dieAt(step)
    const change = { tokens: tokens('good'), expiry: undefined, position: undefined }
    const [outcome] = await Promise.allSettled([
      changeMethod(tenantScope(services, tenant), { storefront: 'shop', customer: 'c', method: 'visa' }, () => {}, change),
    ])
    laboratory.dieAt(undefined)
    // A caller who got no answer may find the change made, or not; nothing in between.
    const { paymentMethods } = await storage.customers.get(keys.customer('t', 'shop', 'c'))
    const isStored = paymentMethods[0]?.tokens[0]?.token === 'good'
    await laboratory.recover()
    const customer = await storage.customers.get(keys.customer('t', 'shop', 'c'))
    t.is(customer.renewed, undefined, `step ${step}`)
    for (const id of ['s1', 's2']) {
      t.is((await storage.subscriptions.get(keys.subscription('t', id))).status, isStored ? 'active' : 'incomplete', `step ${step}: ${id}`)
    }
    t.is(laboratory.bank.kept('pay'), isStored ? 200 : 0, `step ${step}: each is charged once`)
    await laboratory.close()
    if (outcome.status === 'fulfilled') {
      ended = true
      break
    }
    deaths += 1
    if (isStored) afterwards += 1
  }
  t.true(ended, 'it came to its end alive, after a death at every step before')
  t.true(afterwards > 40, `${deaths} deaths, ${afterwards} of them after the renewal was stored`)
})
