/** Looks at a payment whose time has come: asks about attempts without an outcome, ends waiting in vain, and makes refunds that are due. */
import type { Attempt, Payment } from '../schemas/payment.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { giveUpAttempt } from './give-up-attempt.ts'
import { inquireAttempt, lookForLateMoney } from './inquire-attempt.ts'
import { isWatched } from './machine/attempts.ts'
import { actBy, isOpen } from './machine/state.ts'
import { makeRefunds } from './make-refunds.ts'

/** True if the sender of the attempt has died, or its time to be asked about has come. */
const isInquiryDue = (of: TenantScope, payment: Payment, attempt: Attempt): boolean => {
  if (attempt.status === 'sent') return Boolean(payment.repairAt && payment.repairAt <= of.clock.now())
  return Boolean(attempt.inquireAt && attempt.inquireAt <= of.now())
}

const lookAtAttempt = async (of: TenantScope, payment: Payment, attempt: Attempt): Promise<Payment> => {
  if (isWatched(attempt)) return isInquiryDue(of, payment, attempt) ? lookForLateMoney(of, payment, attempt) : payment
  if (!isOpen(attempt)) return payment
  const asked = isInquiryDue(of, payment, attempt) ? await inquireAttempt(of, payment, attempt) : payment
  const latest = asked.attempts.find(({ id }) => id === attempt.id)
  if (latest?.status !== 'requires_action' || of.now() < actBy(asked, latest.at)) return asked
  return giveUpAttempt(of, asked, latest, { why: 'the customer did not act in time', goOn: true })
}

/** @param payment as the caller last saw it. */
export const lookAtPayment = async (of: TenantScope, payment: Payment): Promise<Payment> => {
  let current = payment
  for (const { id } of payment.attempts) {
    const attempt = current.attempts.find((one) => one.id === id)
    if (attempt) current = await lookAtAttempt(of, current, attempt)
  }
  return makeRefunds(of, current)
}
