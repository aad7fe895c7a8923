/** The storefront and the customer of a payment, and the route that follows from them. */
import type { Customer, PaymentMethod } from '../schemas/customer.ts'
import type { Payment } from '../schemas/payment.ts'
import type { Storefront } from '../schemas/storefront.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { type RoutableAccount, type Routed, routePayment } from './routing/route-payment.ts'

export interface PaymentParties {
  storefront: Storefront
  customer: Customer
}

/** The customer is being erased, or is no more: nothing is charged any more. */
export class CustomerErased extends Error {
  /** What it is called where something of it is kept; undefined when it is gone. */
  readonly as: string | undefined

  constructor(as: string | undefined) {
    super('the customer was erased')
    this.name = 'CustomerErased'
    this.as = as
  }
}

/** @throws CustomerErased. */
export const loadParties = async ({ storage, keys }: TenantScope, payment: Payment): Promise<PaymentParties> => {
  const [storefront, customer] = await Promise.all([
    storage.storefronts.get(keys.storefront(payment.storefrontId)),
    storage.customers.find(keys.customer(payment.storefrontId, payment.customerId)),
  ])
  if (!customer || customer.erasing) throw new CustomerErased(customer?.erasing?.as)
  return { storefront, customer }
}

export const routeOf = (payment: Payment, { storefront, customer }: PaymentParties, accounts: RoutableAccount[], method: PaymentMethod): Routed =>
  routePayment(storefront.routing, accounts, {
    paymentId: payment.id,
    amountMinor: payment.amountMinor,
    currency: payment.currency,
    country: customer.country,
    method,
    stayWith: payment.stayWith,
  })
