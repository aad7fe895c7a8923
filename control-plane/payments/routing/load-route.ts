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

export const loadRoutableAccounts = (services: Services, tenant: Tenant, storefront: Storefront): Promise<RoutableAccount[]> =>
  Promise.all(
    accountsNamedBy(storefront.routing).map(async (id): Promise<RoutableAccount> => {
      const account = await loadAccount(services, tenant, id)
      const capabilities = account?.capabilities ?? {}
      const opened = services.psps.open(tenant, id, account)
      if ('unusable' in opened) return { id, unusable: opened.unusable, capabilities }
      return { id, circuitOpenUntil: opened.circuit?.view().openUntil, capabilities }
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
    country: customer.country ?? undefined,
    method,
    stayWith: payment.stayWith ?? undefined,
  })
