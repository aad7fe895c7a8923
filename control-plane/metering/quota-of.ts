/** What the ledger of one key of a customer is made from, as it is stored now. */
import { countingOf, isCurrent } from '../../common/entitlements/decide.ts'
import { deriveGrants } from '../../common/entitlements/derive.ts'
import { type CustomerKey, type Grant, MAX_COUNT, sourceIdOf } from '../../common/entitlements/model.ts'
import type { Holder } from '../entitlements/allowances.ts'
import type { HeldQuota } from '../entitlements/count-usage.ts'
import { accessOf, currentSourcesOf, holdersOf, type Sources } from '../entitlements/sources.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import type { TenantScope } from '../tenant-scope.ts'

export interface QuotaSources {
  known: UsageCounters | undefined
  sources: Sources
  holders: Holder[]
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

export const quotaOf = async (of: TenantScope, customer: CustomerKey, key: string): Promise<QuotaSources> => {
  const known = await of.storage.usageCounters.find(of.keys.customer(customer.storefrontId, customer.customerId))
  return quotaFrom(await currentSourcesOf(of, customer, known), known, key, of.now())
}

/** The same of what has been read already. */
export const quotaFrom = (sources: Sources, known: UsageCounters | undefined, key: string, now: Date): QuotaSources => {
  const holders = holdersOf(sources)
  const grants = deriveGrants(accessOf(sources)).filter((grant) => grant.key === key)
  const quotas = grants.filter(({ terms, mode }) => terms.kind === 'quota' && mode !== 'deny')
  const isBlocked = grants.some((grant) => grant.mode === 'deny' && isCurrent(grant, now.getTime()))
  const withHolder = (list: readonly Grant[]): HeldQuota[] =>
    list.flatMap((grant) => {
      const holder = holders.find(({ id }) => id === sourceIdOf(grant))
      return holder ? [{ grant, holder }] : []
    })
  // Nothing is lent of what is blocked.
  const current = isBlocked ? [] : countingOf(quotas.filter((grant) => isCurrent(grant, now.getTime())))
  const places = grants.filter((grant) => grant.terms.kind === 'capacity' && grant.mode !== 'deny' && isCurrent(grant, now.getTime()))
  const counted = isBlocked ? [] : countingOf(places)
  const capacities = counted.flatMap(({ terms }) => (terms.kind === 'capacity' ? [terms.limit] : []))
  const isSoftCapacity = counted.some(({ terms }) => terms.kind === 'capacity' && terms.overage === 'allow')
  return {
    known,
    sources,
    holders,
    grants,
    held: withHolder(quotas),
    current: withHolder(current),
    counting: [...current, ...counted],
    capacities,
    isSoftCapacity,
    now,
  }
}

/** The sum of limits. Null: unlimited. */
export const limitOf = (limits: readonly (number | null)[]): number | null =>
  limits.reduce<number | null>((sum, limit) => (sum === null || limit === null ? null : Math.min(MAX_COUNT, sum + limit)), 0)
