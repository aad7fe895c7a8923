/** What is kept of a payment when its customer is erased: the books, and not whose they are. */
import { defined } from '../../common/defined.ts'
import { newPseudonym } from '../customers/pseudonym.ts'
import type { Payment } from '../schemas/payment.ts'
import { abandon, fail } from './machine/attempts.ts'
import { hasEffects } from './machine/state.ts'

const underWay = ({ status }: Pick<Payment, 'status'>): boolean => status === 'due' || status === 'processing'

/** Money on its way to the business, or on its way back. */
export const isUnderWay = (payment: Payment): boolean => underWay(payment) || payment.refunds.some(({ status }) => status === 'due' || status === 'pending')

/** What a subscription is billed for is named by its bundle; anything else was written by somebody. */
const pseudonymous = (payment: Payment, as: string): Payment =>
  defined({
    ...payment,
    customerId: as,
    description: hasEffects(payment) ? payment.description : undefined,
    // Where somebody came back to may name them.
    returnUrl: undefined,
  })

/** One that is not made yet is given up: what still arrives goes back. Refunds go on by themselves. */
export const erasedPayment = (payment: Payment, as: string, now: Date, repairAt: Date): Payment =>
  pseudonymous((underWay(payment) ? abandon(payment, now, repairAt) : undefined) ?? payment, as)

/**
 * One that comes upon its customer's erasure just before it would be sent. A subscription's own is erased with the
 * subscription, which is what ends it.
 */
export const stoppedByErasure = (payment: Payment, as: string | undefined, repairAt: Date): Payment => {
  const failed = fail(payment, 'the customer was erased', repairAt)
  return hasEffects(payment) ? failed : pseudonymous(failed, as ?? newPseudonym())
}
