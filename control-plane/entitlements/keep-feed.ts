/**
 * Keeps a feed that can be lost: beats, so that sidecars know how current they are, and fills it from storage where it
 * is new, was lost, or was filled from a storage that has since gone back to a backup. Any number of control planes do
 * so side by side; one of them fills.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { defined } from '../../common/defined.ts'
import { isAppError } from '../../common/errors.ts'
import type { FeedKeeper, StorageMark } from '../../common/feed/feed.ts'
import { installationOf, markOf } from '../catalog/installation.ts'
import { keys } from '../keys.ts'
import type { Services } from '../ports.ts'
import type { Installation } from '../schemas/installation.ts'
import { update } from '../storage/update.ts'
import { type RepublishResult, republish } from './republish.ts'

const BEAT_EVERY_MS = 1_000
/** Every so many beats the storage's count grows: a backup that is older by that is known as one. */
const COUNT_EVERY = 5
const WARN_EVERY_MS = 60_000
const TELL_EVERY_MS = 5_000
const RENEW_EVERY_MS = 3_000
const STOP_WITHIN_MS = 1_000
/** Longer than a claim lasts, so that a newer control plane can take the filling over. */
const STAND_DOWN_MS = 30_000

export interface FeedKeeping {
  /** The state of the feed: 1 when readers may believe it, 0 while it is being filled, or cannot be reached. */
  isComplete(): boolean
  /** Sets that were put since this process began the last filling. */
  filled(): number
  fillings(): number
  /** The time of the last beat that this process has written, in epoch milliseconds; undefined before the first, and for a feed that needs none. */
  lastBeatMs(): number | undefined
  stop(): Promise<void>
}

type Parts = Pick<Services, 'storage' | 'feed' | 'clock' | 'log'>

/**
 * Fills the feed from storage, as the one process that does.
 * @param how.anew what is in the feed is wrong, and is taken out first.
 * @param how.mark where storage stands: from now on the feed is kept from it. @returns undefined while another process is at it.
 */
export const fillFeed = async (
  { storage, feed, clock, log }: Parts,
  keeper: FeedKeeper,
  how: { anew: boolean; mark: StorageMark; onProgress?: (sets: number) => void },
): Promise<RepublishResult | undefined> => {
  const filling = await keeper.claim({ anew: how.anew })
  if (!filling) return undefined
  await keeper.beat(how.mark)
  let [sets, toldMs, lost] = [0, clock.nowMs(), false]
  /** Renewals run one after another; a claim that was lost to another process ends the work. */
  let renewing: Promise<unknown> = Promise.resolve()
  const timer = setInterval(() => {
    renewing = renewing.then(filling.renew).catch(() => {
      lost = true
    })
    if (clock.nowMs() - toldMs < TELL_EVERY_MS) return
    toldMs = clock.nowMs()
    log.info({ sets }, 'feed: filling')
  }, RENEW_EVERY_MS)
  timer.unref()
  try {
    const done = await republish(storage, feed, log, async (count) => {
      sets = count
      how.onProgress?.(count)
      if (lost) throw new Error('another process has taken over the filling of the feed')
    })
    clearInterval(timer)
    await renewing
    // First storage knows of it: a complete feed of another filling is one that was put back.
    await update(storage.installations, keys.installation, (now) => ({ ...now, feedEpoch: filling.epoch, feedSequence: 0 }))
    await keeper.beat(how.mark)
    await filling.complete()
    log.info(done, 'feed: filled; sidecars are current again')
    return done
  } finally {
    clearInterval(timer)
  }
}

/** Writes beats from now on, and fills the feed whenever it is found to be incomplete. A feed without a keeper (in-process) needs neither. */
export const startKeepingFeed = (services: Parts): FeedKeeping => {
  const { storage, feed, clock, log } = services
  const keeper = feed.keeper
  if (!keeper) return { isComplete: () => true, filled: () => 0, fillings: () => 0, lastBeatMs: () => undefined, stop: async () => undefined }
  let [beats, filled, fillings, warnedMs] = [0, 0, 0, 0]
  let last: { epoch: string | undefined; sequence: number } = { epoch: undefined, sequence: 0 }
  /** The epoch of a filling that has lost something, until there is another filling. */
  let lostEpoch: string | undefined
  let previous: Installation | undefined
  let lastBeatMs: number | undefined
  let others = 0
  let isComplete = false
  let isFilling = false
  /** Documents that a newer version has stored cannot be published by this one: it leaves that to newer control planes for a while. */
  let standsDownUntilMs = 0
  let stopping = false
  let known = false

  const warn = (facts: object, message: string) => {
    if (clock.nowMs() - warnedMs < WARN_EVERY_MS) return
    warnedMs = clock.nowMs()
    log.error(facts, message)
  }

  /** A document that was there and is gone is not made again: somebody restores a backup just now. */
  const read = async (): Promise<Installation | undefined> => {
    const found = known ? await storage.installations.find(keys.installation) : await installationOf(services)
    known = true
    return found
  }

  /** Storage's count of itself goes on, so that a backup is recognized as one. */
  const count = async (epoch: string | undefined, sequence: number): Promise<void> => {
    beats += 1
    if (beats % COUNT_EVERY !== 1) return
    await update(storage.installations, keys.installation, (now) =>
      defined({
        ...now,
        count: (now.count ?? 0) + 1,
        feedEpoch: epoch,
        feedSequence: Math.max(sequence, now.feedEpoch === epoch ? (now.feedSequence ?? 0) : 0),
      }),
    )
  }

  const fill = (anew: boolean, mark: StorageMark) => {
    if (isFilling || clock.nowMs() < standsDownUntilMs) return
    isFilling = true
    const onProgress = (sets: number) => {
      filled = sets
    }
    fillFeed(services, keeper, { anew, mark, onProgress })
      .then((done) => {
        if (done) fillings += 1
      })
      .catch((error: unknown) => {
        if (isAppError(error, 'newer_version')) standsDownUntilMs = clock.nowMs() + STAND_DOWN_MS
        warn({ err: error }, 'feed: it could not be filled; trying again')
      })
      .finally(() => {
        isFilling = false
      })
  }

  const keep = async () => {
    // What had been seen of the feed before it is looked at now, by any control plane.
    const earlier = previous ?? (await read())
    // Of the feed first: what storage says afterwards can only be later, unless it has gone back.
    const seen = await keeper.look()
    const installation = await read()
    previous = installation
    isComplete = seen.isComplete
    if (!installation) {
      warn({}, 'storage has lost the record of this installation; if you are restoring a backup, stop the control planes first')
      return
    }
    const mark = markOf(installation)
    if (seen.storage && seen.storage.id !== mark.id) {
      const said = 'NATS_BUCKET: the bucket belongs to another installation, with another storage: give each installation its own bucket name, or run'
      warn({ theirs: seen.storage.id, ours: mark.id }, `${said} npm run restore:finish if this storage is to take its place`)
      return
    }
    if (seen.storage && seen.storage.count > mark.count) {
      // One that was deposed, and does not know it, may answer with what was: a write says whether it still leads.
      await storage.installations.replace(installation)
      log.warn({ feed: seen.storage.count, storage: mark.count }, 'storage has gone back because a backup was restored; refilling the feed from it')
      fill(true, mark)
      return
    }
    // Of the same filling, the last beat that was seen, here or by any control plane, has to be there still; and a complete
    // one is that which storage knows of, else it was put back.
    const witness = Math.max(last.epoch === seen.epoch ? last.sequence : 0, earlier?.feedEpoch === seen.epoch ? (earlier?.feedSequence ?? 0) : 0)
    const isOther = seen.isComplete && typeof installation.feedEpoch === 'string' && installation.feedEpoch !== seen.epoch
    // Twice: between the two readings another control plane may have filled it.
    others = isOther ? others + 1 : 0
    if (seen.sequence < witness || others > 1) {
      log.warn(
        { sequence: seen.sequence, before: witness, isOther },
        'the feed has lost its latest changes, or was put back to an older state; refilling it from storage',
      )
      lostEpoch = seen.epoch
    }
    last = { epoch: seen.epoch, sequence: await keeper.beat(mark) }
    lastBeatMs = clock.nowMs()
    const hasLost = lostEpoch !== undefined && lostEpoch === seen.epoch
    if (!hasLost) lostEpoch = undefined
    if (!seen.isComplete || hasLost) fill(hasLost, mark)
    else await count(seen.epoch, last.sequence)
  }

  let running: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined
  const loop = () => {
    running = keep()
      .catch(async (error: unknown) => {
        isComplete = false
        warn({ err: error }, 'feed: its state could not be checked; trying again')
        await keeper.remake().catch(() => undefined)
      })
      .then(() => {
        if (!stopping) timer = setTimeout(loop, BEAT_EVERY_MS)
      })
  }
  loop()
  return {
    isComplete: () => isComplete,
    filled: () => filled,
    fillings: () => fillings,
    lastBeatMs: () => lastBeatMs,
    stop: async () => {
      stopping = true
      clearTimeout(timer)
      // With a feed that is away it may be waiting for an answer: nothing of it is needed any more.
      await Promise.race([running, sleep(STOP_WITHIN_MS, undefined, { ref: false })])
    },
  }
}
