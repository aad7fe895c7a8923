/**
 * The sidecar's clock, as far as its messages tell. Answers from memory are decided by it, and not by this machine's own
 * clock: the two would disagree about what has expired.
 */
import { systemClock } from '../common/clock.ts'

/**
 * A message that was read late makes the sidecar's clock look slow, so the fastest that it has looked counts. That is forgotten
 * after two of these, since a clock may be set back.
 */
const REMEMBERED_MS = 10_000
/** A process that was frozen for longer knows nothing about the time, and its timers have not noticed. */
const MAX_FROZEN_MS = 1_000

export interface SidecarClock {
  /** A message says this time. */
  hear(nowMs: number): void
  /** Undefined when it has to be asked: nothing was heard yet, or this process was frozen since. */
  nowMs(): number | undefined
}

export const createSidecarClock = (monotonicMs: () => number = () => performance.now(), systemMs: () => number = systemClock.nowMs): SidecarClock => {
  /** By how much the sidecar's clock is ahead of this process's monotonic one: in the present ten seconds, and in those before. */
  let ahead = Number.NEGATIVE_INFINITY
  let aheadBefore = Number.NEGATIVE_INFINITY
  let since = monotonicMs()
  /** By how much the system's clock was ahead of the monotonic one, which stands still in a frozen process. */
  let systemAhead = 0
  return {
    hear: (nowMs) => {
      const monotonic = monotonicMs()
      if (monotonic - since > REMEMBERED_MS) {
        since = monotonic
        aheadBefore = ahead
        ahead = Number.NEGATIVE_INFINITY
      }
      ahead = Math.max(ahead, nowMs - monotonic)
      systemAhead = systemMs() - monotonic
    },
    nowMs: () => {
      const monotonic = monotonicMs()
      if (ahead === Number.NEGATIVE_INFINITY || systemMs() - monotonic - systemAhead > MAX_FROZEN_MS) return undefined
      return Math.floor(monotonic + Math.max(ahead, aheadBefore))
    },
  }
}
