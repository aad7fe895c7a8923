/** What the ledger of one key of a customer is made from, as it is stored now. */
import { countingOf, isCurrent } from '../../common/entitlements/decide.ts'
import { type CustomerKey, type Grant, plus } from '../../common/entitlements/model.ts'
import type { Holder } from '../entitlements/allowances.ts'
import { type HeldQuota, heldBy } from '../entitlements/count-usage.ts'
import { currentSourcesOf, type Granted, grantedBy } from '../entitlements/sources.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import type { TenantScope } from '../tenant-scope.ts'

export interface QuotaSources {
  holders: readonly Holder[]
  /** All grants of the key, whatever they are. */
  grants: Grant[]
  /** Its quotas, each with its holder. */
  held: HeldQuota[]
  /** Those that give access now. */
  current: HeldQuota[]
  /** Those grants, or the capacities that give access now: what counts of the key. */
  counting: readonly Grant[]
  /** Limits of the capacities that give access now; null: unlimited. */
  capacities: (number | null)[]
  /** One of them is soft. */
  isSoftCapacity: boolean
  /** The tenant's time. */
  now: Date
}

/** @returns the counters and all that the customer is granted, too, as they were read for it. */
export const quotaOf = async (
  of: TenantScope,
  customer: CustomerKey,
  key: string,
): Promise<{ known: UsageCounters | undefined; granted: Granted; quota: QuotaSources }> => {
  const known = await of.storage.usageCounters.find(of.keys.customer(customer.storefrontId, customer.customerId))
  const granted = grantedBy(await currentSourcesOf(of, customer, known))
  return { known, granted, quota: quotaFrom(granted, key, of.now()) }
}

/** Of what has been read already. */
export const quotaFrom = ({ grants: all, holders }: Granted, key: string, now: Date): QuotaSources => {
  const grants = all.filter((grant) => grant.key === key)
  const quotas = grants.filter(({ terms, mode }) => terms.kind === 'quota' && mode !== 'deny')
  const isBlocked = grants.some((grant) => grant.mode === 'deny' && isCurrent(grant, now.getTime()))
  // Nothing is lent of what is blocked.
  const current = isBlocked ? [] : countingOf(quotas.filter((grant) => isCurrent(grant, now.getTime())))
  const places = grants.filter((grant) => grant.terms.kind === 'capacity' && grant.mode !== 'deny' && isCurrent(grant, now.getTime()))
  const counted = isBlocked ? [] : countingOf(places)
  const capacities = counted.flatMap(({ terms }) => (terms.kind === 'capacity' ? [terms.limit] : []))
  const isSoftCapacity = counted.some(({ terms }) => terms.kind === 'capacity' && terms.overage === 'allow')
  return {
    holders,
    grants,
    held: heldBy(quotas, holders),
    current: heldBy(current, holders),
    counting: [...current, ...counted],
    capacities,
    isSoftCapacity,
    now,
  }
}

/** The sum of limits. Null: unlimited. */
export const limitOf = (limits: readonly (number | null)[]): number | null =>
  limits.reduce<number | null>((sum, limit) => (sum === null || limit === null ? null : plus(sum, limit)), 0)
