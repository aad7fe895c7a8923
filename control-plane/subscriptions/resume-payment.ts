/** Goes on with a payment that is due for an inquiry or a refund, that a crash left half-done, or that a webhook has changed. */
import { keys } from '../keys.ts'
import { collectPayment } from '../payments/collect-payment.ts'
import { lookAtPayment } from '../payments/look-at-payment.ts'
import type { Payment } from '../schemas/payment.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { Services } from '../services.ts'
import { advanceSubscription } from './advance-subscription.ts'

/** One that a subscription owes goes on with it: what becomes of the one is the other's to know. @throws AppError `not_found`. */
export const resumePayment = async (services: Services, tenant: Tenant, paymentId: string): Promise<Payment> => {
  const { payments } = services.storage
  const id = keys.payment(tenant.tenantId, paymentId)
  const { subscriptionId } = await payments.get(id)
  if (!subscriptionId) return collectPayment(services, tenant, await lookAtPayment(services, tenant, paymentId))
  await advanceSubscription(services, tenant, subscriptionId, { paymentId })
  return payments.get(id)
}
