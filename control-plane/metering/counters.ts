/** A customer's counters: the only place where they are written. */
import type { CustomerKey } from '../../common/entitlements/model.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import { insertOrGet, sourceOf, update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { flushCounters, isFull } from './flush-counters.ts'
import { isCustomerGone, removeUsage } from './remove-usage.ts'

/** May be called several times. @returns undefined to leave them as they are. @throws what its caller is told; nothing of it is counted then. */
type Change = (latest: UsageCounters) => UsageCounters | undefined | Promise<UsageCounters | undefined>

/** A change that waits to be written, with those that came meanwhile. */
interface Waiting {
  change: Change
  done(counted: UsageCounters | undefined): void
  fail(error: unknown): void
}

/** More in one write would make the first of them wait for long. */
const MOST_IN_ONE_WRITE = 64

/** By customer, the changes that come while one write is under way: the next one takes them all. */
const queuesOf = new WeakMap<object, Map<string, Waiting[]>>()

type Outcome = { error: unknown } | undefined

/** Applies each of them to what those before it have left. One that fails leaves nothing. */
const applyAll = async (before: UsageCounters, changes: readonly Change[]): Promise<{ after: UsageCounters | undefined; outcomes: Outcome[] }> => {
  let latest = before
  const outcomes: Outcome[] = []
  for (const change of changes) {
    try {
      latest = (await change(latest)) ?? latest
      outcomes.push(undefined)
    } catch (error) {
      outcomes.push({ error })
    }
  }
  return { after: latest === before ? undefined : latest, outcomes }
}

const writeAll = async (
  of: TenantScope,
  customer: CustomerKey,
  known: UsageCounters | undefined,
  changes: readonly Change[],
): Promise<{ counted: UsageCounters | undefined; outcomes: Outcome[] }> => {
  const { usageCounters } = of.storage
  const nothing = { counted: undefined, outcomes: [] }
  const id = of.keys.customer(customer.storefrontId, customer.customerId)
  if (await isCustomerGone(of, id)) return nothing
  const { tenantId, storefrontId, customerId } = customer
  const empty = { _id: id, tenantId, storefrontId, customerId, entries: [], recentReports: [], createdAt: of.clock.now() }
  let latest: UsageCounters | undefined = known ?? (await insertOrGet(usageCounters, empty))
  for (;;) {
    let hasRoom = true
    let outcomes: Outcome[] = []
    const counted = await update(
      usageCounters,
      id,
      async (before) => {
        hasRoom = !isFull(before)
        if (!hasRoom) return undefined
        const applied = await applyAll(before, changes)
        outcomes = applied.outcomes
        return applied.after && { ...applied.after, seq: Math.max((before.seq ?? 0) + 1, of.clock.now().getTime()) }
      },
      latest,
    )
    if (hasRoom) {
      if (!(await isCustomerGone(of, id))) return { counted, outcomes }
      await removeUsage(of, customer)
      return nothing
    }
    await flushCounters(of, counted)
    if (await isCustomerGone(of, id)) return nothing
    latest = undefined
  }
}

/** Writes what waits, and what comes meanwhile, until nothing does. @param ended called in the same turn in which nothing is left. */
const drain = async (of: TenantScope, customer: CustomerKey, known: UsageCounters | undefined, queue: Waiting[], ended: () => void): Promise<void> => {
  let latest = known
  while (queue.length > 0) {
    const taken = queue.slice(0, MOST_IN_ONE_WRITE)
    try {
      const { counted, outcomes } = await writeAll(
        of,
        customer,
        latest,
        taken.map(({ change }) => change),
      )
      for (const [n, { done, fail }] of taken.entries()) {
        const outcome = outcomes[n]
        if (outcome) fail(outcome.error)
        else done(counted)
      }
      latest = counted
    } catch (error) {
      for (const { fail } of taken) fail(error)
      latest = undefined
    }
    queue.splice(0, taken.length)
  }
  ended()
}

/**
 * Counts, by one compare-and-set. Those of one customer that come at once share a write, each after the others. Each write has a
 * number that is higher than all before it, also where the counters were removed and made anew: the time, or one more than the
 * last.
 * @param known as the caller last saw them.
 * @returns the counters with this change, and with those that shared its write; undefined when the customer is not there, or is
 * being erased: nothing is counted then. @throws what `change` throws.
 */
export const changeCounters = (
  of: TenantScope,
  customer: CustomerKey,
  known: UsageCounters | undefined,
  change: Change,
): Promise<UsageCounters | undefined> => {
  const source = sourceOf(of.storage.usageCounters)
  const queues = queuesOf.get(source) ?? new Map<string, Waiting[]>()
  queuesOf.set(source, queues)
  const id = of.keys.customer(customer.storefrontId, customer.customerId)
  return new Promise((done, fail) => {
    const running = queues.get(id)
    if (running) {
      running.push({ change, done, fail })
      return
    }
    const queue: Waiting[] = [{ change, done, fail }]
    queues.set(id, queue)
    drain(of, customer, known, queue, () => queues.delete(id)).catch(fail)
  })
}
