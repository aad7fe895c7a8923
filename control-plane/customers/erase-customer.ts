/**
 * Takes a customer away, and everything personal with it. What the law wants kept (payments, and the subscriptions that
 * they belong to) stays under a pseudonym that is made of no part of the customer.
 *
 * The first write marks the customer's document and empties it: from then on nothing begins with the customer
 * (`refuseErased`, `CustomerErased`). What follows is worked off by the request, and by the worker where that dies: every
 * step finds what is left of its own work, may be done twice, and the document itself goes last.
 */

import { AppError, isAppError } from '../../common/errors.ts'
import { removeSet } from '../entitlements/remove-set.ts'
import { keys } from '../keys.ts'
import { erasedPayment, isUnderWay } from '../payments/erase-payment.ts'
import { eraseEventsOf } from '../payments/webhooks/erase-event.ts'
import type { Customer } from '../schemas/customer.ts'
import type { Payment } from '../schemas/payment.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { repairTime, type Services, tenantNow } from '../services.ts'
import { every } from '../storage/every.ts'
import { removeForGood, removeIfSame } from '../storage/remove.ts'
import { MAX_PAGE } from '../storage/storage.ts'
import { update } from '../storage/update.ts'
import { cancelSubscription } from '../subscriptions/change-subscription.ts'
import { isFinal } from '../subscriptions/machine/transitions.ts'
import { freshClaims } from './fresh-claims.ts'
import { subscriptionsOf } from './methods-in-use.ts'
import { newPseudonym } from './pseudonym.ts'

/** Enough to see which they are; a customer may have any number. */
const MOST_NAMED = 5

const named = (ids: string[]): string => (ids.length > MOST_NAMED ? `${ids.slice(0, MOST_NAMED).join(', ')} and more` : ids.join(', '))

const paymentsOf = ({ storage }: Services, tenantId: string, storefrontId: string, customerId: string): AsyncGenerator<Payment> =>
  every(storage.payments, { tenantId, storefrontId, customerId })

/** Of a subscription that is just being made it is not known yet what there will be to end. @throws AppError `not_allowed_in_state`. */
const refuseWhileOneIsMade = async (services: Services, customer: Customer): Promise<void> => {
  for (const { subscriptionId } of freshClaims(customer.claims, services.clock.now())) {
    if (await services.storage.subscriptions.find(keys.subscription(customer.tenantId, subscriptionId))) continue
    throw new AppError('not_allowed_in_state', `the customer's subscription ${subscriptionId} is being created right now; try again in a few minutes`)
  }
}

/** What would be lost. @throws AppError `not_allowed_in_state`. */
const refuseWhileAlive = async (services: Services, customer: Customer): Promise<void> => {
  const subscriptions: string[] = []
  const credited: string[] = []
  for await (const { id, status, creditMinor } of subscriptionsOf(services, customer)) {
    if (!isFinal(status)) subscriptions.push(id)
    else if (creditMinor > 0) credited.push(id)
    if (subscriptions.length > MOST_NAMED || credited.length > MOST_NAMED) break
  }
  const payments: string[] = []
  for await (const payment of paymentsOf(services, customer.tenantId, customer.storefrontId, customer.id)) {
    if (isUnderWay(payment)) payments.push(payment.id)
    if (payments.length > MOST_NAMED) break
  }
  if (subscriptions.length === 0 && payments.length === 0 && credited.length === 0) return
  const alive = [
    ...(subscriptions.length > 0 ? [`subscriptions that have not ended: ${named(subscriptions)}`] : []),
    ...(credited.length > 0 ? [`credit left from ${named(credited)}, which would be lost`] : []),
    ...(payments.length > 0 ? [`payments or refunds in progress: ${named(payments)}`] : []),
  ]
  const how =
    'cancel them and wait for their outcome, and refund what is owed; or DELETE with ?cancel=now, which ends subscriptions at once and gives payments up (money that still arrives is refunded)'
  throw new AppError('not_allowed_in_state', `the customer has ${alive.join('; and ')}. ${how}`)
}

const mark = (services: Services, id: string, check: (customer: Customer) => void, cancel: boolean): Promise<Customer> =>
  update(services.storage.customers, id, async (customer) => {
    // Begun before: this goes on with it.
    if (customer.erasing) return undefined
    check(customer)
    await refuseWhileOneIsMade(services, customer)
    if (!cancel) await refuseWhileAlive(services, customer)
    const { email: _, name: __, country: ___, metadata: ____, claims: _____, renewed: ______, ...kept } = customer
    return { ...kept, paymentMethods: [], erasing: { as: newPseudonym(), at: services.clock.now() }, repairAt: repairTime(services) }
  })

/** A page at a time, until there are none under the customer's own name. */
const eraseSubscriptions = async (services: Services, tenant: Tenant, customer: Customer, as: string): Promise<void> => {
  const { subscriptions } = services.storage
  const where = { tenantId: customer.tenantId, storefrontId: customer.storefrontId, customerId: customer.id }
  for (;;) {
    const { data } = await subscriptions.page({ where, limit: MAX_PAGE })
    if (data.length === 0) return
    for (const { _id, id, status } of data) {
      if (!isFinal(status)) {
        await cancelSubscription(services, tenant, { id: as, subscriptionId: id, check: () => {} }, 'now').catch((error: unknown) => {
          // It has ended by itself meanwhile.
          if (!isAppError(error, 'not_allowed_in_state')) throw error
        })
      }
      await update(subscriptions, _id, ({ metadata: _, ...kept }) => (kept.customerId === as ? undefined : { ...kept, customerId: as }))
    }
  }
}

const erasePayments = async (services: Services, tenant: Tenant, customer: Customer, as: string): Promise<void> => {
  const { payments } = services.storage
  const { tenantId, storefrontId, id } = customer
  for (;;) {
    const { data } = await payments.page({ where: { tenantId, storefrontId, customerId: id }, limit: MAX_PAGE })
    if (data.length === 0) break
    for (const { _id } of data) {
      await update(payments, _id, (payment) =>
        payment.customerId === as ? undefined : erasedPayment(payment, as, tenantNow(services, tenant), repairTime(services)),
      )
    }
  }
  for await (const payment of paymentsOf(services, tenantId, storefrontId, as)) await eraseEventsOf(services, tenantId, payment.id)
}

/** Works off what the mark asks for. */
export const finishErasure = async (services: Services, tenant: Tenant, customer: Customer, as: string): Promise<void> => {
  const { storage } = services
  const { _id, tenantId, storefrontId, id: customerId } = customer
  await eraseSubscriptions(services, tenant, customer, as)
  await erasePayments(services, tenant, customer, as)
  await removeForGood(storage.usageCounters, _id)
  await removeSet(services, tenant, { tenantId, storefrontId, customerId })
  for (let latest = await storage.customers.find(_id); latest?.erasing?.as === as; latest = await storage.customers.find(_id)) {
    await removeIfSame(storage.customers, latest)
  }
}

export interface Erased {
  /** What the customer is called in what is kept. */
  keptAs: string
  /** False: something failed on the way, and the worker goes on with it. */
  finished: boolean
}

/**
 * @param cancel ends what is alive first; without, that is a reason to refuse.
 * @throws AppError `not_found` or `not_allowed_in_state`; what `check` throws.
 */
export const eraseCustomer = async (
  services: Services,
  tenant: Tenant,
  name: { storefront: string; customer: string },
  check: (customer: Customer) => void,
  cancel: boolean,
): Promise<Erased> => {
  const marked = await mark(services, keys.customer(tenant.tenantId, name.storefront, name.customer), check, cancel)
  const { as: keptAs } = marked.erasing ?? {}
  if (keptAs === undefined) throw new Error(`customer ${marked._id} is not marked`)
  try {
    await finishErasure(services, tenant, marked, keptAs)
    return { keptAs, finished: true }
  } catch (error) {
    services.log.warn({ err: error, tenantId: tenant.tenantId, keptAs }, 'an erasure was interrupted; the worker will finish it')
    return { keptAs, finished: false }
  }
}
