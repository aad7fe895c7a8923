/** Moves out of a customer's counters what would let them grow: what was used when, and ids of reports that were counted. */

import { DAY_MS } from '../../common/durations.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import { insertOrGet, update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { keepElsewhere, MAX_IN_COUNTERS, remembered, withoutKept } from './counted-reports.ts'
import { addTo, byMonth, close, isClosed, MAX_PENDING, monthAfter, type PendingMonth, withoutMoved } from './history.ts'
import { isCustomerGone, removeUsage } from './remove-usage.ts'

/** 13 months. */
const KEPT_DAYS = 396

/** True when nothing may be added before something has moved. */
export const isFull = ({ counted = [], pending = [] }: UsageCounters): boolean => counted.length >= MAX_IN_COUNTERS || pending.length >= MAX_PENDING

const moveToMonth = async (of: TenantScope, { tenantId, storefrontId, customerId }: CustomerKey, { key, month, uses }: PendingMonth): Promise<void> => {
  const { usageMonths } = of.storage
  const keptMs = (of.usageHistoryDays ?? KEPT_DAYS) * DAY_MS
  // Its end is in the tenant's time, and what is past its time is removed by the system's.
  const expiresAt = new Date(of.clock.nowMs() + monthAfter(month).getTime() - of.now().getTime() + keptMs)
  const _id = of.keys.usageMonth(storefrontId, customerId, key, month.toISOString().slice(0, 7))
  const first = addTo({ month, hours: [], seq: 0 }, uses)
  const known = await insertOrGet(usageMonths, { _id, tenantId, storefrontId, customerId, entitlement: key, ...first, expiresAt, createdAt: month })
  await update(
    usageMonths,
    _id,
    (latest) => {
      const after = addTo(latest, uses)
      return after.seq === latest.seq ? undefined : { ...after, expiresAt }
    },
    known,
  )
}

/** May be done twice, by several processes at once, and again after a crash. */
export const flushCounters = async (of: TenantScope, { _id }: Pick<UsageCounters, '_id'>): Promise<void> => {
  const { usageCounters } = of.storage
  const closed = await update(usageCounters, _id, close)
  for (const month of byMonth((closed.pending ?? []).filter((use) => isClosed(closed, use)))) await moveToMonth(of, closed, month)
  const kept = isFull({ ...closed, pending: [] }) ? remembered(closed, of.clock.nowMs()) : []
  await keepElsewhere(of, closed, kept)
  // Before it leaves the counters, which an erasure may have removed.
  if (await isCustomerGone(of, _id)) return removeUsage(of, closed)
  await update(usageCounters, _id, (latest) => withoutKept(withoutMoved(latest, closed, of.clock.now()), kept, of.clock.nowMs()))
}
