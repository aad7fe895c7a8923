import { AppError, fieldError } from '../../common/errors.ts'
import { formatMoney } from '../../common/money.ts'
import { refundableMinor, requestRefund } from '../payments/machine/refunds.ts'
import { makeRefunds } from '../payments/make-refunds.ts'
import type { Payment } from '../schemas/payment.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { advancePayment } from './advance-payment.ts'

/** More than anybody gives back in parts; bounds the document. The last one gives back all that is left. */
const MAX_REFUNDS = 1_000

/**
 * Gives back part of a payment, or what is left of it, to where it came from. What that does to access is done before the answer.
 * @param refundId the same for a repeat of the same request.
 * @param check of what is stored when the refund is: not of a repeat.
 * @throws AppError `not_found`, `not_allowed_in_state` or `invalid_request`; what `check` throws.
 */
export const refundPayment = async (
  of: TenantScope,
  paymentId: string,
  refundId: string,
  amountMinor: number | undefined,
  check: (payment: Payment) => void = () => {},
): Promise<Payment> => {
  const asked = await update(of.storage.payments, of.keys.payment(paymentId), (payment) => {
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
    return requestRefund(payment, refundId, amount, of.now(), of.repairAt())
  })
  const refunded = await makeRefunds(of, asked)
  return refunded.effectsDue ? advancePayment(of, refunded) : refunded
}
