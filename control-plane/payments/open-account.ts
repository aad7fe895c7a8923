import type { PspAccount } from '../schemas/psp-account.ts'
import type { Storefront } from '../schemas/storefront.ts'
import type { TenantScope } from '../tenant-scope.ts'
import type { PspAccess } from './psp/psp.ts'
import { accountsNamedBy, type RoutableAccount } from './routing/route-payment.ts'

/** @returns undefined where the tenant has stored no such account. */
const loadAccount = (of: TenantScope, id: string): Promise<PspAccount | undefined> => of.storage.pspAccounts.find(of.keys.pspAccount(id))

/** The account ready for use, or why it is not. */
export const openAccount = async (of: TenantScope, id: string): Promise<PspAccess> => of.openPsp(id, await loadAccount(of, id))

/** An account that a storefront's routing names, ready for use or not. */
export interface StorefrontAccount extends RoutableAccount {
  /** Undefined where the tenant has stored no such account. */
  stored: PspAccount | undefined
  opened: PspAccess
}

/** All accounts that the routing names, in its order; the unusable ones too, each with its reason. */
export const loadAccounts = (of: TenantScope, { routing }: Pick<Storefront, 'routing'>): Promise<StorefrontAccount[]> =>
  Promise.all(
    accountsNamedBy(routing).map(async (id): Promise<StorefrontAccount> => {
      const stored = await loadAccount(of, id)
      const opened = of.openPsp(id, stored)
      const account = { id, stored, opened, capabilities: stored?.capabilities ?? {} }
      return 'unusable' in opened ? { ...account, unusable: opened.unusable } : { ...account, circuitOpenUntil: opened.circuit?.view().openUntil }
    }),
  )
