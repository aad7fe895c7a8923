/** The ledger of a quota or capacity, as people look at it. */
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { AppError } from '../../common/errors.ts'
import { getCustomer } from '../customers/customers.ts'
import { allowancesOf } from '../entitlements/count-usage.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { livingPlaces, type Occupant, usedOf } from './holders.ts'
import { spentEntries, unspentOfKey } from './ledger.ts'
import { limitOf, quotaOf } from './quota-of.ts'
import type { UsageWarning } from './warnings.ts'

export interface LedgerView {
  kind: 'quota' | 'capacity'
  /** Null: unlimited. */
  limit: number | null
  /** As far as sidecars have told. */
  used: number
  /** Lent and not spent. */
  outstanding: number
  /** Null: unlimited. */
  free: number | null
  windows: { subscriptionId: string; start: Date; end: Date; limit: number | null; counted: number }[]
  /** Of a capacity: who occupies places of it, the oldest first. */
  holders: Occupant[]
  leases: { sidecar: string; subscriptionId: string; lent: number; spent: number; until: Date; seenAt: Date }[]
}

/** @throws AppError `not_found` for a customer that is not there, or that has no such quota or capacity now. */
export const readLedger = async (of: TenantScope, customer: CustomerKey, key: string): Promise<LedgerView> => {
  await getCustomer(of, of.keys.customer(customer.storefrontId, customer.customerId))
  const { known, quota } = await quotaOf(of, customer, key)
  const { holders, current, capacities, now } = quota
  const ledgers = { entries: known?.entries ?? [], borrowers: known?.borrowers ?? [] }
  if (current.length > 0) {
    const windows = allowancesOf(ledgers.entries, { key, held: current, holders, now })
    const spent = allowancesOf(spentEntries(ledgers, now, of.clock.now()), { key, held: current, holders, now })
    const limit = limitOf(windows.map((one) => one.limit))
    return {
      kind: 'quota',
      limit,
      used: spent.reduce((sum, { used }) => sum + used, 0),
      outstanding: unspentOfKey(ledgers.borrowers, key, now),
      free: limit === null ? null : windows.reduce((sum, { limit: of, used }) => sum + Math.max(0, (of ?? 0) - used), 0),
      windows: windows.map(({ holderId: subscriptionId, start, end, limit: ofWindow, used }) => ({
        subscriptionId,
        start,
        end,
        limit: ofWindow,
        counted: used,
      })),
      leases: ledgers.borrowers
        .filter((one) => one.key === key)
        .flatMap(({ sidecar, seenAt, leases }) =>
          leases
            .filter(({ until }) => now < until)
            .map(({ subscriptionId, lent, spent: used, until }) => ({ sidecar, subscriptionId, lent, spent: used, until, seenAt })),
        ),
      holders: [],
    }
  }
  if (capacities.length === 0) throw new AppError('not_found', `the customer holds no quota or capacity ${JSON.stringify(key)} that gives access now`)
  const places = livingPlaces({ entries: ledgers.entries, holders: known?.holders ?? [] }, now)
  const used = usedOf(places.entries, key)
  const limit = limitOf(capacities)
  return {
    kind: 'capacity',
    limit,
    used,
    outstanding: 0,
    free: limit === null ? null : Math.max(0, limit - used),
    windows: [],
    leases: [],
    holders: places.holders.filter((one) => one.key === key),
  }
}

/** The oldest first. @throws AppError `not_found`. */
export const readWarnings = async (of: TenantScope, { storefrontId, customerId }: CustomerKey): Promise<UsageWarning[]> => {
  const id = of.keys.customer(storefrontId, customerId)
  await getCustomer(of, id)
  return (await of.storage.usageCounters.find(id))?.warned ?? []
}
