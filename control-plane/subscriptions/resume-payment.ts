/** Goes on with a payment that is due for an inquiry, that a crash left half-done, or that a webhook has changed. */
import { keys } from '../keys.ts'
import { collectPayment, resolveOpenAttempt } from '../payments/collect-payment.ts'
import { dueRefund, openAttempt } from '../payments/payment-machine.ts'
import type { Payment } from '../schemas/payment.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { type Services, tenantNow } from '../services.ts'
import { update } from '../storage/update.ts'
import { type AdvancedSubscription, advanceSubscription } from './advance-subscription.ts'

const isInquiryDue = (services: Services, tenant: Tenant, payment: Payment): boolean => {
  if (!openAttempt(payment)) return false
  const abandonedByCrash = payment.repairAt !== undefined && payment.repairAt !== null && payment.repairAt <= services.clock.now()
  const due = payment.dueAt !== undefined && payment.dueAt !== null && payment.dueAt <= tenantNow(services, tenant)
  return abandonedByCrash || due
}

export const resumePayment = async (services: Services, tenant: Tenant, paymentId: string): Promise<AdvancedSubscription> => {
  const { payments } = services.storage
  const payment = await payments.get(keys.payment(tenant.tenantId, paymentId))
  if (isInquiryDue(services, tenant, payment)) await resolveOpenAttempt(services, tenant, paymentId)
  await collectPayment(services, tenant, paymentId)
  const advanced = await advanceSubscription(services, tenant, payment.subscriptionId)
  // The subscription is not waiting for this payment, or not any more: nothing is left for it to do.
  await update(payments, payment._id, (latest) =>
    latest.id !== advanced.subscription.openPaymentId && !openAttempt(latest) && !dueRefund(latest) && latest.repairAt
      ? { ...latest, effectsDue: false, repairAt: undefined }
      : undefined,
  )
  return advanced
}
