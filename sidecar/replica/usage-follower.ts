/**
 * What customers have used, beside their sets: told as it is counted, and asked for where it may have been missed. A set that is
 * fetched says what had been used when it was published; that is asked once more before it is first answered from. When no
 * control plane answers, the set's word stands, and is asked about again later.
 */
import type { Clock } from '../../common/clock.ts'
import type { CustomerKey, CustomerUsage, EntitlementSet } from '../../common/entitlements/model.ts'
import { isAppError } from '../../common/errors.ts'
import type { Faults } from '../../common/faults.ts'
import type { Feed } from '../../common/feed/feed.ts'
import { setKey } from '../../common/feed/keys.ts'
import type { HeldSets } from './held-sets.ts'
import type { KnownSet } from './known-set.ts'

export interface UsageFollowerOptions {
  feed: Pick<Feed, 'followUsage'>
  /** @throws AppError `unavailable`. */
  ask(customer: CustomerKey, timeoutMs: number): Promise<CustomerUsage>
  held: HeldSets
  /** How often the feed was lost and found again: what was told meanwhile is never told again. */
  reconnects(): number
  clock: Clock
  faults: Faults
  /** Somebody waits for units of these quotas. */
  onRecall(customer: CustomerKey, keys: readonly string[]): void
  /** What is held of a customer has changed. */
  onChange(known: KnownSet & { set: EntitlementSet }): void
}

export interface UsageFollower {
  /** The customer's set is held from now on: its usage is followed. */
  follow(set: EntitlementSet): void
  /** Asks for usage before the set is answered from. @returns what is known then. */
  settle(customer: CustomerKey, known: KnownSet): Promise<KnownSet>
  stop(): void
}

/** Nobody waits any longer for what has been used. */
const ANSWERS_WITHIN_MS = 300
/** When nobody has answered, nobody is asked for so long while callers wait. */
const REST_MS = 1_000
const AGAIN_EVERY_MS = 1_000
const AT_ONCE = 64
/** Customers that are to be asked about again. Of others their next count tells. */
const MAX_DOUBTED = 100_000
/** Sets that are looked at in one turn. */
const SCANNED_AT_ONCE = 1_000

const isMetered = ({ grants }: EntitlementSet): boolean => grants.some(({ terms: { kind } }) => kind === 'quota' || kind === 'capacity')

export const createUsageFollower = ({ feed, ask, held, reconnects, clock, faults, onRecall, onChange }: UsageFollowerOptions): UsageFollower => {
  const doubted = new Map<string, CustomerKey>()
  let restsUntilMs = 0
  let scanAt: number | undefined
  let isAsking = false
  let seenReconnects = 0

  const take = (usage: CustomerUsage): boolean => {
    const { known, isNews } = held.takeUsage(usage)
    if (known && isNews) onChange(known)
    if (usage.recalled) onRecall(usage, usage.recalled)
    return known !== undefined
  }
  const following = feed.followUsage(take)
  const follow = (set: EntitlementSet): void => {
    if (isMetered(set) && !set.removed) following.follow(set)
  }
  const doubt = ({ tenantId, storefrontId, customerId }: CustomerKey): void => {
    if (doubted.size < MAX_DOUBTED) doubted.set(setKey({ tenantId, storefrontId, customerId }), { tenantId, storefrontId, customerId })
  }

  /** @returns whether somebody has answered. */
  const askOne = async (customer: CustomerKey, timeoutMs: number): Promise<boolean> => {
    try {
      take(await ask(customer, timeoutMs))
      return true
    } catch (error) {
      restsUntilMs = clock.nowMs() + REST_MS
      if (!isAppError(error, 'unavailable')) faults.tell(error, 'what a customer has used could not be asked')
      return false
    }
  }

  const scan = (): void => {
    if (scanAt === undefined) return
    const { found, next } = held.cache.scan(scanAt, SCANNED_AT_ONCE)
    scanAt = next
    for (const { set } of found) {
      if (!isMetered(set)) continue
      follow(set)
      doubt(set)
    }
  }
  const askAgain = async (): Promise<void> => {
    if (isAsking) return
    isAsking = true
    try {
      if (reconnects() !== seenReconnects) {
        // Of everybody that is held something may have been missed.
        seenReconnects = reconnects()
        scanAt = held.cache.begin()
      }
      scan()
      while (doubted.size > 0) {
        const some = [...doubted].slice(0, AT_ONCE)
        const answered = await Promise.all(some.map(async ([key, customer]) => ((await askOne(customer, AGAIN_EVERY_MS)) ? key : undefined)))
        for (const key of answered) if (key !== undefined) doubted.delete(key)
        if (answered.includes(undefined)) break
      }
    } finally {
      isAsking = false
    }
  }
  const timer = setInterval(() => {
    askAgain().catch((error: unknown) => faults.tell(error, 'what customers have used could not be asked'))
  }, AGAIN_EVERY_MS).unref()

  return {
    follow,
    settle: async (customer, known) => {
      const { set } = known
      if (!set || !isMetered(set)) return known
      // First, so that nothing falls in between.
      follow(set)
      const isAnswered = clock.nowMs() >= restsUntilMs && (await askOne(customer, ANSWERS_WITHIN_MS))
      if (!isAnswered) doubt(customer)
      const latest = held.cache.get(customer)
      return latest && latest.set.revision >= set.revision ? latest : known
    },
    stop: () => {
      clearInterval(timer)
      following.stop()
    },
  }
}
