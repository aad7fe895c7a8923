/** Whether anything is, or is about to be, paid with a customer's payment method. */
import { AppError } from '../../common/errors.ts'
import { keys } from '../keys.ts'
import type { Customer } from '../schemas/customer.ts'
import type { Subscription } from '../schemas/subscription.ts'
import type { Services } from '../services.ts'
import { MAX_PAGE } from '../storage/storage.ts'
import { isFinal } from '../subscriptions/machine/state.ts'

/**
 * Between a claim and its subscription lie a few writes and, where a period has just ended, its charge: minutes at the
 * very worst. An older claim is of somebody who has died on the way.
 */
const CLAIM_COUNTS_MS = 10 * 60_000

type Claim = NonNullable<Customer['claims']>[number]

/** What is being written elsewhere now, as far as anybody can tell. */
export const freshClaims = (services: Pick<Services, 'clock'>, { claims }: Pick<Customer, 'claims'>): Claim[] => {
  const since = services.clock.nowMs() - CLAIM_COUNTS_MS
  return (claims ?? []).filter(({ at }) => at.getTime() > since)
}

/** Every subscription of the customer, a page at a time. */
export async function* subscriptionsOf(services: Services, { tenantId, storefrontId, id }: Customer): AsyncGenerator<Subscription> {
  const where = { tenantId, storefrontId, customerId: id }
  let cursor: string | undefined
  do {
    const page = await services.storage.subscriptions.page({ where, limit: MAX_PAGE, cursor })
    yield* page.data
    cursor = page.nextCursor
  } while (cursor)
}

/**
 * Holds for a write of the customer's document at the revision that is given: whoever makes a subscription, or gives it
 * a method, first claims that in the document, which then has another revision.
 * @throws AppError `not_allowed_in_state`.
 */
export const refuseIfUsed = async (services: Services, customer: Customer, methodIds: readonly string[]): Promise<void> => {
  if (methodIds.length === 0) return
  for await (const { id, status, paymentMethodId } of subscriptionsOf(services, customer)) {
    if (isFinal(status) || !paymentMethodId || !methodIds.includes(paymentMethodId)) continue
    const why = `${paymentMethodId} cannot be taken away: the subscription ${id} is paid with it; PATCH another paymentMethod there first`
    throw new AppError('not_allowed_in_state', why)
  }
  for (const { subscriptionId, paymentMethodId, at } of freshClaims(services, customer)) {
    if (!paymentMethodId || !methodIds.includes(paymentMethodId)) continue
    const subscription = await services.storage.subscriptions.find(keys.subscription(customer.tenantId, subscriptionId))
    // What was stored since the claim says itself what it is paid with; what was not is being given this method.
    if (subscription && (isFinal(subscription.status) || subscription.updatedAt >= at)) continue
    const why = `${paymentMethodId} cannot be taken away: the subscription ${subscriptionId} is just being paid with it; try again in a few minutes`
    throw new AppError('not_allowed_in_state', why)
  }
}
