/** A payment that has not been made is paid, or given up: through its subscription, if a subscription owes it. */
import { cancelOneTime, payOneTimeNow } from '../payments/present-customer.ts'
import type { Payment } from '../schemas/payment.ts'
import { claimRevision } from '../storage/claim-revision.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { type Command, type PayRequest, payBill, withdrawChange } from './change-subscription.ts'

interface PaymentCommand {
  /** The same for a repeat of the same request, which then changes nothing more. */
  id: string
  paymentId: string
  /** Of the payment that the caller has seen; undefined: any. */
  revision: number | undefined
}

const claim = (of: TenantScope, { paymentId, revision }: PaymentCommand): Promise<Payment> =>
  claimRevision(of.storage.payments, of.keys.payment(paymentId), revision)

/** What was compared is the payment: its subscription may be at any revision. */
const ofSubscription = (subscriptionId: string, { id }: PaymentCommand): Command => ({ id, subscriptionId, check: () => undefined })

/** The customer is there, and pays what is still owed. @throws AppError `not_found`, `not_allowed_in_state`, `invalid_request` or `precondition_failed`. */
export const payOpenPayment = async (of: TenantScope, command: PaymentCommand, request: PayRequest): Promise<Payment> => {
  const payment = await claim(of, command)
  if (!payment.subscriptionId) return payOneTimeNow(of, payment, command.id, request)
  await payBill(of, ofSubscription(payment.subscriptionId, command), payment.id, request)
  return of.storage.payments.get(payment._id)
}

/** Nothing is charged any more; a change that waits for the payment does not happen. @throws AppError `not_found`, `not_allowed_in_state` or `precondition_failed`. */
export const cancelOpenPayment = async (of: TenantScope, command: PaymentCommand): Promise<Payment> => {
  const payment = await claim(of, command)
  if (!payment.subscriptionId) return cancelOneTime(of, payment)
  await withdrawChange(of, ofSubscription(payment.subscriptionId, command), payment.id)
  return of.storage.payments.get(payment._id)
}
