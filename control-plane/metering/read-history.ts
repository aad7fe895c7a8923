/** What a customer used when: what has moved to months, and what is still pending in the counters. */
import { type Period, spansOf } from '../../common/calendar.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { fieldError } from '../../common/errors.ts'
import type { UsageMonth } from '../schemas/usage-history.ts'
import { every } from '../storage/every.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { addTo, bucketsOf, byMonth, hoursIn, type UsageBucket } from './history.ts'

export const granularities = ['hour', 'day', 'month'] as const
export type Granularity = (typeof granularities)[number]

/** More than the hours of 13 months; an answer with as many is a megabyte. */
const MAX_BUCKETS = 10_000

export type MonthOfUse = Pick<UsageMonth, 'entitlement' | 'month' | 'hours'>

/** The months in which something was used. @param entitlement undefined: any. */
export async function* monthsOfUse(of: TenantScope, customer: CustomerKey, entitlement?: string): AsyncGenerator<MonthOfUse, undefined> {
  const { usageCounters, usageMonths } = of.storage
  const { tenantId, storefrontId, customerId } = customer
  // Read first: what moves from here on is looked for in the months, too.
  const counters = await usageCounters.find(of.keys.customer(storefrontId, customerId))
  const left = new Set(byMonth((counters?.pending ?? []).filter(({ key }) => entitlement === undefined || key === entitlement)))
  for await (const stored of every(usageMonths, { tenantId, storefrontId, customerId, ...(entitlement === undefined ? {} : { entitlement }) })) {
    const pending = [...left].find(({ key, month }) => key === stored.entitlement && month.getTime() === stored.month.getTime())
    if (pending) left.delete(pending)
    yield addTo(stored, pending?.uses ?? [])
  }
  for (const { key, month, uses } of left) yield { entitlement: key, ...addTo({ month, hours: [], seq: 0 }, uses) }
}

export interface HistoryQuery extends CustomerKey {
  entitlement: string
  from: Date
  to: Date
  granularity: Granularity
  timeZone: string
}

/** The spans of a query. @throws AppError `invalid_request` for a range that ends before it begins, or has too many. */
const spansAsked = ({ from, to, granularity, timeZone }: HistoryQuery): Period[] => {
  if (to < from) throw fieldError('invalid_request', 'to', 'must not be earlier than from')
  const spans = spansOf(from, to, granularity, timeZone, MAX_BUCKETS)
  if (!spans) throw fieldError('invalid_request', 'from', `the range has more than ${MAX_BUCKETS} buckets: begin it later, or ask for a coarser granularity`)
  return spans
}

/** @returns a bucket for each hour, day or month that the range touches, also where nothing was used. @throws AppError `invalid_request`. */
export const readHistory = async (of: TenantScope, query: HistoryQuery): Promise<UsageBucket[]> => {
  const spans = spansAsked(query)
  const hours: { start: Date; used: number }[] = []
  for await (const month of monthsOfUse(of, query, query.entitlement)) hours.push(...hoursIn(month))
  return bucketsOf(spans, hours)
}
