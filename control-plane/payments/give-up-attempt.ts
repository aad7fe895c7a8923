/**
 * Giving up an attempt that waits for the customer: because they did not act in time, because another payment method was
 * given, or because somebody asked for it. The provider is told first, where it can be: what it has let go cannot be paid
 * any more. Where it cannot, money that still arrives counts if it is owed, and goes back if it is not.
 */
import type { Attempt, Payment } from '../schemas/payment.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { nameOf, storeOutcome, unknownOutcome } from './attempt-outcome.ts'
import { recordGivenUp } from './machine/attempts.ts'
import { openAccount } from './open-account.ts'
import type { ChargeOutcome } from './psp/psp.ts'

interface Why {
  /** The reason, in a sentence, for the payment's `failure`. */
  why: string
  /** True if other methods of the customer may be tried at once, where the storefront allows that. */
  goOn: boolean
}

const callOff = async (of: TenantScope, payment: Payment, attempt: Attempt): Promise<ChargeOutcome> => {
  const opened = await openAccount(of, attempt.account)
  return 'psp' in opened ? opened.psp.cancel(`${attempt.id}-cancel`, nameOf(payment, attempt)) : unknownOutcome('account_unusable')
}

/** @returns the payment as it is afterwards: the customer may have been faster. */
export const giveUpAttempt = async (of: TenantScope, payment: Payment, attempt: Attempt, { why, goOn }: Why): Promise<Payment> => {
  const outcome = await callOff(of, payment, attempt)
  switch (outcome.status) {
    case 'succeeded':
    case 'authorized':
    case 'pending':
      return storeOutcome(of, payment, attempt.id, outcome)
    case 'declined':
    case 'requires_action':
    case 'not_sent':
    case 'unknown':
      return update(
        of.storage.payments,
        payment._id,
        (latest) => recordGivenUp(latest, attempt.id, outcome.status === 'declined', goOn, why, of.now(), of.repairAt()),
        payment,
      )
    default:
      return outcome satisfies never
  }
}
