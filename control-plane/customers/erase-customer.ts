/**
 * Takes a customer away, and everything personal with it. What the law wants kept (payments, and the subscriptions that
 * they belong to) stays under a pseudonym that is made of no part of the customer.
 *
 * The first write marks the customer's document and empties it: from then on nothing begins with the customer
 * (`refuseErased`, `CustomerErasedError`). What follows is worked off by the request, and by the worker where that dies: every
 * step finds what is left of its own work, may be done twice, and the document itself goes last.
 */

import { AppError, isAppError } from '../../common/errors.ts'
import { removeSet } from '../entitlements/remove-set.ts'
import { eraseEvents, withErasedEvents } from '../events/erase.ts'
import { removeUsage } from '../metering/remove-usage.ts'
import { erasedPayment, movesMoney } from '../payments/erase-payment.ts'
import { eraseEventsOf } from '../payments/webhooks/erase-event.ts'
import type { Customer } from '../schemas/customer.ts'
import type { Payment } from '../schemas/payment.ts'
import { every } from '../storage/every.ts'
import { removeForGood, removeIfSame } from '../storage/remove.ts'
import { MAX_PAGE } from '../storage/storage.ts'
import { update } from '../storage/update.ts'
import { cancelSubscription } from '../subscriptions/change-subscription.ts'
import { isFinal } from '../subscriptions/machine/transitions.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { freshClaims } from './fresh-claims.ts'
import { everySubscriptionOf } from './methods-in-use.ts'
import { newPseudonym } from './pseudonym.ts'

/** Enough to see which they are; a customer may have any number. */
const MOST_NAMED = 5

const named = (ids: string[]): string => (ids.length > MOST_NAMED ? `${ids.slice(0, MOST_NAMED).join(', ')} and more` : ids.join(', '))

const paymentsOf = ({ storage, tenantId }: TenantScope, storefrontId: string, customerId: string): AsyncGenerator<Payment> =>
  every(storage.payments, { tenantId, storefrontId, customerId })

/** Refuses while a subscription is just being made, since nobody knows yet what there will be to end. @throws AppError `not_allowed_in_state`. */
const refuseWhileOneIsMade = async (of: TenantScope, customer: Customer): Promise<void> => {
  for (const { subscriptionId } of freshClaims(customer.claims, of.clock.now())) {
    if (await of.storage.subscriptions.find(of.keys.subscription(subscriptionId))) continue
    throw new AppError('not_allowed_in_state', `the customer's subscription ${subscriptionId} is being created right now; try again in a few minutes`)
  }
}

/** Refuses while something would be lost. @throws AppError `not_allowed_in_state`. */
const refuseWhileAlive = async (of: TenantScope, customer: Customer): Promise<void> => {
  const subscriptions: string[] = []
  const credited: string[] = []
  for await (const { id, status, creditMinor } of everySubscriptionOf(of, customer)) {
    if (!isFinal(status)) subscriptions.push(id)
    else if (creditMinor > 0) credited.push(id)
    if (subscriptions.length > MOST_NAMED || credited.length > MOST_NAMED) break
  }
  const payments: string[] = []
  for await (const payment of paymentsOf(of, customer.storefrontId, customer.id)) {
    if (movesMoney(payment)) payments.push(payment.id)
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

const mark = (of: TenantScope, id: string, check: (customer: Customer) => void, cancel: boolean): Promise<Customer> =>
  update(of.storage.customers, id, async (customer) => {
    // Begun before: this goes on with it.
    if (customer.erasing) return undefined
    check(customer)
    await refuseWhileOneIsMade(of, customer)
    if (!cancel) await refuseWhileAlive(of, customer)
    const { email: _, name: __, country: ___, metadata: ____, claims: _____, renewed: ______, ...kept } = customer
    return { ...withErasedEvents(kept), paymentMethods: [], erasing: { as: newPseudonym(), at: of.clock.now() }, repairAt: of.repairAt() }
  })

/** A page at a time, until there are none under the customer's own name. */
const eraseSubscriptions = async (of: TenantScope, customer: Customer, as: string): Promise<void> => {
  const { subscriptions } = of.storage
  const where = { tenantId: customer.tenantId, storefrontId: customer.storefrontId, customerId: customer.id }
  for (;;) {
    const { data } = await subscriptions.page({ where, limit: MAX_PAGE })
    if (data.length === 0) return
    for (const { _id, id, status } of data) {
      if (!isFinal(status)) {
        await cancelSubscription(of, { id: as, subscriptionId: id, check: () => {} }, 'now').catch((error: unknown) => {
          // It has ended by itself meanwhile.
          if (!isAppError(error, 'not_allowed_in_state')) throw error
        })
      }
      await update(subscriptions, _id, ({ metadata: _, ...kept }) => (kept.customerId === as ? undefined : withErasedEvents({ ...kept, customerId: as }, as)))
    }
  }
}

const erasePayments = async (of: TenantScope, customer: Customer, as: string): Promise<void> => {
  const { payments } = of.storage
  const { tenantId, storefrontId, id } = customer
  for (;;) {
    const { data } = await payments.page({ where: { tenantId, storefrontId, customerId: id }, limit: MAX_PAGE })
    if (data.length === 0) break
    for (const { _id } of data) {
      await update(payments, _id, (payment) =>
        payment.customerId === as ? undefined : withErasedEvents(erasedPayment(payment, as, of.now(), of.repairAt()), as),
      )
    }
  }
  for await (const payment of paymentsOf(of, storefrontId, as)) await eraseEventsOf(of, payment.id)
}

/** Works off what the mark asks for. */
export const finishErasure = async (of: TenantScope, customer: Customer, as: string): Promise<void> => {
  const { storage } = of
  const { _id, tenantId, storefrontId, id: customerId } = customer
  await eraseSubscriptions(of, customer, as)
  await erasePayments(of, customer, as)
  await removeUsage(of, { tenantId, storefrontId, customerId })
  await removeForGood(storage.customerGrants, _id)
  await removeSet(of, { tenantId, storefrontId, customerId })
  await of.events.handOn('customers', customer)
  await eraseEvents(of, { storefrontId, customerId }, as)
  for (let latest = await storage.customers.find(_id); latest?.erasing?.as === as; latest = await storage.customers.find(_id)) {
    await removeIfSame(storage.customers, latest)
  }
}

export interface ErasureResult {
  /** The customer's pseudonym in the records that are kept. */
  keptAs: string
  /** False: something failed on the way, and the worker goes on with it. */
  finished: boolean
}

/**
 * @param cancel ends what is alive first; without, that is a reason to refuse.
 * @throws AppError `not_found` or `not_allowed_in_state`; what `check` throws.
 */
export const eraseCustomer = async (
  of: TenantScope,
  name: { storefront: string; customer: string },
  check: (customer: Customer) => void,
  cancel: boolean,
): Promise<ErasureResult> => {
  const marked = await mark(of, of.keys.customer(name.storefront, name.customer), check, cancel)
  const { as: keptAs } = marked.erasing ?? {}
  if (keptAs === undefined) throw new Error(`customer ${marked._id} is not marked`)
  try {
    await finishErasure(of, marked, keptAs)
    return { keptAs, finished: true }
  } catch (error) {
    of.log.warn({ err: error, tenantId: of.tenantId, keptAs }, 'an erasure was interrupted; the worker will finish it')
    return { keptAs, finished: false }
  }
}
