/** Loads what routing looks at, and routes. */
import { keys } from '../keys.ts'
import type { PaymentMethod } from '../schemas/customer.ts'
import type { Payment } from '../schemas/payment.ts'
import type { PspAccount } from '../schemas/psp-account.ts'
import type { BillingTerms, Storefront } from '../schemas/storefront.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { Services } from '../services.ts'
import { accountsNamedBy, type RoutableAccount, type Route, routePayment } from './route-payment.ts'

/** In the order of the ids; undefined where the tenant has stored no such account. */
export const loadAccounts = (services: Services, tenant: Tenant, ids: readonly string[]): Promise<(PspAccount | undefined)[]> =>
  Promise.all(ids.map((id) => services.storage.pspAccounts.find(keys.pspAccount(tenant.tenantId, id))))

export const loadRoutableAccounts = async (services: Services, tenant: Tenant, storefront: Storefront): Promise<RoutableAccount[]> => {
  const ids = accountsNamedBy(storefront.routing)
  const stored = await loadAccounts(services, tenant, ids)
  return ids.map((id, n) => {
    const account = stored[n]
    const opened = services.psps.open(tenant, id, account)
    return { id, ...('unusable' in opened ? opened : {}), capabilities: account?.capabilities ?? {} }
  })
}

/** @param paymentMethodId the method to use; the payment's own when absent. */
export const routeFor = async (
  services: Services,
  tenant: Tenant,
  payment: Payment,
  paymentMethodId = payment.paymentMethodId,
): Promise<{ route: Route; method: PaymentMethod | undefined; limits: Pick<BillingTerms, 'maxAttempts' | 'maxAttemptsDays'> }> => {
  const { storage } = services
  const storefront = await storage.storefronts.get(keys.storefront(tenant.tenantId, payment.storefrontId))
  const customer = await storage.customers.get(keys.customer(tenant.tenantId, payment.storefrontId, payment.customerId))
  const method = customer.paymentMethods.find(({ id }) => id === paymentMethodId)
  const route = routePayment(storefront.routing, await loadRoutableAccounts(services, tenant, storefront), {
    paymentId: payment.id,
    amountMinor: payment.amountMinor,
    currency: payment.currency,
    country: customer.country ?? undefined,
    method: method ?? { type: 'none', tokens: [] },
  })
  return { route, method, limits: storefront.billing }
}
