/** The customer has come back from their bank, or from wherever they had to act. */
import { AppError } from '../../common/errors.ts'
import type { Payment } from '../schemas/payment.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { nameOf, storeOutcome, unknown } from './attempt-outcome.ts'
import { isWatched } from './machine/attempts.ts'
import { isOpen } from './machine/state.ts'
import { openAccount } from './open-account.ts'

/**
 * The customer has come back from where they had to act: what they bring is handed to the provider, and what became of
 * the attempt is asked for at once.
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
  if (!isOpen(attempt) && !isWatched(attempt)) return payment
  const opened = await openAccount(of, attempt.account)
  const outcome = 'psp' in opened ? await opened.psp.complete(nameOf(payment, attempt), details) : unknown('account_unusable')
  return storeOutcome(of, payment, attempt.id, outcome)
}
