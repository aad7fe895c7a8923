/**
 * Keeps a feed that can be lost: beats, so that sidecars know how current they are, and fills it from storage where it
 * is new, was lost, or was filled from a storage that has since gone back to a backup. Any number of control planes do
 * so side by side; one of them fills.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { isAppError } from '../../common/errors.ts'
import type { FeedKeeper, StorageMark } from '../../common/feed/feed.ts'
import { installationOf } from '../catalog/installation.ts'
import { keys } from '../keys.ts'
import type { Installation } from '../schemas/installation.ts'
import type { Services } from '../services.ts'
import { type Republished, republish } from './republish.ts'

const BEAT_EVERY_MS = 1_000
/** Every so many beats the storage's count grows: a backup that is older by that is known as one. */
const COUNT_EVERY = 5
const WARN_EVERY_MS = 60_000
const TELL_EVERY_MS = 5_000
const STOP_WITHIN_MS = 1_000

export interface FeedKeeping {
  /** Of the feed: 1 when readers may believe it, 0 while it is being filled, or cannot be reached. */
  isComplete(): boolean
  /** Sets that were put since this process began the last filling. */
  filled(): number
  fillings(): number
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
): Promise<Republished | undefined> => {
  const filling = await keeper.claim({ anew: how.anew })
  if (!filling) return undefined
  await keeper.beat(how.mark)
  let [renewedMs, toldMs] = [clock.nowMs(), clock.nowMs()]
  const done = await republish(storage, feed, log, async (sets) => {
    how.onProgress?.(sets)
    if (clock.nowMs() - renewedMs > BEAT_EVERY_MS) {
      renewedMs = clock.nowMs()
      await filling.renew()
    }
    if (clock.nowMs() - toldMs > TELL_EVERY_MS) {
      toldMs = clock.nowMs()
      log.info({ sets }, 'feed: filling')
    }
  })
  await filling.complete()
  log.info(done, 'feed: filled; sidecars are current again')
  return done
}

export const startKeepingFeed = (services: Parts): FeedKeeping => {
  const { storage, feed, clock, log } = services
  const keeper = feed.keeper
  if (!keeper) return { isComplete: () => true, filled: () => 0, fillings: () => 0, stop: async () => undefined }
  let [beats, filled, fillings, warnedMs, lastSequence] = [0, 0, 0, 0, 0]
  let isComplete = false
  let isFilling = false
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

  /** What storage says of itself goes on, so that a backup is known as one. */
  const count = async (installation: Installation, epoch: string | undefined, sequence: number): Promise<void> => {
    beats += 1
    if (beats % COUNT_EVERY !== 1) return
    try {
      await storage.installations.replace({ ...installation, feedEpoch: epoch, feedSequence: sequence })
    } catch (error) {
      // Another control plane has counted.
      if (!isAppError(error, 'revision_conflict')) throw error
    }
  }

  const fill = (anew: boolean, mark: StorageMark) => {
    if (isFilling) return
    isFilling = true
    const onProgress = (sets: number) => {
      filled = sets
    }
    fillFeed(services, keeper, { anew, mark, onProgress })
      .then((done) => {
        if (done) fillings += 1
      })
      .catch((error: unknown) => warn({ err: error }, 'feed: it could not be filled, and is tried again'))
      .finally(() => {
        isFilling = false
      })
  }

  const keep = async () => {
    // Of the feed first: what storage says afterwards can only be later, unless it has gone back.
    const seen = await keeper.look()
    const installation = await read()
    isComplete = seen.isComplete
    if (!installation) {
      warn({}, 'storage has lost what it says of this installation: if a backup is being restored, stop control planes meanwhile')
      return
    }
    const mark = { id: installation.id, count: installation.revision }
    if (seen.storage && seen.storage.id !== mark.id) {
      const said = 'NATS_BUCKET: the bucket belongs to another installation, with another storage: give each a name of its own, or run'
      warn({ theirs: seen.storage.id, ours: mark.id }, `${said} npm run restore:finish if this storage is to take its place`)
      await keeper.beat(seen.storage)
      return
    }
    if (seen.storage && seen.storage.count > mark.count) {
      log.warn({ feed: seen.storage.count, storage: mark.count }, 'storage has gone back: a backup was restored; the feed is filled anew from it')
      fill(true, mark)
      return
    }
    const sequence = await keeper.beat(mark)
    const isSame = installation.feedEpoch === seen.epoch
    const hasLost = isSame && sequence <= Math.max(lastSequence, installation.feedSequence ?? 0)
    lastSequence = sequence
    if (hasLost) log.warn({ sequence, before: installation.feedSequence }, 'the feed has lost what was stored last, and is filled from storage')
    if (!seen.isComplete || hasLost) fill(false, mark)
    else await count(installation, seen.epoch, sequence)
  }

  let running: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined
  const loop = () => {
    running = keep()
      .catch(async (error: unknown) => {
        isComplete = false
        warn({ err: error }, 'feed: it could not be kept, and is tried again')
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
    stop: async () => {
      stopping = true
      clearTimeout(timer)
      // With a feed that is away it may be waiting for an answer: nothing of it is needed any more.
      await Promise.race([running, sleep(STOP_WITHIN_MS, undefined, { ref: false })])
    },
  }
}
