/** Goes on with a payment that is due for an inquiry or a refund, that a crash left half-done, or that a webhook has changed. */
import { keys } from '../keys.ts'
import { collectPayment } from '../payments/collect-payment.ts'
import { inquireAttempt } from '../payments/inquire-attempt.ts'
import { recordSeen } from '../payments/machine/attempts.ts'
import { openAttempt } from '../payments/machine/state.ts'
import { makeRefunds } from '../payments/make-refunds.ts'
import type { Attempt, Payment } from '../schemas/payment.ts'
import type { Subscription } from '../schemas/subscription.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { type Services, tenantNow } from '../services.ts'
import { update } from '../storage/update.ts'
import { advanceSubscription, momentOf } from './advance-subscription.ts'
import { afterDispute } from './machine/after-dispute.ts'
import { afterRefund } from './machine/after-payment.ts'
import type { Moment } from './machine/state.ts'

/** Whoever sent the attempt has died, or its time to be asked about has come. */
const isInquiryDue = (services: Services, tenant: Tenant, payment: Payment, attempt: Attempt): boolean => {
  if (attempt.status === 'sent') return payment.repairAt !== undefined && payment.repairAt !== null && payment.repairAt <= services.clock.now()
  return attempt.inquireAt !== undefined && attempt.inquireAt !== null && attempt.inquireAt <= tenantNow(services, tenant)
}

const inquire = async (services: Services, tenant: Tenant, payment: Payment): Promise<Payment> => {
  let current = payment
  for (const { id } of payment.attempts) {
    const attempt = current.attempts.find((one) => one.id === id)
    if (attempt && openAttempt({ ...current, attempts: [attempt] }) && isInquiryDue(services, tenant, current, attempt)) {
      current = await inquireAttempt(services, tenant, current, attempt)
    }
  }
  return current
}

export const resumePayment = async (services: Services, tenant: Tenant, paymentId: string): Promise<Payment> => {
  const { payments } = services.storage
  const id = keys.payment(tenant.tenantId, paymentId)
  const payment = await payments.get(id)
  const { subscriptionId } = payment
  if (!subscriptionId) return collectPayment(services, tenant, await inquire(services, tenant, payment))

  // The subscription first: whether the payment is still wanted is its to say.
  await advanceSubscription(services, tenant, subscriptionId)
  await makeRefunds(services, tenant, await inquire(services, tenant, await payments.get(id)))
  return settleWithSubscription(services, tenant, id, subscriptionId)
}

/** What has happened to money since it arrived. */
const afterFacts = (subscription: Subscription, payment: Payment, moment: Moment): Subscription | undefined => {
  const refunded = afterRefund(subscription, payment, moment)
  return afterDispute(refunded ?? subscription, payment, moment) ?? refunded
}

/** Lets the subscription see the payment's outcome and its refunds. Once it has, nothing is left for it to do. */
const settleWithSubscription = async (services: Services, tenant: Tenant, id: string, subscriptionId: string): Promise<Payment> => {
  const { payments, subscriptions } = services.storage
  const payment = await payments.get(id)
  await update(subscriptions, keys.subscription(tenant.tenantId, subscriptionId), (latest) => afterFacts(latest, payment, momentOf(services, tenant)))
  await advanceSubscription(services, tenant, subscriptionId)
  return update(payments, id, (latest) => (latest.revision === payment.revision ? recordSeen(latest) : undefined), payment)
}
