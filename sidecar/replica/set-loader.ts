/** Asks the feed for sets: each once, however many wait for it, and a newer one that the watch brings meanwhile counts. */
import type { Clock } from '../../common/clock.ts'
import type { CustomerKey, EntitlementSet } from '../../common/entitlements/model.ts'
import { AppError } from '../../common/errors.ts'
import { type Feed, type MissingSet, MissingSetError } from '../../common/feed/feed.ts'
import { setKey } from '../../common/feed/keys.ts'
import { createFetchQueue } from './fetch-queue.ts'
import type { HeldSets } from './held-sets.ts'
import type { KnownSet } from './known-set.ts'

export interface SetLoader {
  /** @throws AppError `unavailable`, and MissingSetError. */
  fetch(customer: CustomerKey): Promise<KnownSet>
  /** The watch has brought this: a fetch under way may answer an older one. */
  brought(key: string, set: EntitlementSet): void
  isUnderWay(key: string): boolean
  /** Everything is forgotten: what was asked for before is of a time that is no more. */
  forgetAll(): void
  /** How often the feed was asked. */
  count(): number
}

interface Fetch {
  done: Promise<KnownSet>
  /** The newest set that the watch has brought meanwhile. */
  newest: EntitlementSet | undefined
}

const refilled = () => new AppError('unavailable', 'the feed was refilled during the call; try again')

export const createSetLoader = (options: {
  feed: Pick<Feed, 'getSet'>
  clock: Clock
  held: HeldSets
  /** The feed has said that the customer's newest set cannot be read. */
  onMissing(missing: MissingSet): void
  /** Learns what else has to be known before a fetched set is answered from. */
  settle(customer: CustomerKey, known: KnownSet): Promise<KnownSet>
}): SetLoader => {
  const { feed, clock, held, onMissing, settle } = options
  const queue = createFetchQueue()
  const fetches = new Map<string, Fetch>()
  let generation = 0
  let count = 0

  const run = async (customer: CustomerKey, fetch: Fetch): Promise<KnownSet> => {
    const readAtMs = clock.nowMs()
    const begunIn = generation
    try {
      const fetched = await queue.run(() => feed.getSet(customer))
      if (begunIn !== generation) throw refilled()
      const { newest } = fetch
      const set = newest && newest.revision > (fetched?.revision ?? 0) ? newest : (fetched ?? null)
      const known = await settle(customer, held.take(customer, { set, readAtMs }))
      if (begunIn !== generation) throw refilled()
      return known
    } catch (error) {
      if (!(error instanceof MissingSetError) || begunIn !== generation) throw error
      const { newest } = fetch
      if (newest && newest.revision >= (error.missing.revision ?? 0)) return held.take(customer, { set: newest, readAtMs })
      onMissing(error.missing)
      throw error
    } finally {
      const key = setKey(customer)
      if (fetches.get(key) === fetch) fetches.delete(key)
    }
  }

  return {
    fetch: (customer) => {
      const key = setKey(customer)
      const running = fetches.get(key)
      if (running) return running.done
      const fetch: Fetch = { done: Promise.resolve({ set: null, readAtMs: 0 }), newest: undefined }
      count += 1
      fetch.done = run(customer, fetch)
      fetches.set(key, fetch)
      return fetch.done
    },
    brought: (key, set) => {
      const fetch = fetches.get(key)
      if (fetch && (fetch.newest?.revision ?? 0) < set.revision) fetch.newest = set
    },
    isUnderWay: (key) => fetches.has(key),
    forgetAll: () => {
      generation += 1
      fetches.clear()
    },
    count: () => count,
  }
}
