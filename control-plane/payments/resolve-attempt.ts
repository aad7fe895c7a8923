/** An operator says what became of an attempt that no provider answers for. Kept with the attempt: who, when and why. */
import { fieldError } from '../../common/errors.ts'
import { keys } from '../keys.ts'
import type { DeclineClass, Payment } from '../schemas/payment.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { repairTime, type Services, tenantNow } from '../services.ts'
import { update } from '../storage/update.ts'
import { type OperatorDecision, resolveByOperator } from './machine/attempts.ts'

export interface Decision {
  outcome: 'succeeded' | 'declined' | 'not_sent'
  declineClass?: DeclineClass | undefined
  /** The provider's reference of a charge that succeeded: refunds need it. */
  pspReference?: string | undefined
  reason: string
}

const outcomeOf = ({ outcome, declineClass, pspReference }: Decision, known: string | undefined): OperatorDecision['outcome'] => {
  switch (outcome) {
    case 'succeeded': {
      const reference = pspReference ?? known
      if (reference === undefined) throw fieldError('invalid_request', 'pspReference', "is needed: the provider's reference of the charge, for refunds")
      return { status: 'succeeded', pspReference: reference }
    }
    case 'declined':
      return { status: 'declined', declineClass: declineClass ?? 'technical', pspCode: 'resolved_by_operator' }
    case 'not_sent':
      return { status: 'not_sent', pspCode: 'resolved_by_operator' }
    default:
      return outcome satisfies never
  }
}

/** @param by the key that the decision was made with. @throws AppError `not_found`, `not_allowed_in_state` or `invalid_request`. */
export const resolveAttemptByHand = async (
  services: Services,
  tenant: Tenant,
  paymentId: string,
  attemptId: string,
  by: string,
  decision: Decision,
): Promise<Payment> => {
  const resolved = await update(services.storage.payments, keys.payment(tenant.tenantId, paymentId), (payment) => {
    const known = payment.attempts.find(({ id }) => id === attemptId)?.pspReference ?? undefined
    const outcome = outcomeOf(decision, known)
    return resolveByOperator(payment, attemptId, { outcome, by, reason: decision.reason }, tenantNow(services, tenant), repairTime(services))
  })
  services.log.warn(
    { tenantId: tenant.tenantId, paymentId, attemptId, by, outcome: decision.outcome, reason: decision.reason },
    'an operator resolved an attempt',
  )
  return resolved
}
