/** Payments that no subscription owes. */

import { defined } from '../../common/defined.ts'
import { fieldError } from '../../common/errors.ts'
import { storefrontNamed } from '../catalog/storefronts.ts'
import { customerFor, methodNamed } from '../customers/customers.ts'
import type { Payment } from '../schemas/payment.ts'
import { insertOrGet } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { collectPayment } from './collect-payment.ts'
import { type OneTimeInput, oneTimePayment } from './new-payment.ts'
import { loadAccounts } from './open-account.ts'
import { checkPayable } from './routing/check-payable.ts'

/** @param id the same for a repeat of the same request. @throws AppError `unknown_reference`, `invalid_request` or `no_eligible_psp`. */
export const payOnce = async (of: TenantScope, id: string, input: OneTimeInput & { paymentMethod?: string | undefined }): Promise<Payment> => {
  const { customers, payments } = of.storage
  const { paymentMethod: named, ...order } = input
  // A repeat goes on with what it made: what would be refused by now was not then.
  const made = await payments.find(of.keys.payment(id))
  if (made) return collectPayment(of, made)
  const storefront = await storefrontNamed(of, input.storefrontId)
  if (input.currency !== storefront.currency) throw fieldError('invalid_request', 'currency', `must be ${storefront.currency}, the currency of the storefront`)
  const known = await customers.find(of.keys.customer(input.storefrontId, input.customerId))
  const method = named === undefined ? known?.paymentMethods[0] : methodNamed(of.tenant, storefront, known, named)
  if (!method) throw fieldError('invalid_request', 'paymentMethod', 'is required: the customer has no payment method')
  checkPayable(storefront, await loadAccounts(of, storefront), { paymentId: id, ...input, country: known?.country, method })

  const customer = await customerFor(of, input.storefrontId, input.customerId)
  // A token that is good for one payment is no method of the customer: it stays with the payment.
  const ownMethod = customer.paymentMethods.some((one) => one.id === method.id) ? undefined : { id: method.id, type: method.type, tokens: method.tokens }
  const payment = oneTimePayment(of, id, order, defined({ paymentMethodId: method.id, ownMethod }))
  return collectPayment(of, await insertOrGet(payments, payment))
}
