import { loadAccounts, type StorefrontAccount } from '../payments/open-account.ts'
import { smallestChargeMinor, stepMinor } from '../payments/psp/charge-limits.ts'
import { pspProviders } from '../schemas/psp-account.ts'
import type { Storefront } from '../schemas/storefront.ts'
import type { Subscription } from '../schemas/subscription.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { TenantScope } from '../tenant-scope.ts'

type Provider = (typeof pspProviders)[number]
type ChargeLimits = NonNullable<Subscription['chargeLimits']>

/**
 * The provider of an account. In a sandbox the simulator stands in for every provider: an account without a document stands
 * for the one it is named after.
 */
const providerNamed = (tenant: Tenant, accountId: string): Provider | undefined =>
  tenant.mode === 'sandbox' ? (pspProviders.find((name) => name === accountId) ?? 'simulator') : undefined

/** Amounts in ISO 4217 minor units. Steps are powers of ten, so that the largest is a multiple of the others. */
export const chargeLimitsOf = (tenant: Tenant, { currency }: Pick<Storefront, 'currency'>, accounts: readonly StorefrontAccount[]): ChargeLimits => {
  const known = accounts.map(({ id, stored }) => stored?.provider ?? providerNamed(tenant, id)).filter((provider) => provider !== undefined)
  return {
    stepMinor: Math.max(1, ...known.map((provider) => stepMinor(provider, currency))),
    smallestMinor: Math.max(1, ...known.map((provider) => smallestChargeMinor(provider, currency))),
  }
}

/** The subscription with the limits as they are now: whatever bill is made next keeps to them. Not stored by itself. */
export const chargeableAt = async (of: TenantScope, subscription: Subscription): Promise<Subscription> => {
  const storefront = await of.storage.storefronts.find(of.keys.storefront(subscription.storefrontId))
  if (!storefront) return subscription
  return { ...subscription, chargeLimits: chargeLimitsOf(of.tenant, storefront, await loadAccounts(of, storefront)) }
}
