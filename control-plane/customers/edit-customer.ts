/**
 * The door that every change of a customer leads through, whatever route it comes by. The rules about a customer's
 * methods are kept here, in the write itself: none is taken away that something is paid with, and of one that was
 * renewed it is noted, so that what was refused before is tried again.
 */

import { isDeepStrictEqual } from 'node:util'
import { ulid } from 'ulid'
import { defined } from '../../common/defined.ts'
import { AppError } from '../../common/errors.ts'
import type { Customer, PaymentMethod } from '../schemas/customer.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { refuseIfUsed } from './methods-in-use.ts'

/** Nothing begins with a customer that is being erased. @throws AppError `not_allowed_in_state`. */
export const refuseErased = (customer: Pick<Customer, 'erasing'>): void => {
  if (customer.erasing)
    throw new AppError('not_allowed_in_state', 'the customer is being erased; when that is done, you can create a customer with the same id')
}

/** The facts that a card is charged by. */
const facts = ({ type, expiry, tokens }: PaymentMethod) => ({
  type,
  expiry: expiry ? [expiry.year, expiry.month] : undefined,
  tokens: Object.fromEntries(tokens.map(({ account, token }) => [account, token])),
})

/** The customer with its methods' times of change, and with a note of what follows where one was renewed. */
const withRenewals = (of: TenantScope, now: Date | undefined, before: Customer, after: Customer): Customer => {
  const renewed = new Set<string>()
  const paymentMethods = after.paymentMethods.map((method): PaymentMethod => {
    const known = before.paymentMethods.find(({ id }) => id === method.id)
    if (known && isDeepStrictEqual(facts(known), facts(method))) return defined({ ...method, changedAt: known.changedAt })
    if (known) renewed.add(method.id)
    return defined({ ...method, changedAt: now })
  })
  if (renewed.size === 0) return { ...after, paymentMethods }
  const others = (after.renewed ?? []).filter(({ methodId }) => !renewed.has(methodId))
  const notes = [...renewed].map((methodId) => ({ methodId, commandId: `renewal_${ulid(of.clock.nowMs())}` }))
  return { ...after, paymentMethods, renewed: [...others, ...notes], repairAt: of.repairAt() }
}

/**
 * @param now the tenant's time, where methods are told anew; undefined where one may only be added that was named by
 *   its token, which is no news of a card that was refused.
 * @param decide as for `update`.
 * @throws AppError `not_found`; `not_allowed_in_state` for a method in use or a customer that is being erased; what `decide` throws.
 */
export const editCustomer = (
  of: TenantScope,
  id: string,
  now: Date | undefined,
  decide: (customer: Customer) => Customer | undefined,
  known?: Customer,
): Promise<Customer> =>
  update(
    of.storage.customers,
    id,
    async (customer) => {
      refuseErased(customer)
      const changed = decide(customer)
      if (!changed) return undefined
      const kept = new Set(changed.paymentMethods.map((method) => method.id))
      const lost = customer.paymentMethods.map((method) => method.id).filter((methodId) => !kept.has(methodId))
      await refuseIfUsed(of, customer, lost)
      return withRenewals(of, now, customer, changed)
    },
    known,
  )
