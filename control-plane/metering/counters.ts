/** A customer's counters: the only place where they are written. */
import type { CustomerKey } from '../../common/entitlements/model.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import { insertOrGet, update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { flushCounters, isFull } from './flush-counters.ts'
import { isCustomerGone, removeUsage } from './remove-usage.ts'

/**
 * Counts, by one compare-and-set. Each write has a number that is higher than all before it, also where the counters were removed
 * and made anew: the time, or one more than the last.
 * @param known as the caller last saw them. @param change answers undefined to leave them as they are; it may be called several times.
 * @returns undefined when the customer is not there, or is being erased: nothing is counted then.
 */
export const changeCounters = async (
  of: TenantScope,
  customer: CustomerKey,
  known: UsageCounters | undefined,
  change: (latest: UsageCounters) => UsageCounters | undefined | Promise<UsageCounters | undefined>,
): Promise<UsageCounters | undefined> => {
  const { usageCounters } = of.storage
  const id = of.keys.customer(customer.storefrontId, customer.customerId)
  if (await isCustomerGone(of, id)) return undefined
  const { tenantId, storefrontId, customerId } = customer
  const empty = { _id: id, tenantId, storefrontId, customerId, entries: [], recentReports: [], createdAt: of.clock.now() }
  let latest: UsageCounters | undefined = known ?? (await insertOrGet(usageCounters, empty))
  for (;;) {
    let hasRoom = true
    const counted = await update(
      usageCounters,
      id,
      async (before) => {
        hasRoom = !isFull(before)
        const after = hasRoom ? await change(before) : undefined
        return after && { ...after, seq: Math.max((before.seq ?? 0) + 1, of.clock.now().getTime()) }
      },
      latest,
    )
    if (hasRoom) {
      if (!(await isCustomerGone(of, id))) return counted
      await removeUsage(of, customer)
      return undefined
    }
    await flushCounters(of, counted)
    if (await isCustomerGone(of, id)) return undefined
    latest = undefined
  }
}
