/** How control planes keep the bucket: they make it, beat, and fill it where it is not complete. */
import { randomUUID } from 'node:crypto'
import type { Clock } from '../../clock.ts'
import type { Log } from '../../log.ts'
import type { FeedKeeper, Filling, StorageMark } from '../feed.ts'
import type { Signing } from '../signing.ts'
import { type Bucket, live } from './bucket.ts'
import { orFeedUnavailable } from './connection.ts'
import { BEAT_KEY, type BucketState, decodeBeat, decodeState, encodeJson, STATE_KEY } from './state.ts'

/** A claim that is not renewed for so long is somebody else's to take. */
const CLAIM_MS = 15_000

export const createKeeper = (options: { bucket: Bucket; signing: Signing; clock: Clock; log: Log }): FeedKeeper => {
  const { bucket, signing, clock, log } = options
  /** Identifies this process. */
  const by = randomUUID()
  const readState = async (): Promise<{ state: BucketState | undefined; sequence: number }> => {
    const entry = await bucket.get(STATE_KEY)
    if (entry === null) return { state: undefined, sequence: 0 }
    return { state: live(entry) ? decodeState(entry.value, signing) : undefined, sequence: entry.revision }
  }
  const writeState = (state: BucketState, after: number) => bucket.putAfter(STATE_KEY, signing.sign(STATE_KEY, encodeJson(state)), after)

  const filling = (epoch: string, from: number): Filling => {
    let sequence = from
    const write = async (state: BucketState) => {
      const written = await writeState(state, sequence)
      if (written === undefined) throw new Error('feed: another process has taken over the filling of the bucket')
      sequence = written
    }
    return {
      epoch,
      renew: () => orFeedUnavailable(() => write({ epoch, isComplete: false, by, claimedAtMs: clock.nowMs() })),
      complete: () => orFeedUnavailable(() => write({ epoch, isComplete: true })),
    }
  }

  return {
    look: () =>
      orFeedUnavailable(async () => {
        const { state } = await readState()
        const entry = await bucket.get(BEAT_KEY)
        return {
          isComplete: state?.isComplete === true,
          epoch: state?.epoch,
          storage: live(entry) ? decodeBeat(entry.value)?.storage : undefined,
          sequence: entry?.revision ?? 0,
        }
      }),
    beat: (storage: StorageMark) => orFeedUnavailable(() => bucket.put(BEAT_KEY, encodeJson({ atMs: clock.nowMs(), storage }))),
    remake: () => orFeedUnavailable(() => bucket.reshape()),
    claim: ({ anew }) =>
      orFeedUnavailable(async () => {
        const { state, sequence } = await readState()
        const isClaimed = state && !state.isComplete && Math.abs(clock.nowMs() - (state.claimedAtMs ?? 0)) < CLAIM_MS
        if (isClaimed && state.by !== by) return undefined
        const isWrong = anew || state?.isWrong === true
        const epoch = state && !state.isComplete && !anew ? state.epoch : randomUUID()
        const claimed = { epoch, isComplete: false, by, claimedAtMs: clock.nowMs() }
        let written = await writeState({ ...claimed, ...(isWrong ? { isWrong } : {}) }, sequence)
        if (written === undefined) return undefined
        if (isWrong) {
          // Revisions begin again lower than those that are there, which would keep them out.
          await bucket.purge('set.>')
          await bucket.purge('clock.>')
          written = await writeState(claimed, written)
          if (written === undefined) return undefined
        }
        log.warn(
          { bucket: bucket.name, epoch, anew },
          'feed: the bucket is being filled from storage; until it is complete, sidecars answer from what they hold, as stale',
        )
        return filling(epoch, written)
      }),
  }
}
