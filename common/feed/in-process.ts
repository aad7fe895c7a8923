/**
 * The feed of the embedded default, where control plane and sidecar share a process: changes are function calls.
 * With `lookup` it keeps no sets of its own and reads them where they are stored anyway; without, it keeps them
 * in memory.
 */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock.ts'
import type { CustomerKey, CustomerUsage, EntitlementSet, TestClock } from '../entitlements/model.ts'
import { AppError } from '../errors.ts'
import { createFaults } from '../faults.ts'
import { createLog, type Log } from '../log.ts'
import { type Feed, type FeedListener, MissingSetError } from './feed.ts'
import { clockKey, setKey } from './keys.ts'
import { encodeClockMessage, encodeMessage } from './message.ts'

/** Customers whose sets cannot be published: there are hardly any, and of one that is forgotten it is only said again. */
const MAX_MISSING = 10_000

export interface FeedLookup {
  getSet(customer: CustomerKey): Promise<EntitlementSet | undefined>
  getClock(tenantId: string): Promise<TestClock | undefined>
}

/** @param options.log of what goes wrong with one customer's set; errors go to standard error without one. */
export const createInProcessFeed = (options: { clock: Clock; log?: Log; lookup?: FeedLookup }): Feed => {
  const faults = createFaults(options.log ?? createLog('error'), options.clock)
  const listeners = new Set<FeedListener>()
  const sets = new Map<string, EntitlementSet>()
  /** The revisions of those that cannot be published. */
  const missing = new LRUCache<string, number>({ max: MAX_MISSING })
  const clocks = new Map<string, TestClock>()
  const followings = new Set<{ keys: Set<string>; onUsage(usage: CustomerUsage): boolean }>()
  const answerers: { handler: Parameters<Feed['answer']>[0]; onTold: Parameters<Feed['answer']>[1] }[] = []
  let closed = false

  const ensureOpen = () => {
    if (closed) throw new AppError('unavailable', 'the feed is closed')
  }

  const deliver = (to: (listener: FeedListener) => void, about: CustomerKey | { tenantId: string }) => {
    for (const listener of listeners) {
      try {
        to(listener)
      } catch (error) {
        const { tenantId } = about
        faults.tell(error, 'feed: a change could not be applied', { tenantId, ...('customerId' in about ? { customerId: about.customerId } : {}) })
      }
    }
  }

  /** Stored sets may be older than the rules for sets, so a set that could not be put today cannot be read either. */
  const lookUp = async (lookup: FeedLookup, customer: CustomerKey): Promise<EntitlementSet | undefined> => {
    const set = await lookup.getSet(customer)
    try {
      if (set) encodeMessage(set)
      return set
    } catch (error) {
      const { tenantId, storefrontId, customerId } = customer
      faults.tell(error, 'feed: a stored set cannot be used', { tenantId, customerId })
      throw new MissingSetError({ tenantId, storefrontId, customerId, revision: set?.revision }, { cause: error })
    }
  }

  return {
    putSet: async (set) => {
      ensureOpen()
      // It would travel as it is; but what cannot be put into another feed is not put into this one.
      encodeMessage(set)
      const key = setKey(set)
      if (!options.lookup) {
        if ((sets.get(key)?.revision ?? 0) >= set.revision || (missing.get(key) ?? 0) > set.revision) return
        sets.set(key, set)
      }
      if ((missing.get(key) ?? 0) <= set.revision) missing.delete(key)
      deliver((listener) => listener.onSet(set), set)
    },
    mayReorder: () => false,
    putMissing: async ({ tenantId, storefrontId, customerId }, revision) => {
      ensureOpen()
      const customer = { tenantId, storefrontId, customerId }
      const key = setKey(customer)
      if (Math.max(missing.get(key) ?? 0, sets.get(key)?.revision ?? 0) >= revision) return false
      missing.set(key, revision)
      sets.delete(key)
      deliver((listener) => listener.onMissing({ ...customer, revision }), customer)
      return true
    },
    getSet: async (customer) => {
      ensureOpen()
      if (options.lookup) {
        const set = await lookUp(options.lookup, customer)
        return set?.removed ? undefined : set
      }
      const key = setKey(customer)
      const revision = missing.get(key)
      if (revision !== undefined) {
        const { tenantId, storefrontId, customerId } = customer
        throw new MissingSetError({ tenantId, storefrontId, customerId, revision })
      }
      const set = sets.get(key)
      return set?.removed ? undefined : set
    },
    forgetSet: async (customer) => {
      ensureOpen()
      if (sets.get(setKey(customer))?.removed) sets.delete(setKey(customer))
    },
    putClock: async (clock) => {
      ensureOpen()
      encodeClockMessage(clock)
      if (!options.lookup) {
        const key = clockKey(clock.tenantId)
        if ((clocks.get(key)?.revision ?? 0) >= clock.revision) return
        clocks.set(key, clock)
      }
      deliver((listener) => listener.onClock(clock), clock)
    },
    getClock: async (tenantId) => {
      ensureOpen()
      return options.lookup ? options.lookup.getClock(tenantId) : clocks.get(clockKey(tenantId))
    },
    watch: async (listener) => {
      ensureOpen()
      // A watch of its own for each call, though one listener object may watch twice.
      const own = { ...listener }
      listeners.add(own)
      let stoppedAtMs: number | undefined
      return {
        isLive: () => stoppedAtMs === undefined && !closed,
        isDoubtful: () => false,
        currentAsOfMs: () => stoppedAtMs ?? options.clock.nowMs(),
        reconnects: () => 0,
        stop: async () => {
          listeners.delete(own)
          stoppedAtMs ??= options.clock.nowMs()
        },
      }
    },
    ask: async (tenantId, question) => {
      ensureOpen()
      const [first] = answerers
      if (!first) throw new AppError('unavailable', 'no control plane is running to answer')
      return first.handler(question, tenantId)
    },
    answer: async (handler, onTold) => {
      ensureOpen()
      const answerer = { handler, onTold }
      answerers.push(answerer)
      return () => {
        const at = answerers.indexOf(answerer)
        if (at >= 0) answerers.splice(at, 1)
      }
    },
    tell: async (tenantId, message) => {
      ensureOpen()
      for (const { onTold } of answerers) {
        try {
          onTold?.(message, tenantId)
        } catch (error) {
          faults.tell(error, 'feed: what a sidecar told could not be heard')
        }
      }
    },
    sayUsage: async (usage) => {
      ensureOpen()
      const key = setKey(usage)
      for (const { keys, onUsage } of followings) {
        if (!keys.has(key)) continue
        try {
          if (!onUsage(usage)) keys.delete(key)
        } catch (error) {
          faults.tell(error, 'feed: usage could not be applied', { tenantId: usage.tenantId, customerId: usage.customerId })
        }
      }
    },
    followUsage: (onUsage) => {
      const following = { keys: new Set<string>(), onUsage }
      followings.add(following)
      return {
        follow: (customer) => void following.keys.add(setKey(customer)),
        stop: () => void followings.delete(following),
      }
    },
    ping: async () => ensureOpen(),
    // It reads from storage, or is as old as the process: it cannot be lost.
    keeper: undefined,
    close: async () => {
      closed = true
      listeners.clear()
    },
  }
}
