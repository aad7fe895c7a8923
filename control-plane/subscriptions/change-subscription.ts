/** What callers do to a subscription that exists: each a decision, stored, and taken to its end. */
import { addPaymentMethod, methodNamed } from '../customers/customers.ts'
import { keys } from '../keys.ts'
import type { Subscription } from '../schemas/subscription.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { repairTime, type Services, tenantNow } from '../services.ts'
import { update } from '../storage/update.ts'
import { type AdvancedSubscription, advanceSubscription } from './advance-subscription.ts'
import { cancel, reactivate, withPaymentMethod } from './subscription-machine.ts'

/** Thrown by when the caller's `If-Match` names another revision. */
type Check = (subscription: Subscription) => void

const changeAndAdvance = async (
  services: Services,
  tenant: Tenant,
  id: string,
  check: Check,
  decide: (subscription: Subscription) => Subscription,
): Promise<AdvancedSubscription> => {
  await update(services.storage.subscriptions, keys.subscription(tenant.tenantId, id), (subscription) => {
    check(subscription)
    return decide(subscription)
  })
  return advanceSubscription(services, tenant, id)
}

/** @throws AppError `not_found` or `not_allowed_in_state`. */
export const cancelSubscription = (services: Services, tenant: Tenant, id: string, check: Check, at: 'now' | 'period_end'): Promise<AdvancedSubscription> =>
  changeAndAdvance(services, tenant, id, check, (subscription) => cancel(subscription, at, tenantNow(services, tenant), repairTime(services)))

/** @throws AppError `not_found` or `not_allowed_in_state`. */
export const reactivateSubscription = (services: Services, tenant: Tenant, id: string, check: Check): Promise<AdvancedSubscription> =>
  changeAndAdvance(services, tenant, id, check, (subscription) => reactivate(subscription, repairTime(services)))

export interface SubscriptionChange {
  paymentMethod?: string | undefined
  metadata?: Record<string, string> | undefined
}

/** A new payment method is used at once for a payment that has failed. @throws AppError `not_found` or `not_allowed_in_state`. */
export const changeSubscription = async (
  services: Services,
  tenant: Tenant,
  id: string,
  check: Check,
  change: SubscriptionChange,
): Promise<AdvancedSubscription> => {
  const { storage } = services
  const subscription = await storage.subscriptions.get(keys.subscription(tenant.tenantId, id))
  check(subscription)
  const methodId = change.paymentMethod === undefined ? undefined : await addMethod(services, tenant, subscription, change.paymentMethod)
  return changeAndAdvance(services, tenant, id, check, (latest) => {
    const paid = methodId === undefined ? latest : withPaymentMethod(latest, methodId, repairTime(services))
    return change.metadata === undefined ? paid : { ...paid, metadata: change.metadata }
  })
}

const addMethod = async (services: Services, tenant: Tenant, subscription: Subscription, named: string): Promise<string> => {
  const { storage } = services
  // Refused before anything is written: a subscription that has ended takes no payment method.
  withPaymentMethod(subscription, named, repairTime(services))
  const storefront = await storage.storefronts.get(keys.storefront(tenant.tenantId, subscription.storefrontId))
  const customer = await storage.customers.get(keys.customer(tenant.tenantId, subscription.storefrontId, subscription.customerId))
  const method = methodNamed(tenant, storefront, customer, named)
  await addPaymentMethod(services, customer, method)
  return method.id
}
