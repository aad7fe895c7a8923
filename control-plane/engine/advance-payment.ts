/** Goes on with a payment that is due for an inquiry or a refund, that a crash left half-done, or that a webhook has changed. */
import { keys } from '../keys.ts'
import { collectPayment } from '../payments/collect-payment.ts'
import { lookAtPayment } from '../payments/look-at-payment.ts'
import type { Payment } from '../schemas/payment.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { Services } from '../services.ts'
import { advanceSubscription } from './advance-subscription.ts'

/**
 * A payment that a subscription owes goes on with the subscription: what becomes of the one is the other's to know.
 * @param payment as the caller last saw it. @returns it as it is then. @throws AppError `not_found`.
 */
export const advancePayment = async (services: Services, tenant: Tenant, payment: Payment): Promise<Payment> => {
  if (!payment.subscriptionId) return collectPayment(services, tenant, await lookAtPayment(services, tenant, payment))
  const { lookedAt } = await advanceSubscription(services, tenant, payment.subscriptionId, { lookAt: payment })
  // A lost race has made the engine forget it.
  return lookedAt ?? services.storage.payments.get(payment._id)
}

/** As `advancePayment`, by its id. @throws AppError `not_found`. */
export const resumePayment = async (services: Services, tenant: Tenant, paymentId: string): Promise<Payment> =>
  advancePayment(services, tenant, await services.storage.payments.get(keys.payment(tenant.tenantId, paymentId)))
