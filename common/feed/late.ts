/**
 * A feed that is not there yet: whoever starts without it gets `unavailable` until it is, and what it watches begins
 * then. A sidecar that has a snapshot starts so.
 */

import type { CustomerKey } from '../entitlements/model.ts'
import { AppError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Feed, FeedListener, FeedWatch, UsageFollowing } from './feed.ts'
import { setKey } from './keys.ts'

const AGAIN_AFTER_MS = 500
/** One in this many tries is logged. */
const TELL_EVERY = 60

export interface LateFeed extends Feed {
  /** Resolves when it is there. */
  opened: Promise<void>
}

/** @param open is tried until it succeeds. */
export const createLateFeed = (options: { open: () => Promise<Feed>; log: Log }): LateFeed => {
  const { open, log } = options
  let feed: Feed | undefined
  let closed = false
  /** Watches that are to stand before anything is read: what is read and then changes would not be heard of. */
  const starting = new Set<Promise<void>>()

  const untilOpened = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    let tries = 0
    while (!closed) {
      try {
        return await work()
      } catch (error) {
        if (tries++ % TELL_EVERY === 0) log.warn({ err: error }, `feed: not available yet, trying again: ${error instanceof Error ? error.message : error}`)
        await new Promise((resolve) => setTimeout(resolve, AGAIN_AFTER_MS))
      }
    }
    return undefined
  }
  const opened = untilOpened(open).then(async (made) => {
    if (closed) await made?.close()
    else feed = made
  })

  const there = (): Feed => {
    if (!feed || starting.size > 0) throw new AppError('unavailable', 'the feed has not been reached yet')
    return feed
  }

  return {
    opened,
    putSet: async (set) => there().putSet(set),
    mayReorder: () => feed?.mayReorder() ?? false,
    putMissing: async (customer, revision) => there().putMissing(customer, revision),
    getSet: async (customer) => there().getSet(customer),
    forgetSet: async (customer) => there().forgetSet(customer),
    putClock: async (testClock) => there().putClock(testClock),
    getClock: async (tenantId) => there().getClock(tenantId),
    ask: async (tenantId, question, timeoutMs) => there().ask(tenantId, question, timeoutMs),
    answer: async (handler, onTold) => there().answer(handler, onTold),
    tell: async (tenantId, message) => there().tell(tenantId, message),
    sayUsage: async (usage) => there().sayUsage(usage),
    followUsage: (onUsage) => {
      let inner: UsageFollowing | undefined
      let stopped = false
      const waiting = new Map<string, CustomerKey>()
      opened
        .then(() => {
          if (stopped || closed || !feed) return
          inner = feed.followUsage(onUsage)
          for (const customer of waiting.values()) inner.follow(customer)
          waiting.clear()
        })
        .catch((error: unknown) => log.error({ err: error }, 'feed: usage cannot be followed'))
      return {
        follow: (customer) => {
          if (inner) inner.follow(customer)
          else waiting.set(setKey(customer), customer)
        },
        stop: () => {
          stopped = true
          inner?.stop()
        },
      }
    },
    ping: async () => there().ping(),
    keeper: undefined,
    watch: async (listener: FeedListener) => {
      let inner: FeedWatch | undefined
      let stopped = false
      const start = opened.then(async () => {
        const watch = await untilOpened(async () => (feed as Feed).watch(listener))
        if (stopped || closed) await watch?.stop()
        else inner = watch
        starting.delete(start)
      })
      starting.add(start)
      return {
        isLive: () => inner?.isLive() ?? false,
        isDoubtful: () => inner?.isDoubtful() ?? false,
        // Nothing is known to be current: what a snapshot says has its own age.
        currentAsOfMs: () => inner?.currentAsOfMs() ?? 0,
        reconnects: () => inner?.reconnects() ?? 0,
        stop: async () => {
          stopped = true
          await inner?.stop()
        },
      }
    },
    close: async () => {
      closed = true
      await feed?.close()
    },
  }
}
