/** A customer's use of quotas and capacities, as its application reports it. */
import { defined } from '../../common/defined.ts'
import { countingOf, decide, isCurrent } from '../../common/entitlements/decide.ts'
import { type CustomerKey, type Grant, sourceIdOf } from '../../common/entitlements/model.ts'
import { fieldError } from '../../common/errors.ts'
import { countedAmong, isRepeat, remember } from '../metering/counted-reports.ts'
import { changeCounters } from '../metering/counters.ts'
import { flushCounters } from '../metering/flush-counters.ts'
import { earlier, note, placesChanged } from '../metering/history.ts'
import { heldOf, livingCounters, nextEnd } from '../metering/holders.ts'
import { spentEntries, unspentOfKey } from '../metering/ledger.ts'
import { quotaFrom } from '../metering/quota-of.ts'
import { isCustomerGone, removeUsage } from '../metering/remove-usage.ts'
import { tellUsage } from '../metering/tell-usage.ts'
import { withWarnings } from '../metering/warnings.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import type { Subscription } from '../schemas/subscription.ts'
import { update } from '../storage/update.ts'
import { isFinal } from '../subscriptions/machine/transitions.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { allowanceTime, type UsageEntry, usageOf } from './allowances.ts'
import { type Counted, countCapacity, countQuota, heldBy, type UsageChange } from './count-usage.ts'
import { publishEntitlements, toEntitlementSet } from './publish-entitlements.ts'
import { currentSourcesOf, grantedBy, sourcesOf } from './sources.ts'

/** A repeat comes soon after its original; this many other reports of one customer do not come between. */
const REPORTS_REMEMBERED = 64

export interface UsageReport {
  /** The same for a repeat of the same request. */
  id: string
  entitlement: string
  /** Adds to what is used (below zero: gives back), or sets it. */
  change: UsageChange
  /** Its own id, by which it counts once a day, whatever request it comes with; and what it says. */
  own?: { id: string; says: string } | undefined
}

export interface UsageAnswer {
  used: number
  limit: number | null
  remaining: number | null
  resetsAt: Date | undefined
  entitlementRevision: number
}

/**
 * The grants that a report is about. A use is taken from those that give access now; where none does, from those that did
 * or will; a block stops access, and not what is counted. Giving back, and saying what is used in all, is about what stands
 * still in a pause, too.
 */
export const takenFrom = (grants: readonly Grant[], key: string, nowMs: number, isPaused: (grant: Grant) => boolean): Grant[] => {
  const isMetered = ({ terms, mode }: Grant): boolean => (terms.kind === 'quota' || terms.kind === 'capacity') && mode !== 'deny'
  const ofKey = grants.filter((grant) => grant.key === key && isMetered(grant))
  const current = ofKey.filter((grant) => isCurrent(grant, nowMs) || isPaused(grant))
  const found = current.length > 0 ? current : ofKey
  const kind = found.at(-1)?.terms.kind
  return [...countingOf(found.filter(({ terms }) => terms.kind === kind))]
}

/**
 * Use is a fact: it is counted beyond the limit, and while access is off.
 * @throws AppError `unknown_reference` or `invalid_request`; `idempotency_key_reused` when its own id was another report's.
 */
export const reportUsage = async (of: TenantScope, customer: CustomerKey, report: UsageReport): Promise<UsageAnswer> => {
  const { storage } = of
  const id = of.keys.customer(customer.storefrontId, customer.customerId)
  const now = of.now()
  const unknown = () => fieldError('unknown_reference', 'customerId', `the storefront has no customer ${JSON.stringify(customer.customerId)}`)
  const known = await storage.usageCounters.find(id)
  const stored = await storage.entitlementSets.find(id)
  const sources = await sourcesOf(of, customer, stored, known)
  const { subscriptions } = sources
  const granted = grantedBy(sources)
  const { holders } = granted
  const takes = 'add' in report.change && report.change.add > 0
  const isPaused = ({ subscriptionId }: Grant): boolean => !takes && subscriptions.some(({ id, status }) => id === subscriptionId && status === 'paused')
  const grants = takenFrom(granted.grants, report.entitlement, now.getTime(), isPaused)
  const [first] = grants
  if (!first && !(await storage.customers.find(id))) throw unknown()
  if (!first) throw fieldError('unknown_reference', 'entitlement', `the customer holds no quota or capacity ${JSON.stringify(report.entitlement)}`)
  const held = heldBy(grants, holders)
  const { entitlement: key, change, own } = report
  const quota = quotaFrom(granted, key, now)
  const count = ({ entries, holders: occupants = [], borrowers = [] }: Pick<UsageCounters, 'entries' | 'holders' | 'borrowers'>): Counted =>
    first.terms.kind === 'capacity'
      ? { entries: countCapacity(entries, key, change, heldOf(occupants, key)), units: 0 }
      : countQuota(entries, { key, held, holders, now }, change, unspentOfKey(borrowers, key, now))

  const counters = await changeCounters(of, customer, known, async (latest) => {
    if (latest.recentReports.includes(report.id)) return undefined
    if (own && isRepeat(await countedAmong(of, latest, [own.id]), own)) return undefined
    const systemNow = of.clock.now()
    // Whoever has left since may have made room: the next time that a share is reached is another one.
    const living = withWarnings(livingCounters(latest, now), key, quota, systemNow)
    const counted = count(living)
    const entries = counted.entries.filter((entry) => isOfUse(entry, subscriptions, now))
    const recentReports = [...latest.recentReports, report.id].slice(-REPORTS_REMEMBERED)
    // A mark that is left standing has it told once more, soon: this process may not come to it.
    const repairAt = earlier(latest.repairAt, of.repairAt())
    const remembering = remember({ ...living, entries, recentReports, repairAt }, own ? [own] : [], systemNow.getTime())
    const after = withWarnings(remembering, key, quota, systemNow)
    return note(after, [{ key, at: now, units: counted.units }, ...placesChanged(latest.entries, entries, now)], systemNow)
  })
  if (!counters) throw unknown()
  await tellUsage(of, counters, granted)
  const revision = stored ? toEntitlementSet(stored).revision : (await publishEntitlements(of, customer)).revision

  // As it would be decided with access: what is left is of use to know while it is off, too.
  const always = grants.map(({ untilMs: _, ...grant }) => ({ ...grant, inactive: false, fromMs: Number.NEGATIVE_INFINITY }))
  const usage = usageOf(
    spentEntries({ entries: counters.entries, borrowers: counters.borrowers ?? [] }, now, of.clock.now()),
    holders,
    (key, id) => key === report.entitlement && (id === undefined || grants.some((grant) => sourceIdOf(grant) === id)),
  )
  const paused = held.every(({ holder }) => holder.status === 'paused')
  const at = paused && held[0] ? allowanceTime(held[0].holder, now) : now
  const after = decide({ grants: always, usage }, report.entitlement, 1, at.getTime())
  return {
    used: after.used ?? 0,
    limit: after.limit ?? null,
    remaining: after.remaining ?? null,
    resetsAt: after.resetsAtMs === undefined || paused ? undefined : new Date(after.resetsAtMs),
    entitlementRevision: revision,
  }
}

/** Counts of allowances that are over, of subscriptions that are over too, would let the document grow for ever. */
export const isOfUse = ({ until, subscriptionId }: UsageEntry, subscriptions: readonly Subscription[], now: Date): boolean =>
  !until || until > now || subscriptions.some(({ id, status }) => id === subscriptionId && !isFinal(status))

/** Takes out holders whose time is over. */
const endHolders = (of: TenantScope, counters: UsageCounters): Promise<UsageCounters | undefined> =>
  changeCounters(of, counters, counters, (latest) => {
    const living = livingCounters(latest, of.now())
    if (living.holders.length === (latest.holders ?? []).length) return undefined
    return note(living, placesChanged(latest.entries, living.entries, of.now()), of.clock.now())
  })

/** Does what is due of counters: tells what a crash may have left untold, ends holders, and moves what is to be kept elsewhere. */
export const tendCounters = async (of: TenantScope, counters: UsageCounters): Promise<void> => {
  if (await isCustomerGone(of, counters._id)) return removeUsage(of, counters)
  if (counters.moveAt && counters.moveAt <= of.clock.now()) await flushCounters(of, counters)
  const living = await endHolders(of, counters)
  if (!living || !(await tellUsage(of, living, grantedBy(await currentSourcesOf(of, living, living))))) return
  const end = of.tenant.mode === 'live' ? nextEnd(living.holders ?? []) : undefined
  await update(of.storage.usageCounters, living._id, (latest) => {
    const next = latest.moveAt ? earlier(end, latest.moveAt) : end
    // What was counted since then may be untold in its turn.
    return defined({ ...latest, repairAt: latest.seq === living.seq ? next : of.repairAt() })
  })
}
