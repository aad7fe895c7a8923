/** When a delivery that has failed is tried again. */
import { DAY_MS, HOUR_MS } from '../../../common/durations.ts'

const SECOND_MS = 1_000
const MINUTE_MS = 60 * SECOND_MS

/** After the first attempts, each in its turn; and then always the last. */
const PAUSES_MS = [5 * SECOND_MS, 30 * SECOND_MS, 2 * MINUTE_MS, 10 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS, 2 * HOUR_MS, 4 * HOUR_MS, 8 * HOUR_MS]

/** How long a delivery is tried. */
export const TRIED_FOR_MS = 3 * DAY_MS

/** A share that is added at random, so that what failed together does not come back together. */
const JITTER = 0.1

/**
 * @param made attempts since it was first tried, or replayed.
 * @param retryAfterMs what the receiver has asked for.
 * @param random from 0 to 1.
 * @returns undefined when it is given up.
 */
export const nextTryAt = (made: number, now: Date, giveUpAt: Date, retryAfterMs: number | undefined, random: number): Date | undefined => {
  const pause = PAUSES_MS[Math.min(made, PAUSES_MS.length) - 1] ?? 0
  const at = new Date(now.getTime() + Math.max(pause * (1 + JITTER * random), retryAfterMs ?? 0))
  if (at <= giveUpAt) return at
  // The last word is asked for once more, when the time is over.
  return now < giveUpAt && giveUpAt.getTime() - now.getTime() > MINUTE_MS ? giveUpAt : undefined
}
