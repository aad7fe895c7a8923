/** Looks at a payment whose time has come: asks about attempts without an outcome, ends waiting in vain, and makes refunds that are due. */
import type { Attempt, Payment } from '../schemas/payment.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { type Services, tenantNow } from '../services.ts'
import { giveUpAttempt } from './give-up-attempt.ts'
import { inquireAttempt, lookForLateMoney } from './inquire-attempt.ts'
import { isWatched } from './machine/attempts.ts'
import { actBy, isOpen } from './machine/state.ts'
import { makeRefunds } from './make-refunds.ts'

/** Whoever sent the attempt has died, or its time to be asked about has come. */
const isInquiryDue = (services: Services, tenant: Tenant, payment: Payment, attempt: Attempt): boolean => {
  if (attempt.status === 'sent') return Boolean(payment.repairAt && payment.repairAt <= services.clock.now())
  return Boolean(attempt.inquireAt && attempt.inquireAt <= tenantNow(services, tenant))
}

const lookAtAttempt = async (services: Services, tenant: Tenant, payment: Payment, attempt: Attempt): Promise<Payment> => {
  if (isWatched(attempt)) return isInquiryDue(services, tenant, payment, attempt) ? lookForLateMoney(services, tenant, payment, attempt) : payment
  if (!isOpen(attempt)) return payment
  const asked = isInquiryDue(services, tenant, payment, attempt) ? await inquireAttempt(services, tenant, payment, attempt) : payment
  const latest = asked.attempts.find(({ id }) => id === attempt.id)
  if (latest?.status !== 'requires_action' || tenantNow(services, tenant) < actBy(asked, latest.at)) return asked
  return giveUpAttempt(services, tenant, asked, latest, { why: 'the customer did not act in time', goOn: true })
}

/** @param payment as the caller last saw it. */
export const lookAtPayment = async (services: Services, tenant: Tenant, payment: Payment): Promise<Payment> => {
  let current = payment
  for (const { id } of payment.attempts) {
    const attempt = current.attempts.find((one) => one.id === id)
    if (attempt) current = await lookAtAttempt(services, tenant, current, attempt)
  }
  return makeRefunds(services, tenant, current)
}
