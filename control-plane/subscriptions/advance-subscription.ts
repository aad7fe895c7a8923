/**
 * Takes a subscription as far as it can go now: what time has done to it, the payment it waits for, the publication
 * of what it grants. The request that changes a subscription, the worker that finds it due, the sweeper after a
 * crash and a PSP's webhook all call this and nothing else; each step is stored before the next, so whoever calls it
 * again goes on where it stopped.
 */
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { isAppError } from '../../common/errors.ts'
import { publishEntitlements } from '../entitlements/publish-entitlements.ts'
import { keys } from '../keys.ts'
import { collectPayment } from '../payments/collect-payment.ts'
import { abandon, newPayment, reopen } from '../payments/payment-machine.ts'
import type { Payment } from '../schemas/payment.ts'
import type { Subscription } from '../schemas/subscription.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { repairTime, type Services, tenantNow } from '../services.ts'
import { insertOrGet, update } from '../storage/update.ts'
import { afterPayment, afterTime, atRest, isFinal, openPeriodOf } from './subscription-machine.ts'

/** Ten years of days in one catch-up, and some lost races; more steps on one subscription is a fault. */
const MAX_STEPS = 5_000

export interface AdvancedSubscription {
  subscription: Subscription
  /** The payment it waits for, or the last one it made in this call. */
  payment: Payment | undefined
  /** The revision of the customer's set that shows all this. */
  entitlementRevision: number
}

export const advanceSubscription = async (services: Services, tenant: Tenant, subscriptionId: string): Promise<AdvancedSubscription> => {
  const { subscriptions } = services.storage
  const id = keys.subscription(tenant.tenantId, subscriptionId)
  let payment: Payment | undefined
  for (let steps = 0; steps < MAX_STEPS; steps += 1) {
    try {
      const subscription = await subscriptions.get(id)
      const moved = afterTime(subscription, tenantNow(services, tenant), repairTime(services))
      if (moved) {
        await subscriptions.replace(moved)
        continue
      }
      if (subscription.openPaymentId) {
        const collected = await bringPaymentToRest(services, tenant, subscription)
        payment = collected.payment
        if (collected.changed) continue
      }
      const { revision, published } = await publishEntitlements(services, tenant, customerOf(subscription))
      const rested = published && subscription.repairAt ? await subscriptions.replace(atRest(subscription)) : subscription
      return { subscription: rested, payment, entitlementRevision: revision }
    } catch (error) {
      // Another process changed the subscription: look again at where it is.
      if (!isAppError(error, 'revision_conflict')) throw error
    }
  }
  throw new Error(`subscription ${subscriptionId} does not come to rest`)
}

const customerOf = ({ tenantId, storefrontId, customerId }: CustomerKey): CustomerKey => ({ tenantId, storefrontId, customerId })

/** @returns whether the payment's outcome changed the subscription. */
const bringPaymentToRest = async (services: Services, tenant: Tenant, subscription: Subscription): Promise<{ payment: Payment; changed: boolean }> => {
  const { payments } = services.storage
  const opened = await openPaymentOf(services, tenant, subscription)
  if (isFinal(subscription.status)) await update(payments, opened._id, (latest) => abandon(latest, tenantNow(services, tenant), repairTime(services)))
  else if (opened.status === 'failed' && subscription.paymentMethodId && opened.paymentMethodId !== subscription.paymentMethodId) {
    const method = subscription.paymentMethodId
    await update(payments, opened._id, (latest) => (latest.status === 'failed' ? reopen(latest, method, repairTime(services)) : undefined))
  }
  const payment = await collectPayment(services, tenant, opened.id)
  const changed = afterPayment(subscription, payment, tenantNow(services, tenant), repairTime(services))
  if (changed) await services.storage.subscriptions.replace(changed)
  // The outcome is in the subscription: only now is the payment's own reminder of it taken away.
  const done = await update(payments, payment._id, (latest) =>
    latest.effectsDue && latest.status === payment.status ? { ...latest, effectsDue: false, repairAt: undefined } : undefined,
  )
  return { payment: done, changed: changed !== undefined }
}

/** Makes the payment if a crash came between the subscription and it. */
const openPaymentOf = async (services: Services, tenant: Tenant, subscription: Subscription): Promise<Payment> => {
  const period = openPeriodOf(subscription)
  if (!period) throw new Error(`subscription ${subscription.id} waits for a payment of no period it is in`)
  return insertOrGet(services.storage.payments, newPayment(subscription, period, tenantNow(services, tenant), repairTime(services)))
}

/** The subscription as it stands, changing nothing. @throws AppError `not_found`. */
export const readSubscription = async (services: Services, tenant: Tenant, subscriptionId: string): Promise<AdvancedSubscription> => {
  const { storage } = services
  const { tenantId } = tenant
  const subscription = await storage.subscriptions.get(keys.subscription(tenantId, subscriptionId))
  const set = await storage.entitlementSets.find(keys.customer(tenantId, subscription.storefrontId, subscription.customerId))
  const payment = subscription.openPaymentId ? await storage.payments.find(keys.payment(tenantId, subscription.openPaymentId)) : undefined
  return { subscription, payment, entitlementRevision: set?.revision ?? 0 }
}
