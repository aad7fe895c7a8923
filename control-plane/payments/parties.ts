/** The storefront and the customer of a payment, and the route that follows from them. */
import type { Customer, PaymentMethod } from '../schemas/customer.ts'
import type { Payment } from '../schemas/payment.ts'
import type { Storefront } from '../schemas/storefront.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { type RoutableAccount, type RoutingDecision, routePayment } from './routing/route-payment.ts'

export interface PaymentParties {
  storefront: Storefront
  customer: Customer
}

/** The customer is being erased, or is no more: nothing is charged any more. */
export class CustomerErasedError extends Error {
  /** The customer's pseudonym in the records that are kept; undefined when there are none. */
  readonly as: string | undefined

  constructor(as: string | undefined) {
    super('the customer was erased')
    this.name = 'CustomerErasedError'
    this.as = as
  }
}

/** @throws CustomerErasedError. */
export const loadParties = async ({ storage, keys }: TenantScope, payment: Payment): Promise<PaymentParties> => {
  const [storefront, customer] = await Promise.all([
    storage.storefronts.get(keys.storefront(payment.storefrontId)),
    storage.customers.find(keys.customer(payment.storefrontId, payment.customerId)),
  ])
  if (!customer || customer.erasing) throw new CustomerErasedError(customer?.erasing?.as)
  return { storefront, customer }
}

/** The route of a payment that is made with this method, by its storefront's routing. */
export const routeOf = (payment: Payment, { storefront, customer }: PaymentParties, accounts: RoutableAccount[], method: PaymentMethod): RoutingDecision =>
  routePayment(storefront.routing, accounts, {
    paymentId: payment.id,
    amountMinor: payment.amountMinor,
    currency: payment.currency,
    country: customer.country,
    method,
    stayWith: payment.stayWith,
  })
