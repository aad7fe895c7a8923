import { AppError } from '../../common/errors.ts'
import { giveUpAttempt } from '../payments/give-up-attempt.ts'
import { waitingAttempt } from '../payments/machine/state.ts'
import type { Payment } from '../schemas/payment.ts'
import { claimRevision } from '../storage/claim-revision.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { advancePayment } from './advance-payment.ts'

/**
 * Somebody gives up an attempt that waits for the customer to act. Whether the payment goes on is for its subscription to say.
 * @param revision of the payment that the caller has seen; undefined: any.
 * @throws AppError `not_found`, `not_allowed_in_state` or `precondition_failed`.
 */
export const cancelAttempt = async (of: TenantScope, paymentId: string, attemptId: string, revision: number | undefined): Promise<Payment> => {
  const payment = await claimRevision(of.storage.payments, of.keys.payment(paymentId), revision)
  const attempt = payment.attempts.find(({ id }) => id === attemptId)
  if (!attempt) throw new AppError('not_found', 'the payment has no such attempt')
  if (attempt !== waitingAttempt(payment)) {
    throw new AppError('not_allowed_in_state', `the attempt is ${attempt.status}: only one that waits for the customer (requires_action) can be given up`)
  }
  return advancePayment(of, await giveUpAttempt(of, payment, attempt, { why: 'somebody gave up the attempt that waited for the customer', goOn: false }))
}
