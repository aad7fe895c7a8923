/** Answers a sidecar whose callers occupy places of a customer's capacity, or give them back. */
import type { CustomerKey } from '../../common/entitlements/model.ts'
import type { HolderAnswer, HolderQuestion } from '../../common/metering/holder-words.ts'
import { getCustomer } from '../customers/customers.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { changeCounters } from './counters.ts'
import { earlier, note, placesChanged } from './history.ts'
import { askPlaces, livingCounters, nextEnd, placesOf, usedOf } from './holders.ts'
import { limitOf, quotaOf } from './quota-of.ts'
import { tellUsage } from './tell-usage.ts'
import { withWarnings } from './warnings.ts'

/** The answer where there is no such customer. */
export const noPlaces: HolderAnswer = { outcome: 'refused', used: 0, limit: 0 }

/** A repeat comes soon after its original. */
const REMEMBERED = 64

/** One key may name a use of seats and one of slots, and what is reserved of them: only a repeat is the same in all. */
const repeatOf = ({ entitlement, act, id, holder }: HolderQuestion): string => JSON.stringify([entitlement, act, id, holder])

export const answerHolder = async (of: TenantScope, question: HolderQuestion): Promise<HolderAnswer> => {
  const { customer, entitlement: key, act } = question
  const repeat = repeatOf(question)
  const { known, granted, quota } = await quotaOf(of, customer, key)
  const { capacities, isSoftCapacity, now } = quota
  const limit = limitOf(capacities)
  let answer = noPlaces
  const counted = await changeCounters(of, customer, known, (latest): UsageCounters | undefined => {
    const places = placesOf(latest)
    const living = livingCounters(latest, now)
    if (latest.recentReports.includes(repeat)) {
      answer = { outcome: 'granted', used: usedOf(living.entries, key), limit }
      return undefined
    }
    const decided = askPlaces(places, question, { limit, isSoft: isSoftCapacity, now })
    answer = decided.answer
    if (decided.places.entries === places.entries && decided.places.holders === places.holders) return undefined
    const { entries, holders } = decided.places
    const end = nextEnd(holders)
    // A holder is known by its name, and what has none by the question.
    const isNamed = act === 'acquire' && question.holder !== ''
    const systemNow = of.clock.now()
    // Whoever has left since may have made room: the next time that a share is reached is another one.
    const before = withWarnings(living, key, quota, systemNow)
    const counted = {
      ...before,
      entries: [...entries],
      holders: [...holders],
      recentReports: isNamed ? latest.recentReports : [...latest.recentReports, repeat].slice(-REMEMBERED),
      ...(end && of.tenant.mode === 'live' ? { repairAt: earlier(latest.repairAt, end) } : {}),
    }
    return note(withWarnings(counted, key, quota, systemNow), placesChanged(latest.entries, entries, now), systemNow)
  })
  if (!counted) return noPlaces
  await tellUsage(of, counted, granted)
  return answer
}

/** For people: takes all that a holder has. @param id of the call. @throws AppError `not_found` for a customer that is not there. */
export const releaseHolder = async (of: TenantScope, customer: CustomerKey, entitlement: string, holder: string, id: string): Promise<HolderAnswer> => {
  await getCustomer(of, of.keys.customer(customer.storefrontId, customer.customerId))
  return answerHolder(of, { customer, entitlement, id, act: 'release', holder, amount: 0, ttlMs: 0 })
}
