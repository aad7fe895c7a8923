import { collectPayment } from '../payments/collect-payment.ts'
import { lookAtPayment } from '../payments/look-at-payment.ts'
import type { Payment } from '../schemas/payment.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { advanceSubscription } from './advance-subscription.ts'

/**
 * A payment that a subscription owes goes on with the subscription: what becomes of the one is the other's to know.
 * @param payment as the caller last saw it. @returns it as it is then. @throws AppError `not_found`.
 */
export const advancePayment = async (of: TenantScope, payment: Payment): Promise<Payment> => {
  if (!payment.subscriptionId) return collectPayment(of, await lookAtPayment(of, payment))
  const { lookedAt } = await advanceSubscription(of, payment.subscriptionId, { lookAt: payment })
  // A lost race has made the engine forget it.
  return lookedAt ?? of.storage.payments.get(payment._id)
}

/** Like `advancePayment`, by the payment's id. @throws AppError `not_found`. */
export const resumePayment = async (of: TenantScope, paymentId: string): Promise<Payment> =>
  advancePayment(of, await of.storage.payments.get(of.keys.payment(paymentId)))
