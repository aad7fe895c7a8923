/**
 * Logs faults that must not stop the process. One customer's data may make every call about that customer fail, so only the
 * first faults of each minute are logged, and then how many were not.
 */
import type { Clock } from './clock.ts'
import type { Log } from './log.ts'

/** Enough to see whether they are one fault or several. */
const TOLD_A_MINUTE = 20
const MINUTE_MS = 60_000

export interface Faults {
  /** @param what is said of it; `about` says whom it concerns. */
  tell(error: unknown, what: string, about?: Readonly<Record<string, unknown>>): void
}

export interface CountedFaults extends Faults {
  /** All there were, told or not. */
  count(): number
}

export const createFaults = (log: Pick<Log, 'error'>, clock: Pick<Clock, 'nowMs'>): CountedFaults => {
  let [minute, told, untold, count] = [Number.NaN, 0, 0, 0]
  return {
    count: () => count,
    tell: (error, what, about = {}) => {
      count += 1
      const now = Math.floor(clock.nowMs() / MINUTE_MS)
      if (now !== minute) {
        if (untold > 0) log.error({ faults: untold }, 'this many more faults were not logged')
        minute = now
        told = 0
        untold = 0
      }
      if (told === TOLD_A_MINUTE) {
        untold += 1
        return
      }
      told += 1
      log.error({ err: error, ...about }, what)
    },
  }
}
