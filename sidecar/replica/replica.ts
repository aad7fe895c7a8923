/**
 * The sidecar's copy of the feed: a bounded cache of entitlement sets, filled by the first question about a customer and
 * kept current by the watch. It never answers with an older set than it has answered before, and never takes "could
 * not ask" for "does not exist".
 */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../../common/clock.ts'
import type { CustomerKey, EntitlementSet, TestClock } from '../../common/entitlements/model.ts'
import { AppError } from '../../common/errors.ts'
import type { Faults } from '../../common/faults.ts'
import { type Feed, type FeedWatch, type MissingSet, MissingSetError } from '../../common/feed/feed.ts'
import { customerOf, setKey } from '../../common/feed/keys.ts'
import { SetCache } from './cache/set-cache.ts'
import { createFetchQueue } from './fetch-queue.ts'
import type { Known, Replica } from './known.ts'

/** Sandbox tenants whose clocks are held at once; each is a few bytes. */
const MAX_CLOCKS = 10_000
/** Customers that the feed has no set of. Apart from the others, so that asking for many of them displaces nobody. */
const MAX_ABSENT = 20_000
/** Customers whose sets are known to be missing: hardly any, unless something is very wrong. */
const MAX_MISSING = 20_000
/** A feed that could not be asked, by a call that waits for a revision. */
const ASK_AGAIN_MS = 250
/** Calls that wait for a revision at once. */
const MAX_WAITING = 20_000

/** The one that writes. */
export interface WritingReplica extends Replica {
  readonly cache: SetCache
  /** Calls that wait for a revision now. */
  waiting(): number
  /** Customers whose newest sets are known to be missing. */
  missing(): number
  /** Of sandboxes, as far as they are known. */
  clocks(): TestClock[]
  /** From a snapshot: it counts until the feed can be asked. */
  restoreClock(testClock: TestClock): void
}

export const startReplica = async (options: { feed: Feed; clock: Clock; maxBytes: number; faults: Faults }): Promise<WritingReplica> => {
  const { feed, clock, faults } = options
  const cache = new SetCache(options.maxBytes)
  /** When the feed said so, and where it was removed at which revision: what is older has only been late. */
  const absent = new LRUCache<string, { readAtMs: number; removedAt: number }>({ max: MAX_ABSENT })
  /** The revision that is missing; infinite when it is not known. What is older than it is behind. */
  const missing = new LRUCache<string, number>({ max: MAX_MISSING })
  const queue = createFetchQueue()
  const clocks = new LRUCache<string, TestClock>({ max: MAX_CLOCKS })
  const restoredClocks = new LRUCache<string, TestClock>({ max: MAX_CLOCKS })
  /** Raised when everything is forgotten: what was asked for before is of a time that is no more. */
  let generation = 0
  /** A fetch under way, and the newest set that the watch has brought meanwhile: the fetch may answer an older one. */
  const fetches = new Map<string, { done: Promise<Known>; newest: EntitlementSet | undefined }>()
  const listeners = new Map<string, Set<() => void>>()
  const anyListeners = new Set<(set: EntitlementSet) => void>()

  let hits = 0
  let misses = 0
  /** Of each call that waits for a revision: what ends its wait with an error. */
  const waits = new Set<(error: Error) => void>()

  const forget = (customer: CustomerKey, readAtMs: number, removedAt: number): Known => {
    absent.set(setKey(customer), { readAtMs, removedAt })
    cache.delete(customer)
    return { set: null, readAtMs }
  }

  const store = (customer: CustomerKey, { set, readAtMs }: Known): Known => {
    const key = setKey(customer)
    const known = absent.get(key)
    const missingRevision = missing.get(key) ?? 0
    if (!set || (set.removed && missingRevision > set.revision)) {
      // It has come to be since the feed said that there is none.
      if (missingRevision > 0) throw new MissingSetError({ ...customer, revision: missingRevision })
      return forget(customer, readAtMs, known?.removedAt ?? 0)
    }
    if (known && known.removedAt >= set.revision) return { set: null, readAtMs: known.readAtMs }
    if (set.removed) {
      // Made anew by now, under a higher revision.
      const anew = cache.revisionOf(customer) > set.revision ? cache.get(customer) : undefined
      if (anew && !anew.restored) return anew
      missing.delete(key)
      return forget(customer, readAtMs, set.revision)
    }
    absent.delete(key)
    const held = cache.revisionOf(customer) >= set.revision ? cache.get(customer) : undefined
    const behind = missingRevision > set.revision
    if (!behind) missing.delete(key)
    // Of one that is behind, when it was current for the last time is known already.
    if (held?.set && !held.restored && (held.set.revision > set.revision || (behind && held.behind))) return held
    cache.set(set, readAtMs, false, behind)
    return { set, readAtMs, behind }
  }

  /** What one listener cannot take, others still hear of. */
  const call = (act: () => void, { tenantId, customerId }: CustomerKey) => {
    try {
      act()
    } catch (error) {
      faults.tell(error, 'a change of a set could not be told', { tenantId, customerId })
    }
  }

  const notify = (customer: CustomerKey, key: string) => {
    for (const listener of [...(listeners.get(key) ?? [])]) call(listener, customer)
  }
  const notifyAny = (set: EntitlementSet) => {
    for (const listener of anyListeners) call(() => listener(set), set)
  }
  const isWanted = (customer: CustomerKey, key: string): boolean => cache.revisionOf(customer) > 0 || absent.has(key) || listeners.has(key)

  /** Whom the watch need not tell of; what it would have brought is read when somebody asks. */
  const isHeardOf = (customer: CustomerKey, key: string): boolean => anyListeners.size > 0 || fetches.has(key) || missing.has(key) || isWanted(customer, key)

  const onSet = (set: EntitlementSet) => {
    const key = setKey(set)
    const fetch = fetches.get(key)
    if (fetch && (fetch.newest?.revision ?? 0) < set.revision) fetch.newest = set
    // Of which revision is missing is not always known; then whatever comes later mends it.
    const missingRevision = missing.get(key)
    if (missingRevision !== undefined && (missingRevision === Number.POSITIVE_INFINITY || missingRevision <= set.revision)) missing.delete(key)
    // Customers that nobody here asks about cost nothing here.
    if (isWanted(set, key)) store(set, { set, readAtMs: clock.nowMs() })
    notify(set, key)
    notifyAny(set)
  }

  /** @returns whether it is news: what is held is older than what is missing. */
  const setBehind = (of: MissingSet): boolean => {
    const key = setKey(of)
    const revision = of.revision ?? Number.POSITIVE_INFINITY
    const held = cache.revisionOf(of) > 0 ? cache.get(of) : undefined
    if (held && held.set.revision >= revision) return false
    missing.set(key, Math.max(revision, missing.get(key) ?? 0))
    absent.delete(key)
    if (!held || (held.behind && !held.restored)) return true
    cache.markBehind(of, asOfMs(held))
    notifyAny(held.set)
    return true
  }

  const onMissing = (of: MissingSet) => {
    const key = setKey(of)
    if ((isWanted(of, key) || fetches.has(key)) && setBehind(of)) notify(of, key)
  }

  const onClock = (testClock: TestClock) => {
    if ((clocks.get(testClock.tenantId)?.revision ?? 0) < testClock.revision) clocks.set(testClock.tenantId, testClock)
  }

  const watch: FeedWatch = await feed.watch({
    onSet,
    onMissing,
    onClock,
    isWanted: isHeardOf,
    onReset: () => {
      generation += 1
      fetches.clear()
      cache.clear()
      absent.clear()
      missing.clear()
      clocks.clear()
      restoredClocks.clear()
      for (const key of listeners.keys()) {
        const customer = customerOf(key)
        if (customer) notify(customer, key)
      }
    },
  })

  const asOfMs = (known: Known): number => (known.restored || known.behind ? known.readAtMs : Math.max(known.readAtMs, watch.currentAsOfMs()))

  const peek = (customer: CustomerKey): Known | undefined => {
    const known = cache.get(customer)
    // What a snapshot says is confirmed as soon as somebody can.
    if (known?.restored && watch.isLive()) return undefined
    if (known) {
      hits += 1
      return known
    }
    const gone = absent.size === 0 ? undefined : absent.get(setKey(customer))
    // That a customer does not exist is true only for as long as we would hear of its making.
    return gone === undefined || !watch.isLive() ? undefined : { set: null, readAtMs: gone.readAtMs }
  }

  const fetchOnce = (customer: CustomerKey): Promise<Known> => {
    const key = setKey(customer)
    const running = fetches.get(key)
    if (running) return running.done
    const fetch: { done: Promise<Known>; newest: EntitlementSet | undefined } = { done: Promise.resolve({ set: null, readAtMs: 0 }), newest: undefined }
    misses += 1
    fetch.done = (async () => {
      const readAtMs = clock.nowMs()
      const of = generation
      try {
        const fetched = await queue.run(() => feed.getSet(customer))
        if (of !== generation) throw new AppError('unavailable', 'the feed was filled anew while it was asked; try again')
        const { newest } = fetch
        const set = newest && newest.revision > (fetched?.revision ?? 0) ? newest : (fetched ?? null)
        return store(customer, { set, readAtMs })
      } catch (error) {
        if (!(error instanceof MissingSetError) || of !== generation) throw error
        const { newest } = fetch
        if (newest && newest.revision >= (error.missing.revision ?? 0)) return store(customer, { set: newest, readAtMs })
        setBehind(error.missing)
        throw error
      } finally {
        if (fetches.get(key) === fetch) fetches.delete(key)
      }
    })()
    fetches.set(key, fetch)
    return fetch.done
  }

  const load = async (customer: CustomerKey): Promise<Known> => {
    const held = peek(customer)
    if (held) return held
    try {
      return await fetchOnce(customer)
    } catch (error) {
      const held = cache.get(customer)
      if (held) return held
      throw error
    }
  }

  const onChange = (customer: CustomerKey, listener: () => void) => {
    const key = setKey(customer)
    const ofKey = listeners.get(key) ?? new Set()
    listeners.set(key, ofKey.add(listener))
    return () => {
      ofKey.delete(listener)
      if (ofKey.size === 0 && listeners.get(key) === ofKey) listeners.delete(key)
    }
  }

  const waitFor = async (customer: CustomerKey, revision: number, deadlineMs: number, signal?: AbortSignal): Promise<Known> => {
    const reached = (known: Known | undefined): known is Known => (known?.set?.revision ?? 0) >= revision
    const held = peek(customer)
    if (reached(held)) return held
    signal?.throwIfAborted()
    if (waits.size >= MAX_WAITING) throw new AppError('unavailable', 'too many calls wait for a revision at once; try again')
    return new Promise<Known>((resolve, reject) => {
      const tooLate = () =>
        fail(new AppError('revision_not_reached', `the customer's set is not at revision ${revision} yet; it is at ${peek(customer)?.set?.revision ?? 0}`))
      const look = () => {
        const known = peek(customer)
        if (reached(known)) {
          end()
          resolve(known)
        } else if ((missing.get(setKey(customer)) ?? 0) >= revision) fail(new MissingSetError({ ...customer, revision }))
      }
      const fail = (error: Error) => {
        end()
        reject(error)
      }
      const abort = () => fail(signal?.reason)
      let askAgain: NodeJS.Timeout | undefined
      const ask = (): void => {
        fetchOnce(customer).then(look, (error: unknown) => {
          if (error instanceof MissingSetError) look()
          else if (waits.has(fail)) askAgain = setTimeout(ask, ASK_AGAIN_MS)
        })
      }
      const end = () => {
        clearTimeout(timer)
        clearTimeout(askAgain)
        stop()
        signal?.removeEventListener('abort', abort)
        waits.delete(fail)
      }
      waits.add(fail)
      signal?.addEventListener('abort', abort)
      const stop = onChange(customer, look)
      const timer = setTimeout(tooLate, Math.max(0, deadlineMs - clock.nowMs()))
      // The feed may have it already, where the watch has still to bring it. If the feed is away, the watch may yet.
      ask()
    })
  }

  const clockFetches = new Map<string, Promise<TestClock | undefined>>()
  const fetchClock = (tenantId: string): Promise<TestClock | undefined> => {
    const running = clockFetches.get(tenantId) ?? feed.getClock(tenantId).finally(() => clockFetches.delete(tenantId))
    clockFetches.set(tenantId, running)
    return running
  }

  /** A restored clock goes with a restored set: both say themselves how old they are. */
  const clockOf = (tenantId: string, restored: boolean): TestClock | undefined =>
    clocks.get(tenantId) ?? (restored && !watch.isLive() ? restoredClocks.get(tenantId) : undefined)
  const peekNowMs = ({ set, restored = false }: Known): number | undefined => (set?.sandbox ? clockOf(set.tenantId, restored)?.nowMs : clock.nowMs())

  return {
    cache,
    clocks: () => [...new Map([...restoredClocks.values(), ...clocks.values()].map((one) => [one.tenantId, one])).values()],
    restoreClock: (testClock) => void restoredClocks.set(testClock.tenantId, testClock),
    waiting: () => waits.size,
    missing: () => missing.size,
    lookups: () => ({ hits, misses }),
    countHits: (count) => {
      hits += count
    },
    held: (customer) => cache.get(customer),
    peek,
    load,
    waitFor,
    onChange,
    onAnyChange: (listener) => {
      anyListeners.add(listener)
      return () => anyListeners.delete(listener)
    },
    peekNowMs,
    loadNowMs: async (known) => {
      const nowMs = peekNowMs(known)
      if (nowMs !== undefined || !known.set) return nowMs ?? clock.nowMs()
      const fetched = await fetchClock(known.set.tenantId)
      if (fetched) onClock(fetched)
      return peekNowMs(known) ?? clock.nowMs()
    },
    asOfMs,
    currentAsOfMs: () => watch.currentAsOfMs(),
    isLive: () => watch.isLive(),
    isDoubtful: () => watch.isDoubtful(),
    reconnects: () => watch.reconnects(),
    close: async () => {
      for (const fail of waits) fail(new AppError('unavailable', 'the sidecar is shutting down; try again elsewhere'))
      await watch.stop()
    },
  }
}
