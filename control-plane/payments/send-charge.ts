/** Sends the charge of an attempt to its provider. */
import type { Attempt, Payment } from '../schemas/payment.ts'
import { methodsOf } from './methods-of.ts'
import type { PaymentParties } from './parties.ts'
import type { ChargeOutcome, PspAccess } from './psp/psp.ts'
import { tokenFor } from './routing/route-payment.ts'

/** Renewals are made without the customer; what somebody asks for is made with them. */
const isOffSession = ({ subscriptionId, seq, onSession }: Payment): boolean => Boolean(subscriptionId) && !(onSession ?? seq === 0)

/** Their bank has asked for them before, and now they are there. */
const wantsAuthentication = (payment: Payment, { id, paymentMethodId }: Attempt): boolean =>
  payment.attempts.some((other) => other.id !== id && other.paymentMethodId === paymentMethodId && other.declineClass === 'action_required')

/**
 * Under the attempt's id, which the PSP knows as idempotency key: made twice, it charges once.
 * @returns undefined when the account or the token is there no more, and so nothing was sent by this call.
 */
export const sendCharge = async (opened: PspAccess, { customer }: PaymentParties, payment: Payment, attempt: Attempt): Promise<ChargeOutcome | undefined> => {
  const method = methodsOf(payment, customer).find(({ id }) => id === attempt.paymentMethodId)
  const token = method && tokenFor(method, attempt.account)
  if (!token || 'unusable' in opened) return undefined
  const { psp, circuit, capture } = opened
  const order = {
    reference: attempt.id,
    amountMinor: attempt.amountMinor ?? payment.amountMinor,
    currency: payment.currency,
    token,
    capture,
    offSession: isOffSession(payment),
    ...(!isOffSession(payment) && wantsAuthentication(payment, attempt) ? { authenticate: true } : {}),
    ...(payment.returnUrl ? { returnUrl: payment.returnUrl } : {}),
    ...(payment.description ? { description: payment.description } : {}),
  }
  return circuit ? circuit.run(() => psp.charge(order)) : psp.charge(order)
}
