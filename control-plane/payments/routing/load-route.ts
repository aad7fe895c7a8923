/** Loads what routing looks at, and routes. */
import { keys } from '../../keys.ts'
import type { Customer, PaymentMethod } from '../../schemas/customer.ts'
import type { Payment } from '../../schemas/payment.ts'
import type { PspAccount } from '../../schemas/psp-account.ts'
import type { Storefront } from '../../schemas/storefront.ts'
import type { Tenant } from '../../schemas/tenant.ts'
import type { Services } from '../../services.ts'
import type { Opened } from '../psp/directory.ts'
import { accountsNamedBy, type RoutableAccount, type Routed, routePayment } from './route-payment.ts'

/** @returns undefined where the tenant has stored no such account. */
const loadAccount = (services: Services, tenant: Tenant, id: string): Promise<PspAccount | undefined> =>
  services.storage.pspAccounts.find(keys.pspAccount(tenant.tenantId, id))

/** The account ready for use, or why it is not. */
export const openAccount = async (services: Services, tenant: Tenant, id: string): Promise<Opened> =>
  services.psps.open(tenant, id, await loadAccount(services, tenant, id))

/** An account that a storefront's routing names, ready for use or not. */
export interface StorefrontAccount extends RoutableAccount {
  /** Undefined where the tenant has stored no such account. */
  stored: PspAccount | undefined
  opened: Opened
}

export const loadAccounts = (services: Services, tenant: Tenant, { routing }: Pick<Storefront, 'routing'>): Promise<StorefrontAccount[]> =>
  Promise.all(
    accountsNamedBy(routing).map(async (id): Promise<StorefrontAccount> => {
      const stored = await loadAccount(services, tenant, id)
      const opened = services.psps.open(tenant, id, stored)
      const account = { id, stored, opened, capabilities: stored?.capabilities ?? {} }
      return 'unusable' in opened ? { ...account, unusable: opened.unusable } : { ...account, circuitOpenUntil: opened.circuit?.view().openUntil }
    }),
  )

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
export const loadParties = async ({ storage }: Services, tenant: Tenant, payment: Payment): Promise<PaymentParties> => {
  const [storefront, customer] = await Promise.all([
    storage.storefronts.get(keys.storefront(tenant.tenantId, payment.storefrontId)),
    storage.customers.find(keys.customer(tenant.tenantId, payment.storefrontId, payment.customerId)),
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
