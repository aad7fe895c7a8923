/** The work that follows from a change of a customer: done at once where somebody waits for it, by the worker where it is more, or a crash came between. */
import { defined } from '../../common/defined.ts'
import { isAppError } from '../../common/errors.ts'
import { openBill } from '../billing/bills.ts'
import { consequences } from '../payments/machine/decline-classes.ts'
import type { Customer } from '../schemas/customer.ts'
import type { Subscription } from '../schemas/subscription.ts'
import { update } from '../storage/update.ts'
import { editSubscription } from '../subscriptions/change-subscription.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { announceCustomer } from './customers.ts'
import { finishErasure } from './erase-customer.ts'
import { everySubscriptionOf } from './methods-in-use.ts'

/** The charges that a caller who renews a card waits for, each of which a provider may take seconds for; the worker makes the others. */
const RETRIES_WAITED_FOR = 10

/**
 * The subscription's payment was refused, nothing is being tried, and no schedule would try this method again. One that has
 * ended owes nothing.
 */
const isBarred = async (of: TenantScope, subscription: Subscription): Promise<boolean> => {
  const bill = openBill(subscription, 'period')
  if (!bill || bill.failedRound !== bill.round) return false
  const payment = await of.storage.payments.find(of.keys.payment(bill.paymentId))
  const last = payment?.attempts.findLast(({ paymentMethodId }) => paymentMethodId === subscription.paymentMethodId)
  const willBeTried = last?.declineClass ? consequences[last.declineClass].laterUnchanged : false
  return !willBeTried || subscription.status === 'incomplete'
}

/**
 * Tries again what could not be paid with a method that has been renewed since. Repeated, it tries nothing twice.
 * @returns false when there is more than `most`.
 */
const retryRenewed = async (of: TenantScope, customer: Customer, most: number): Promise<boolean> => {
  const renewed = customer.renewed ?? []
  if (renewed.length === 0) return true
  let tried = 0
  for await (const subscription of everySubscriptionOf(of, customer)) {
    const renewal = renewed.find(({ methodId }) => methodId === subscription.paymentMethodId)
    if (!renewal || !(await isBarred(of, subscription))) continue
    if (tried === most) return false
    tried += 1
    try {
      const command = { id: renewal.commandId, subscriptionId: subscription.id, check: () => {} }
      await editSubscription(of, command, { paymentMethod: renewal.methodId })
    } catch (error) {
      // It has ended, or has been given another method, since it was read.
      if (!isAppError(error, 'not_allowed_in_state')) throw error
    }
  }
  await update(of.storage.customers, customer._id, (latest) => {
    const left = (latest.renewed ?? []).filter(({ commandId }) => !renewed.some((one) => one.commandId === commandId))
    return left.length === latest.renewed?.length ? undefined : defined({ ...latest, renewed: left.length > 0 ? left : undefined })
  })
  return true
}

/** Does all that the customer's document is marked for; harmless to repeat. */
export const finishCustomer = async (of: TenantScope, customer: Customer): Promise<void> => {
  if (customer.erasing) return finishErasure(of, customer, customer.erasing.as)
  await retryRenewed(of, customer, Number.POSITIVE_INFINITY)
  await announceCustomer(of, customer)
}

/** Does the work that follows, as far as a caller waits for it. The change has been made, so whatever goes wrong from here on is left to the worker. */
export const afterChange = async (of: TenantScope, customer: Customer): Promise<Customer> => {
  if (!customer.renewed?.length) return customer
  try {
    if (await retryRenewed(of, customer, RETRIES_WAITED_FOR)) await announceCustomer(of, customer)
  } catch (error) {
    of.log.warn({ err: error, tenantId: of.tenantId }, 'a payment with a renewed method failed; the worker will try it again')
  }
  return of.storage.customers.get(customer._id)
}
