/** Finds out if anything is, or is about to be, paid with a customer's payment method. */

import { AppError } from '../../common/errors.ts'
import type { Customer } from '../schemas/customer.ts'
import type { Subscription } from '../schemas/subscription.ts'
import { every } from '../storage/every.ts'
import { isFinal } from '../subscriptions/machine/transitions.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { freshClaims, isCarriedOut } from './fresh-claims.ts'

/** Every subscription of the customer, a page at a time. */
export const everySubscriptionOf = ({ storage }: TenantScope, { tenantId, storefrontId, id }: Customer): AsyncGenerator<Subscription> =>
  every(storage.subscriptions, { tenantId, storefrontId, customerId: id })

/**
 * Holds for a write of the customer's document at the revision that is given: whoever makes a subscription, or gives it
 * a method, first claims that in the document, which then has another revision.
 * @throws AppError `not_allowed_in_state`.
 */
export const refuseIfUsed = async (of: TenantScope, customer: Customer, methodIds: readonly string[]): Promise<void> => {
  if (methodIds.length === 0) return
  for await (const { id, status, paymentMethodId } of everySubscriptionOf(of, customer)) {
    if (isFinal(status) || !paymentMethodId || !methodIds.includes(paymentMethodId)) continue
    const why = `${paymentMethodId} cannot be removed: the subscription ${id} is paid with it; first PATCH the subscription with another paymentMethod`
    throw new AppError('not_allowed_in_state', why)
  }
  for (const claim of freshClaims(customer.claims, of.clock.now())) {
    const { subscriptionId, paymentMethodId } = claim
    if (!paymentMethodId || !methodIds.includes(paymentMethodId)) continue
    const subscription = await of.storage.subscriptions.find(of.keys.subscription(subscriptionId))
    // What was stored since the claim says itself what it is paid with; what was not is being given this method.
    if (isCarriedOut(claim, subscription)) {
      if (subscription?.paymentMethodId !== paymentMethodId || isFinal(subscription.status)) continue
    }
    const why = `${paymentMethodId} cannot be removed: the subscription ${subscriptionId} is being paid with it right now; try again in a few minutes`
    throw new AppError('not_allowed_in_state', why)
  }
}
