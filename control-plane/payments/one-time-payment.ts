/** Payments that no subscription owes, and refunds of any payment, as callers ask for them. */
import { defined } from '../../common/defined.ts'
import { AppError, fieldError } from '../../common/errors.ts'
import { formatMoney } from '../../common/money.ts'
import { storefrontNamed } from '../catalog/storefronts.ts'
import { customerFor, methodNamed } from '../customers/customers.ts'
import { keys } from '../keys.ts'
import type { Payment } from '../schemas/payment.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { clockOf, repairTime, type Services, tenantNow } from '../services.ts'
import { insertOrGet, update } from '../storage/update.ts'
import { collectPayment } from './collect-payment.ts'
import { refundableMinor, requestRefund } from './machine/refunds.ts'
import { makeRefunds } from './make-refunds.ts'
import { type OneTimeInput, oneTimePayment } from './new-payment.ts'
import { checkPayable } from './routing/check-payable.ts'
import { loadAccounts } from './routing/load-route.ts'

/** @param id the same for a repeat of the same request. @throws AppError `unknown_reference`, `invalid_request` or `no_eligible_psp`. */
export const payOnce = async (
  services: Services,
  tenant: Tenant,
  id: string,
  input: OneTimeInput & { paymentMethod?: string | undefined },
): Promise<Payment> => {
  const { tenantId } = tenant
  const { customers, payments } = services.storage
  const { paymentMethod: named, ...order } = input
  // A repeat goes on with what it made: what would be refused by now was not then.
  const made = await payments.find(keys.payment(tenantId, id))
  if (made) return collectPayment(services, tenant, made)
  const storefront = await storefrontNamed(services, tenantId, input.storefrontId)
  if (input.currency !== storefront.currency) throw fieldError('invalid_request', 'currency', `must be ${storefront.currency}, the currency of the storefront`)
  const known = await customers.find(keys.customer(tenantId, input.storefrontId, input.customerId))
  const method = named === undefined ? known?.paymentMethods[0] : methodNamed(tenant, storefront, known, named)
  if (!method) throw fieldError('invalid_request', 'paymentMethod', 'is needed: the customer has no payment method')
  checkPayable(storefront, await loadAccounts(services, tenant, storefront), { paymentId: id, ...input, country: known?.country, method })

  const customer = await customerFor(services, tenant, input.storefrontId, input.customerId)
  // A token that is good for one payment is no method of the customer: it stays with the payment.
  const ownMethod = customer.paymentMethods.some((one) => one.id === method.id) ? undefined : { id: method.id, type: method.type, tokens: method.tokens }
  const payment = oneTimePayment(
    tenantId,
    id,
    order,
    defined({ paymentMethodId: method.id, ownMethod }),
    clockOf(tenant),
    tenantNow(services, tenant),
    repairTime(services),
  )
  return collectPayment(services, tenant, await insertOrGet(payments, payment))
}

/** More than anybody gives back in parts; bounds the document. The last one gives back all that is left. */
const MAX_REFUNDS = 1_000

/**
 * Gives back part of a payment, or what is left of it, to where it came from.
 * @param refundId the same for a repeat of the same request.
 * @param check of what is stored when the refund is: not of a repeat.
 * @throws AppError `not_found`, `not_allowed_in_state` or `invalid_request`; what `check` throws.
 */
export const refundPayment = async (
  services: Services,
  tenant: Tenant,
  paymentId: string,
  refundId: string,
  amountMinor: number | undefined,
  check: (payment: Payment) => void = () => {},
): Promise<Payment> => {
  const asked = await update(services.storage.payments, keys.payment(tenant.tenantId, paymentId), (payment) => {
    if (payment.refunds.some(({ id }) => id === refundId)) return undefined
    check(payment)
    const left = refundableMinor(payment)
    if (left === 0) throw new AppError('not_allowed_in_state', `the payment is ${payment.status} and has nothing left to refund`)
    if (payment.effectsDue) throw new AppError('not_allowed_in_state', 'the payment is still taking effect; try again in a moment')
    const amount = amountMinor ?? left
    if (payment.refunds.length >= MAX_REFUNDS - 1 && amount < left) {
      throw new AppError('not_allowed_in_state', `the payment already has ${payment.refunds.length} refunds: leave amount out to refund all that is left`)
    }
    if (amount > left) throw fieldError('invalid_request', 'amount', `must not be more than what is left, which is ${formatMoney(left, payment.currency)}`)
    return requestRefund(payment, refundId, amount, tenantNow(services, tenant), repairTime(services))
  })
  return makeRefunds(services, tenant, asked)
}
