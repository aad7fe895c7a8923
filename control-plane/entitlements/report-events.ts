/**
 * Uses that another system tells of later, many at a time. Each says when it happened: it is noted in that hour of the history, and
 * counts in the windows that were running then and still are. All events of one customer are one write.
 */
import type { CustomerKey, Grant } from '../../common/entitlements/model.ts'
import { type ErrorCode, isAppError } from '../../common/errors.ts'
import { countedAmong, remember } from '../metering/counted-reports.ts'
import { changeCounters } from '../metering/counters.ts'
import { earlier, note, placesChanged } from '../metering/history.ts'
import { heldOf, livingCounters, type Places } from '../metering/holders.ts'
import { unspentOfKey } from '../metering/ledger.ts'
import { quotaFrom } from '../metering/quota-of.ts'
import { tellUsage } from '../metering/tell-usage.ts'
import { withWarnings } from '../metering/warnings.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import type { TenantScope } from '../tenant-scope.ts'
import type { UsageEntry } from './allowances.ts'
import { allowancesOf, type Counting, countCapacity, countQuota, heldBy } from './count-usage.ts'
import { isOfUse, takenFrom } from './report-usage.ts'
import { currentSourcesOf, type Granted, grantedBy } from './sources.ts'

export interface ReportedEvent {
  /** By which a repeat is known. */
  id: string
  entitlement: string
  /** Below zero: gives back. */
  amount: number
  /** When it happened, in the tenant's time; not later than now. */
  at: Date
}

/** What became of an event. The field is that of a CloudEvent. */
export type EventOutcome = 'accepted' | 'duplicate' | { code: ErrorCode; field: string }

const unknownCustomer: EventOutcome = { code: 'unknown_reference', field: 'subject' }
const unknownEntitlement: EventOutcome = { code: 'unknown_reference', field: 'type' }

/** Counts an amount. @throws AppError when that cannot be. */
type Count = (entries: readonly UsageEntry[], amount: number) => UsageEntry[]

type Settle = (event: ReportedEvent, outcome: EventOutcome) => void

/** Counts events that count alike: together, or, where some cannot be counted, one after another. */
const countAlike = (entries: UsageEntry[], events: readonly ReportedEvent[], count: Count, settle: Settle): UsageEntry[] => {
  let counted = entries
  const all = (some: readonly ReportedEvent[]): void => {
    counted = count(
      counted,
      some.reduce((sum, { amount }) => sum + amount, 0),
    )
    for (const event of some) settle(event, 'accepted')
  }
  const allOr = (some: readonly ReportedEvent[], otherwise: (code: ErrorCode) => void): void => {
    try {
      all(some)
    } catch (error) {
      if (!isAppError(error)) throw error
      otherwise(error.code)
    }
  }
  allOr(events, () => {
    for (const event of events) allOr([event], (code) => settle(event, { code, field: 'data.amount' }))
  })
  return counted
}

/** Counts events of a quota, each in the windows that it lies in; one of a time that is in none is history only. */
const countInWindows = (entries: UsageEntry[], events: readonly ReportedEvent[], counting: Counting, unspent: number, settle: Settle): UsageEntry[] => {
  const allowances = allowancesOf(entries, counting)
  const running = ({ at }: ReportedEvent): string[] => allowances.flatMap(({ holderId, start }) => (start <= at ? [holderId] : []))
  let counted = entries
  for (const alike of Map.groupBy(events, (event) => running(event).join(' ')).values()) {
    const ids = running(alike[0] as ReportedEvent)
    const held = counting.held.filter(({ holder }) => ids.includes(holder.id))
    if (held.length === 0) for (const event of alike) settle(event, 'accepted')
    else counted = countAlike(counted, alike, (before, add) => countQuota(before, { ...counting, held }, { add }, unspent).entries, settle)
  }
  return counted
}

interface EventTerms extends Granted {
  isPaused(grant: Grant): boolean
  now: Date
}

/** @param settle is told what becomes of each event. @returns the entries with those that count. */
const countEvents = (
  { entries, holders: occupants, borrowers = [] }: Places & Pick<UsageCounters, 'borrowers'>,
  events: readonly ReportedEvent[],
  { grants, holders, isPaused, now }: EventTerms,
  settle: Settle,
): UsageEntry[] => {
  let counted = [...entries]
  const count = (key: string, some: readonly ReportedEvent[], takes: boolean): void => {
    const metered = takenFrom(grants, key, now.getTime(), (grant) => !takes && isPaused(grant))
    if (metered.length === 0) for (const event of some) settle(event, unknownEntitlement)
    else if (metered[0]?.terms.kind === 'capacity')
      counted = countAlike(counted, some, (before, add) => countCapacity(before, key, { add }, heldOf(occupants, key)), settle)
    else {
      const held = heldBy(metered, holders)
      // What is lent is not there to be given back.
      counted = countInWindows(counted, some, { key, held, holders, now }, takes ? 0 : unspentOfKey(borrowers, key, now), settle)
    }
  }
  for (const [key, ofKey] of Map.groupBy(events, ({ entitlement }) => entitlement)) {
    // Events have no order among each other: what gives back comes last, when it finds the most to give.
    const { true: gives = [], false: takes = [] } = Object.groupBy(ofKey, ({ amount }) => String(amount < 0) as 'true' | 'false')
    if (takes.length > 0) count(key, takes, true)
    if (gives.length > 0) count(key, gives, false)
  }
  return counted
}

/**
 * Counts events of one customer.
 * @returns what became of each, in their order. @throws AppError `unavailable` and the like, when nothing can be said of any of them:
 *   those that were counted all the same are duplicates when they are sent again.
 */
export const reportEvents = async (of: TenantScope, customer: CustomerKey, events: readonly ReportedEvent[]): Promise<EventOutcome[]> => {
  const known = await of.storage.usageCounters.find(of.keys.customer(customer.storefrontId, customer.customerId))
  const sources = await currentSourcesOf(of, customer, known)
  const { subscriptions } = sources
  const now = of.now()
  const isPaused = ({ subscriptionId }: Grant): boolean => subscriptions.some(({ id, status }) => id === subscriptionId && status === 'paused')
  const granted = grantedBy(sources)
  const terms = { ...granted, isPaused, now }
  /** The first of each id. */
  const first = new Map(events.toReversed().map((event) => [event.id, event]))
  let outcomes = new Map<ReportedEvent, EventOutcome>()
  const counters = await changeCounters(of, customer, known, async (latest) => {
    const counted = await countedAmong(of, latest, [...first.keys()])
    outcomes = new Map()
    const fresh = events.filter((event) => first.get(event.id) === event && !counted.has(event.id))
    const living = livingCounters(latest, now)
    const entries = countEvents(living, fresh, terms, (event, outcome) => outcomes.set(event, outcome))
    const accepted = fresh.filter((event) => outcomes.get(event) === 'accepted')
    if (accepted.length === 0) return undefined
    const systemNow = of.clock.now()
    const repairAt = earlier(latest.repairAt, of.repairAt())
    const after = { ...living, entries: entries.filter((entry) => isOfUse(entry, subscriptions, now)), repairAt }
    const uses = accepted.map(({ entitlement, at, amount }) => ({ key: entitlement, at, units: amount }))
    const ended = placesChanged(latest.entries, living.entries, now)
    const ids = accepted.map(({ id }) => ({ id }))
    const warned = [...new Set(uses.map(({ key }) => key))].reduce<UsageCounters>(
      (counted, key) => withWarnings(counted, key, quotaFrom(granted, key, now), systemNow),
      after,
    )
    return note(remember(warned, ids, systemNow.getTime()), [...uses, ...ended], systemNow)
  })
  if (!counters) return events.map(() => unknownCustomer)
  if ([...outcomes.values()].includes('accepted')) await tellUsage(of, counters, granted)
  return events.map((event): EventOutcome => {
    const own = outcomes.get(event)
    if (own) return own
    // A repeat of one that was refused is refused like it.
    const original = outcomes.get(first.get(event.id) as ReportedEvent)
    return typeof original === 'object' ? original : 'duplicate'
  })
}
