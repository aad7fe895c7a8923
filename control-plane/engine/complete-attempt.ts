import { AppError } from '../../common/errors.ts'
import { nameOf, storeOutcome, unknownOutcome } from '../payments/attempt-outcome.ts'
import { isWatched } from '../payments/machine/attempts.ts'
import { isOpen } from '../payments/machine/state.ts'
import { openAccount } from '../payments/open-account.ts'
import type { Payment } from '../schemas/payment.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { advancePayment } from './advance-payment.ts'

/**
 * The customer has come back from where they had to act: what they bring is handed to the provider, and the outcome of
 * the attempt is asked for, and takes effect, at once.
 * @param check of the payment before the provider is told: what the provider says is stored whatever happens meanwhile.
 * @throws AppError `not_found`; what `check` throws.
 */
export const completeAttempt = async (
  of: TenantScope,
  paymentId: string,
  attemptId: string,
  check: (payment: Payment) => void,
  details: Record<string, string>,
): Promise<Payment> => {
  const payment = await of.storage.payments.get(of.keys.payment(paymentId))
  check(payment)
  const attempt = payment.attempts.find(({ id }) => id === attemptId)
  if (!attempt) throw new AppError('not_found', 'the payment has no such attempt')
  // A repeat: it finishes what a crash may have left half-done.
  if (!isOpen(attempt) && !isWatched(attempt)) return advancePayment(of, payment)
  const opened = await openAccount(of, attempt.account)
  const outcome = 'psp' in opened ? await opened.psp.complete(nameOf(payment, attempt), details) : unknownOutcome('account_unusable')
  return advancePayment(of, await storeOutcome(of, payment, attempt.id, outcome))
}
