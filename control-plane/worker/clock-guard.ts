/**
 * Decides whether the system's clock can be believed. One that jumps ahead would bill every customer for months at once, so it
 * is compared with the clock of the storage's server, where there is one, and with the last time that was seen, which is
 * stored. Beyond a bound nothing that is due by time is done, until the clocks agree again or an operator has said that the
 * time is right (`npm run clock:confirm`).
 */
import type { Clock } from '../../common/clock.ts'
import type { Log } from '../../common/log.ts'
import { installationOf } from '../catalog/installation.ts'
import { keys } from '../keys.ts'
import type { Storage } from '../storage/storage.ts'
import { update } from '../storage/update.ts'

/** Clocks of servers that follow NTP are apart by milliseconds; by so much, one of them is wrong. */
const APART_MS = 5 * 60_000
const LOOK_EVERY_MS = 10_000
const TELL_EVERY_MS = 60_000

export interface ClockGuard {
  /** Why the time cannot be believed; undefined while it can. */
  problem(): string | undefined
  stop(): void
}

export interface ClockGuardOptions {
  storage: Storage
  clock: Clock
  log: Log
  /** So long a control plane may be down, and so far a clock may jump, before somebody has to say that the time is right. */
  maxJumpMs: number
  /** Milliseconds that no setting of the clock moves; the process's own without. */
  monotonicMs?: () => number
}

/** Writes down that the time is right: what was due since the last that was seen may be done. */
export const confirmClock = async ({ storage, clock }: Pick<ClockGuardOptions, 'storage' | 'clock'>): Promise<Date> => {
  await installationOf({ storage, clock })
  const seenAt = clock.now()
  await update(storage.installations, keys.installation, (installation) => ({ ...installation, seenAt }))
  return seenAt
}

const hours = (ms: number): string => `${Math.round(ms / 360_000) / 10} hours`

/** Resolves when it has looked for the first time. */
export const startClockGuard = async ({ storage, clock, log, maxJumpMs, monotonicMs = () => performance.now() }: ClockGuardOptions): Promise<ClockGuard> => {
  let problem: string | undefined = 'the clock has not been compared yet'
  let toldMs = Number.NEGATIVE_INFINITY

  /** The two times as they were last seen, the second by this process's own count, which no setting of the clock moves. */
  let [seenMs, countedMs] = [clock.nowMs(), monotonicMs()]
  /** It has jumped since it was looked at: until the next look, which is soon, it is not believed. */
  const hasJumped = (): boolean => Math.abs(clock.nowMs() - seenMs - (monotonicMs() - countedMs)) > APART_MS

  const compare = async (): Promise<string | undefined> => {
    const beforeMs = clock.nowMs()
    const theirs = await storage.serverTime()
    const nowMs = clock.nowMs()
    if (theirs) {
      // It was read at some moment in between.
      const apartMs = theirs.getTime() < beforeMs ? beforeMs - theirs.getTime() : Math.max(0, theirs.getTime() - nowMs)
      if (apartMs > APART_MS) return `this machine's clock and the storage server's are ${hours(apartMs)} apart`
    }
    const installation = await installationOf({ storage, clock })
    const aheadMs = installation.seenAt ? nowMs - installation.seenAt.getTime() : 0
    // Two clocks that agree are believed: then it is the control planes that were down.
    if (!theirs && aheadMs > maxJumpMs)
      return `it is ${hours(aheadMs)} later than when a control plane last ran; if that is right, run "npm run clock:confirm" (CLOCK_MAX_JUMP_HOURS is the bound)`
    await update(storage.installations, keys.installation, (now) => ({ ...now, seenAt: clock.now() }), installation)
    return undefined
  }
  const look = async () => {
    const before = problem
    try {
      problem = await compare()
      ;[seenMs, countedMs] = [clock.nowMs(), monotonicMs()]
    } catch (error) {
      // Storage is away: nothing is billed without it anyway, and what was known of the clock still is.
      log.debug({ err: error }, 'the clock could not be compared')
      return
    }
    if (problem && clock.nowMs() - toldMs > TELL_EVERY_MS) {
      toldMs = clock.nowMs()
      log.error({ problem }, 'the time cannot be trusted: until it can, nothing is billed, renewed or expired')
    }
    if (!problem && before && toldMs > 0) log.info('the time can be trusted again')
  }
  await look()
  const timer = setInterval(() => void look(), LOOK_EVERY_MS)
  timer.unref()
  return { problem: () => problem ?? (hasJumped() ? 'the clock has just jumped' : undefined), stop: () => clearInterval(timer) }
}
