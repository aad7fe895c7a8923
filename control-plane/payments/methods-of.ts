import type { Customer, PaymentMethod } from '../schemas/customer.ts'
import type { Payment } from '../schemas/payment.ts'

/** The methods that a payment can be made with: the one that it brought itself, if it did, and those of its customer. */
export const methodsOf = ({ ownMethod }: Pick<Payment, 'ownMethod'>, { paymentMethods }: Pick<Customer, 'paymentMethods'>): PaymentMethod[] =>
  ownMethod ? [ownMethod, ...paymentMethods.filter(({ id }) => id !== ownMethod.id)] : paymentMethods
