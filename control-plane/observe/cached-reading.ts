/** A reading of storage for a scrape: made seldom, and never waited for longer than a scrape has time. */
import { setTimeout as sleep } from 'node:timers/promises'

/** A scrape times out after ten seconds where nothing else is configured. */
const WAIT_MS = 2_000

/**
 * @param everyMs how old a reading may be; nobody who does not ask makes one.
 * @returns the last reading; undefined when there is none, or the latest one failed.
 */
export const cachedReading = <T>(read: () => Promise<T>, everyMs: number, nowMs: () => number): (() => Promise<T | undefined>) => {
  let last: { value: T | undefined; atMs: number } | undefined
  let running: Promise<void> | undefined
  const refresh = async (): Promise<void> => {
    // What could not be read is not what it was: it is left out until it can be.
    const value = await read().catch(() => undefined)
    last = { value, atMs: nowMs() }
    running = undefined
  }
  return async () => {
    if (!last || nowMs() - last.atMs >= everyMs) {
      running ??= refresh()
      await Promise.race([running, sleep(WAIT_MS, undefined, { ref: false })])
    }
    return last?.value
  }
}
