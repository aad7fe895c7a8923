/** The accounts at providers, ready for use: one by its id, or those that a storefront's routing names. */
import { keys } from '../keys.ts'
import type { PspAccount } from '../schemas/psp-account.ts'
import type { Storefront } from '../schemas/storefront.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { Services } from '../services.ts'
import type { Opened } from './psp/directory.ts'
import { accountsNamedBy, type RoutableAccount } from './routing/route-payment.ts'

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
