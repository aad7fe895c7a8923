/** The parts of a payment that are kept when its customer is erased: the books, and not whose they are. */
import { defined } from '../../common/defined.ts'
import { newPseudonym } from '../customers/pseudonym.ts'
import type { Payment } from '../schemas/payment.ts'
import { abandon, fail } from './machine/attempts.ts'
import { hasEffects } from './machine/state.ts'

const underWay = ({ status }: Pick<Payment, 'status'>): boolean => status === 'due' || status === 'processing'

/** Money on its way to the business, or on its way back. */
export const movesMoney = (payment: Payment): boolean => underWay(payment) || payment.refunds.some(({ status }) => status === 'due' || status === 'pending')

/** A subscription's payment is described by its bundle; any other description was written by somebody, and goes. */
const pseudonymous = (payment: Payment, as: string): Payment =>
  defined({
    ...payment,
    customerId: as,
    description: hasEffects(payment) ? payment.description : undefined,
    // Where somebody came back to may name them.
    returnUrl: undefined,
  })

/** A payment that is not made yet is abandoned: money that still arrives is refunded. Refunds go on by themselves. */
export const erasedPayment = (payment: Payment, as: string, now: Date, repairAt: Date): Payment =>
  pseudonymous((underWay(payment) ? abandon(payment, now, repairAt) : undefined) ?? payment, as)

/**
 * A payment whose customer turns out to be erased just before it would be sent fails instead. A subscription's own is erased
 * with the subscription, which is what ends it.
 */
export const stoppedByErasure = (payment: Payment, as: string | undefined, repairAt: Date): Payment => {
  const failed = fail(payment, 'the customer was erased', repairAt)
  return hasEffects(payment) ? failed : pseudonymous(failed, as ?? newPseudonym())
}
