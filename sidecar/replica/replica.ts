/**
 * The sidecar's copy of the feed: a bounded cache of entitlement sets, filled by the first question about a customer and
 * kept current by the watch. It never answers with an older set than it has answered before, and never takes "could
 * not ask" for "does not exist".
 */
import type { Clock } from '../../common/clock.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { AppError } from '../../common/errors.ts'
import type { Faults } from '../../common/faults.ts'
import type { Feed, FeedWatch, MissingSet } from '../../common/feed/feed.ts'
import { setKey } from '../../common/feed/keys.ts'
import { tracedPart } from '../../common/tracing.ts'
import type { SetCache } from './cache/set-cache.ts'
import type { SetReader } from './cache/set-reader.ts'
import { type Changes, createChanges } from './changes.ts'
import { type FeedState, feedStateOf } from './feed-state.ts'
import { HeldSets } from './held-sets.ts'
import type { KnownSet } from './known-set.ts'
import { createRevisionWaits, type EndableWaits, type RevisionWaits } from './revision-waits.ts'
import { createSetLoader } from './set-loader.ts'
import { createTenantTime, type TenantTime, type TestClocks } from './tenant-time.ts'
import { createUsageFollower, type UsageFollowerOptions } from './usage-follower.ts'

/** The knowledge about customers. */
export interface Sets {
  /** The held sets, for whoever answers from their bytes; `countHits` says how often. */
  readonly cache: SetReader
  countHits(count: number): void
  /** The held set, by the feed's word or a snapshot's. It counts as no hit. */
  held(customer: CustomerKey): KnownSet | undefined
  /** The set that may be answered from without asking the feed: a hit. Undefined when the feed has to be asked. */
  current(customer: CustomerKey): KnownSet | undefined
  /**
   * Like `current`, but asks the feed if need be: once, however many callers wait.
   * @throws AppError `unavailable`, also when nothing is held and the set is missing.
   */
  load(customer: CustomerKey): Promise<KnownSet>
}

/** The replica that answers are made from, in every thread. */
export interface Replica extends Sets, RevisionWaits, Changes, TenantTime, FeedState {}

/** The replica of the thread that holds the feed. */
export interface WritingReplica extends Replica, Pick<EndableWaits, 'waiting'>, Pick<TestClocks, 'clocks' | 'restoreClock'> {
  readonly cache: SetCache
  /** Questions that were answered from memory, and those that the feed was asked. */
  lookups(): { hits: number; misses: number }
  /** Customers whose newest sets are known to be missing. */
  missing(): number
  /** Times that the feed was lost and found again. */
  reconnects(): number
  close(): Promise<void>
}

/** Follows the feed from now on. */
export const startReplica = async (options: {
  feed: Feed
  clock: Clock
  maxBytes: number
  faults: Faults
  askUsage: UsageFollowerOptions['ask']
  onRecall: UsageFollowerOptions['onRecall']
}): Promise<WritingReplica> => {
  const { feed, clock, maxBytes, faults, askUsage, onRecall } = options
  /** It brings sets before it is there to be asked how it is. */
  let watch: FeedWatch | undefined
  const state = feedStateOf({
    isLive: () => watch?.isLive() ?? false,
    isDoubtful: () => watch?.isDoubtful() ?? true,
    currentAsOfMs: () => watch?.currentAsOfMs() ?? 0,
  })
  const changes = createChanges({ faults })
  const time = createTenantTime({ feed, clock, state })
  const sets = new HeldSets(maxBytes, state)
  let hits = 0

  const current = (customer: CustomerKey): KnownSet | undefined => {
    const known = sets.current(customer)
    if (known) hits += 1
    return known
  }
  const isWanted = (customer: CustomerKey, key: string): boolean => sets.isHeld(customer, key) || changes.isListenedTo(key)
  /** @returns whether it is news. */
  const setBehind = (missing: MissingSet): boolean => {
    const { isNews, aged } = sets.setBehind(missing)
    if (aged) changes.anyChanged(aged)
    return isNews
  }
  const usage = createUsageFollower({
    feed,
    ask: askUsage,
    held: sets,
    reconnects: () => watch?.reconnects() ?? 0,
    clock,
    faults,
    onRecall,
    onChange: (known) => {
      changes.changed(setKey(known.set), known)
      changes.anyChanged(known.set)
    },
  })
  const loader = createSetLoader({ feed, clock, held: sets, onMissing: setBehind, settle: usage.settle })
  const waits = createRevisionWaits({
    clock,
    changes,
    current,
    fetch: loader.fetch,
    missingRevision: (customer) => sets.missingRevision(setKey(customer)),
  })

  const followed = await feed.watch({
    onSet: (set) => {
      const key = setKey(set)
      loader.brought(key, set)
      sets.mend(key, set.revision)
      // Customers that nobody here asks about cost nothing here.
      const { tenantId, storefrontId, revision } = set
      const attributes = { 'tollgate.tenant': tenantId, 'tollgate.storefront': storefrontId, 'tollgate.revision': revision }
      const take = () => tracedPart({ name: 'apply entitlement set', kind: 'consumer', attributes }, () => sets.take(set, { set, readAtMs: clock.nowMs() }))
      const known = isWanted(set, key) ? take() : undefined
      if (known?.set) usage.follow(known.set)
      changes.changed(key, known)
      changes.anyChanged(set)
    },
    onMissing: (missing) => {
      const key = setKey(missing)
      if ((isWanted(missing, key) || loader.isUnderWay(key)) && setBehind(missing)) changes.changed(key)
    },
    onClock: time.onClock,
    // What is not brought is read when somebody asks.
    isWanted: (customer, key) => changes.isAllListenedTo() || loader.isUnderWay(key) || sets.missingRevision(key) > 0 || isWanted(customer, key),
    onReset: () => {
      loader.forgetAll()
      sets.clear()
      time.forgetClocks()
      changes.allChanged()
    },
  })
  watch = followed
  return {
    cache: sets.cache,
    countHits: (count) => {
      hits += count
    },
    held: (customer) => sets.cache.get(customer),
    current,
    load: async (customer) => {
      const known = current(customer)
      if (known) return known
      try {
        return await loader.fetch(customer)
      } catch (error) {
        // Old is better than nothing, and says how old it is.
        const held = sets.cache.get(customer)
        if (held) return held
        throw error
      }
    },
    ...state,
    onChange: changes.onChange,
    onAnyChange: changes.onAnyChange,
    nowMsFor: time.nowMsFor,
    loadNowMs: time.loadNowMs,
    clocks: time.clocks,
    restoreClock: time.restoreClock,
    waitFor: waits.waitFor,
    waiting: waits.waiting,
    lookups: () => ({ hits, misses: loader.count() }),
    missing: () => sets.missingCount,
    reconnects: () => followed.reconnects(),
    close: async () => {
      waits.endAll(new AppError('unavailable', 'the sidecar is shutting down; try another one'))
      usage.stop()
      await followed.stop()
    },
  }
}
