/**
 * Decides whether the sidecar is ready, and whether it serves. It is ready once the watch stands or a snapshot was taken, and
 * from then on: without the feed it still answers, and says how old that is. It serves while it is ready, unless what it knows
 * is older than health may call good.
 */
import type { Clock } from '../common/clock.ts'
import type { FeedState } from './replica/feed-state.ts'

/** How often the watch is looked at: health lags behind it by that much at most. */
const LOOK_EVERY_MS = 250

export interface Readiness {
  isReady(): boolean
  /** Resolves when it is ready for the first time. */
  ready: Promise<void>
  /** The time when everything was last known to be current; 0 when nothing is known. */
  asOfMs(): number
  stop(): void
}

export const watchReadiness = (options: {
  feed: Pick<FeedState, 'isLive' | 'currentAsOfMs'>
  snapshot: { restored: number; writtenAtMs: number }
  clock: Clock
  /** The oldest age that is served; undefined: any age. */
  maxAgeMs: number | undefined
  /** Told at the start, and whenever it changes. */
  onServing(isServing: boolean): void
}): Readiness => {
  const { feed, snapshot, clock, maxAgeMs, onServing } = options
  const { promise: ready, resolve } = Promise.withResolvers<void>()
  let isReady = snapshot.restored > 0
  let isServing: boolean | undefined
  const asOfMs = () => feed.currentAsOfMs() || snapshot.writtenAtMs
  const look = () => {
    isReady ||= feed.isLive()
    if (isReady) resolve()
    const isTooOld = maxAgeMs !== undefined && clock.nowMs() - asOfMs() > maxAgeMs
    if ((isReady && !isTooOld) === isServing) return
    isServing = isReady && !isTooOld
    onServing(isServing)
  }
  look()
  const timer = setInterval(look, LOOK_EVERY_MS)
  timer.unref()
  return { isReady: () => isReady, ready, asOfMs, stop: () => clearInterval(timer) }
}
