/** Removes all that is kept of a customer's use. */
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { every } from '../storage/every.ts'
import { removeForGood } from '../storage/remove.ts'
import type { TenantScope } from '../tenant-scope.ts'

/**
 * An erasure marks the customer before it removes, and whoever writes something of its use looks for the mark afterwards: one of
 * the two sees the other.
 */
export const isCustomerGone = async ({ storage }: TenantScope, id: string): Promise<boolean> => {
  const owner = await storage.customers.find(id)
  return !owner || owner.erasing !== undefined
}

/** The counters go first: nothing moves out of them any more. */
export const removeUsage = async (of: TenantScope, { tenantId, storefrontId, customerId }: CustomerKey): Promise<void> => {
  const { storage } = of
  const where = { tenantId, storefrontId, customerId }
  await removeForGood(storage.usageCounters, of.keys.customer(storefrontId, customerId))
  for await (const { _id } of every(storage.usageMonths, where)) await removeForGood(storage.usageMonths, _id)
  for await (const { _id } of every(storage.countedReports, where)) await removeForGood(storage.countedReports, _id)
}
