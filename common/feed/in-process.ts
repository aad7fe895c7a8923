/**
 * The feed of the embedded default, where control plane and sidecar share a process: changes are function calls.
 * With `lookup` it keeps no sets of its own and reads them where they are stored anyway; without, it keeps them
 * in memory.
 */
import type { Clock } from '../clock.ts'
import type { CustomerKey, EntitlementSet, TestClock } from '../entitlements/model.ts'
import { AppError } from '../errors.ts'
import type { Feed, FeedListener } from './feed.ts'
import { clockKey, setKey } from './keys.ts'

export interface FeedLookup {
  getSet(customer: CustomerKey): Promise<EntitlementSet | undefined>
  getClock(tenantId: string): Promise<TestClock | undefined>
}

export const createInProcessFeed = (options: { clock: Clock; lookup?: FeedLookup }): Feed => {
  const listeners = new Set<FeedListener>()
  const sets = new Map<string, EntitlementSet>()
  const clocks = new Map<string, TestClock>()
  const answerers: ((question: string) => Promise<string>)[] = []
  let closed = false

  const ensureOpen = () => {
    if (closed) throw new AppError('unavailable', 'the feed is closed')
  }

  return {
    putSet: async (set) => {
      ensureOpen()
      if (!options.lookup) {
        const key = setKey(set)
        if ((sets.get(key)?.revision ?? 0) >= set.revision) return
        sets.set(key, set)
      }
      for (const listener of listeners) listener.onSet(set)
    },
    getSet: async (customer) => {
      ensureOpen()
      const set = options.lookup ? await options.lookup.getSet(customer) : sets.get(setKey(customer))
      return set?.removed ? undefined : set
    },
    forgetSet: async (customer) => {
      ensureOpen()
      if (sets.get(setKey(customer))?.removed) sets.delete(setKey(customer))
    },
    putClock: async (clock) => {
      ensureOpen()
      if (!options.lookup) {
        const key = clockKey(clock.tenantId)
        if ((clocks.get(key)?.revision ?? 0) >= clock.revision) return
        clocks.set(key, clock)
      }
      for (const listener of listeners) listener.onClock(clock)
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
        currentAsOfMs: () => stoppedAtMs ?? options.clock.nowMs(),
        reconnects: () => 0,
        stop: async () => {
          listeners.delete(own)
          stoppedAtMs ??= options.clock.nowMs()
        },
      }
    },
    ask: async (question) => {
      ensureOpen()
      const [handler] = answerers
      if (!handler) throw new AppError('unavailable', 'no control plane is there to answer')
      return handler(question)
    },
    answer: async (handler) => {
      ensureOpen()
      answerers.push(handler)
      return () => {
        const at = answerers.indexOf(handler)
        if (at >= 0) answerers.splice(at, 1)
      }
    },
    ping: async () => ensureOpen(),
    close: async () => {
      closed = true
      listeners.clear()
    },
  }
}
