/** What a customer has used by now, for the set and for sidecars that hold it. */
import { type CustomerKey, type CustomerUsage, sourceIdOf, type Usage } from '../../common/entitlements/model.ts'
import { isAppError } from '../../common/errors.ts'
import { usageOf } from '../entitlements/allowances.ts'
import { currentSourcesOf, type Granted, grantedBy } from '../entitlements/sources.ts'
import { customerKeyOf } from '../keys.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { livingPlaces, placesOf } from './holders.ts'
import { spentEntries } from './ledger.ts'

/** Of the keys that the customer is granted: without what is lent and not spent, and without holders whose time is over. */
export const usedNow = (of: TenantScope, counters: UsageCounters | undefined, { grants, holders }: Granted): Usage[] => {
  if (!counters) return []
  const now = of.now()
  const { entries } = livingPlaces(placesOf(counters), now)
  const spent = spentEntries({ entries, borrowers: counters.borrowers ?? [] }, now, of.clock.now())
  const isHeld = (key: string, sourceId?: string): boolean =>
    grants.some((grant) => grant.key === key && (sourceId === undefined || sourceIdOf(grant) === sourceId))
  return usageOf(spent, holders, isHeld)
}

const recalledOf = (borrowers: NonNullable<UsageCounters['borrowers']>, systemNow: Date): Pick<CustomerUsage, 'recalled'> => {
  const recalled = borrowers.flatMap(({ key, waitsUntil }) => (waitsUntil && systemNow < waitsUntil ? [key] : []))
  return recalled.length === 0 ? {} : { recalled: [...new Set(recalled)] }
}

/** @param granted by what was read before the counters were written, or after. */
const usageFrom = (of: TenantScope, customer: CustomerKey, counters: UsageCounters | undefined, granted: Granted): CustomerUsage => ({
  ...customerKeyOf(customer),
  usageSeq: counters?.seq ?? 0,
  usage: usedNow(of, counters, granted),
  ...recalledOf(counters?.borrowers ?? [], of.clock.now()),
})

export const readUsage = async (of: TenantScope, customer: CustomerKey): Promise<CustomerUsage> => {
  const counters = await of.storage.usageCounters.find(of.keys.customer(customer.storefrontId, customer.customerId))
  return usageFrom(of, customer, counters, grantedBy(await currentSourcesOf(of, customer, counters)))
}

/**
 * Tells sidecars that hold the customer. They may miss it; whoever counts something that nobody would tell again leaves a mark
 * (`repairAt`), by which it is told once more.
 * @returns false when the feed is away.
 */
export const tellUsage = async (of: TenantScope, counters: UsageCounters, granted: Granted): Promise<boolean> => {
  try {
    await of.feed.sayUsage(usageFrom(of, counters, counters, granted))
    return true
  } catch (error) {
    if (!isAppError(error, 'unavailable')) throw error
    return false
  }
}
