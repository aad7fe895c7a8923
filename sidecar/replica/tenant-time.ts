/** The time that governs a set: the system's, or the test clock of a sandbox tenant. */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../../common/clock.ts'
import type { TestClock } from '../../common/entitlements/model.ts'
import type { Feed } from '../../common/feed/feed.ts'
import type { FeedState } from './feed-state.ts'
import type { KnownSet } from './known-set.ts'

/** Sandbox tenants whose clocks are held at once; each is a few bytes, and one that is let go is asked for again. */
const MAX_CLOCKS = 10_000

export interface TenantTime {
  /** The time that governs the set, in epoch milliseconds. Undefined when the feed has to be asked for it. */
  nowMsFor(known: KnownSet): number | undefined
  /** Like `nowMsFor`, but asks the feed if need be. @throws AppError `unavailable`. */
  loadNowMs(known: KnownSet): Promise<number>
}

export interface TestClocks {
  /** Takes a clock from the feed: one that is older than what is held is left out. */
  onClock(testClock: TestClock): void
  /** The clocks of sandboxes, as far as they are known. */
  clocks(): TestClock[]
  /** Takes a clock from a snapshot: it counts until the feed can be asked. */
  restoreClock(testClock: TestClock): void
  forgetClocks(): void
}

export const createTenantTime = (options: { feed: Pick<Feed, 'getClock'>; clock: Clock; state: Pick<FeedState, 'isLive'> }): TenantTime & TestClocks => {
  const { feed, clock, state } = options
  const clocks = new LRUCache<string, TestClock>({ max: MAX_CLOCKS })
  const restored = new LRUCache<string, TestClock>({ max: MAX_CLOCKS })
  const fetches = new Map<string, Promise<TestClock | undefined>>()

  const fetchClock = (tenantId: string): Promise<TestClock | undefined> => {
    const running = fetches.get(tenantId) ?? feed.getClock(tenantId).finally(() => fetches.delete(tenantId))
    fetches.set(tenantId, running)
    return running
  }
  /** A restored clock goes with a restored set: both say themselves how old they are. */
  const clockOf = (tenantId: string, isRestored: boolean): TestClock | undefined =>
    clocks.get(tenantId) ?? (isRestored && !state.isLive() ? restored.get(tenantId) : undefined)
  const nowMsFor = ({ set, restored: isRestored = false }: KnownSet): number | undefined =>
    set?.sandbox ? clockOf(set.tenantId, isRestored)?.nowMs : clock.nowMs()
  const onClock = (testClock: TestClock) => {
    if ((clocks.get(testClock.tenantId)?.revision ?? 0) < testClock.revision) clocks.set(testClock.tenantId, testClock)
  }

  return {
    nowMsFor,
    loadNowMs: async (known) => {
      const nowMs = nowMsFor(known)
      if (nowMs !== undefined || !known.set) return nowMs ?? clock.nowMs()
      const fetched = await fetchClock(known.set.tenantId)
      if (fetched) onClock(fetched)
      return nowMsFor(known) ?? clock.nowMs()
    },
    onClock,
    clocks: () => [...new Map([...restored.values(), ...clocks.values()].map((one) => [one.tenantId, one])).values()],
    restoreClock: (testClock) => void restored.set(testClock.tenantId, testClock),
    forgetClocks: () => {
      clocks.clear()
      restored.clear()
    },
  }
}
