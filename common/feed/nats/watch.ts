/**
 * A watch: what follows the bucket (`follow.ts`), started at an exact stream sequence. Whenever the connection was
 * interrupted it is begun again after what has been delivered, and is live again only when it has reached what the stream held
 * at that moment; so nothing is missed, and "live" is never claimed early.
 *
 * How current it is, beats say, once everything stored before them has been delivered. Where none come, since no control plane
 * is there, the stream is asked how far it is. That a server answers a ping proves nothing of either.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { NatsConnection } from '@nats-io/transport-node'
import type { Clock } from '../../clock.ts'
import type { Faults } from '../../faults.ts'
import type { Log } from '../../log.ts'
import { continueTrace } from '../../tracing.ts'
import type { FeedListener, FeedWatch } from '../feed.ts'
import { customerOf, FORGOTTEN_KEY, isClockKey, isSetKey, tenantOfKey } from '../keys.ts'
import { decodeClockMessage, decodeMessage, type Message } from '../message.ts'
import type { Signing } from '../signing.ts'
import { Beats } from './beats.ts'
import { type Bucket, live, NoBucketError } from './bucket.ts'
import { orFeedUnavailable, unavailable } from './connection.ts'
import { FillingTrust } from './filling-trust.ts'
import type { FollowedEntry, Following } from './follow.ts'
import { BEAT_KEY, type BucketState, decodeBeat, decodeState, STATE_KEY } from './state.ts'

const RETRY_WATCH_AFTER_MS = 250
/** Beats come every second; without one for so long the stream is asked. */
const BEAT_LATE_MS = 3_000
const ASK_EVERY_MS = 1_000
/** For readers of some tenants, who ask less often: each of their questions creates a consumer. */
const ASK_NARROW_EVERY_MS = 5_000
/**
 * In a cluster any server may answer who reads some tenants alone, also one that is behind. What was stored last is therefore
 * shown to its reads before the first: a server that is further behind than this would be a broken one.
 */
const SHOWN_BEFORE = 10_000
const [SHOWN_WITHIN_MS, SHOWN_AGAIN_MS] = [10_000, 10]

/** @returns the sequence of the latest removal that was taken out of the stream; 0 for bytes that do not say. */
export const forgottenUpTo = (bytes: Uint8Array): number => {
  const sequence = Number(Buffer.from(bytes).toString())
  return Number.isSafeInteger(sequence) ? sequence : 0
}

export interface WatchParts {
  connection: NatsConnection
  bucket: Bucket
  signing: Signing
  /** Nothing of other tenants is wanted; undefined: of all. */
  tenants: readonly string[] | undefined
  clock: Clock
  log: Log
  faults: Faults
  /** Each key that is delivered, with its sequence. */
  onShown(key: string, sequence: number): void
  /** Up to where removals were taken out of the stream. */
  onForgotten(sequence: number): void
  /** The state that readers go by. */
  onState(state: BucketState | undefined): void
}

/** From where the stream is followed. */
interface Run {
  /** What had been delivered when it was begun. */
  after: number
  /** The stream's last sequence then: the watch is live when it has delivered up to there. */
  liveFrom: number
  /** What is not later than this is shown, and not delivered: it was stored before the watch was asked for. */
  shownOnlyTo: number
}

/**
 * What the watch is doing; `setState` alone changes it. An attempt to begin belongs to the state that it was made in, and
 * comes to nothing once that is over.
 */
type State =
  /** It is being begun for the first time. */
  | { is: 'opening'; after: number }
  /** It delivers: it catches up until it has delivered `liveFrom`, and is live from then on. */
  | { is: 'following'; following: Following; liveFrom: number }
  /** The connection is gone. What may still come is delivered; when there is a connection again, it is resumed. */
  | { is: 'lost'; following: Following }
  | { is: 'lost'; after: number }
  /** It is being begun again, as often as it takes. */
  | { is: 'resuming'; after: number }
  | { is: 'stopped' }

export const startWatch = async (parts: WatchParts, listener: FeedListener): Promise<FeedWatch> => {
  const { connection, bucket, signing, tenants, clock, log, faults } = parts
  const readState = async (): Promise<BucketState | undefined> => {
    const entry = await bucket.get(STATE_KEY)
    return live(entry) ? decodeState(entry.value, signing) : undefined
  }
  /** `created` identifies the bucket: another one of the same name starts its sequences again. */
  const look = (atLeast?: number) => orFeedUnavailable(async () => ({ ...(await bucket.position(atLeast)), state: await readState() }))
  /** Like `look`; but if the bucket is gone, the reader keeps what it holds. */
  const lookAgain = async () => {
    try {
      return await look(seen.sequence)
    } catch (error) {
      if (error instanceof NoBucketError) applyState(undefined)
      throw error
    }
  }

  const first = await look()
  /** Of which bucket, and up to where, something has been delivered or is known to be there. */
  const seen = { created: first.created, sequence: first.lastSequence }
  const trust = new FillingTrust()
  const beats = new Beats()
  let state: State = { is: 'opening', after: seen.sequence }
  let asOfMs = clock.nowMs()
  /** When a control plane was last heard, and when the stream was last asked instead. */
  let [heardMs, askedMs] = [clock.nowMs(), 0]
  let reconnects = 0

  const setState = (next: State) => {
    const followed = 'following' in state ? state.following : undefined
    state = next
    if (followed && !('following' in next && next.following === followed)) followed.stop()
  }
  const hasCaughtUp = (): boolean => state.is === 'following' && state.following.deliveredTo() >= state.liveFrom
  const isLive = () => trust.isComplete && hasCaughtUp()

  const reset = () => {
    try {
      listener.onReset()
    } catch (error) {
      faults.tell(error, 'feed: older data could not be dropped')
    }
  }

  const applyState = (said: BucketState | undefined) => {
    const { state: counts, news } = trust.apply(said)
    if (news === 'refilled') {
      log.warn({ bucket: bucket.name }, 'feed: the bucket was refilled; older data is dropped')
      reset()
    } else if (news === 'lost') {
      log.warn({ bucket: bucket.name }, 'feed: the bucket is not complete; until it is, answers are stale')
    }
    parts.onState(counts)
  }
  applyState(first.state)

  const isWatched = (key: string): boolean => tenants === undefined || tenants.includes(tenantOfKey(key) ?? '')

  const deliver = (entry: FollowedEntry, run: Run) => {
    seen.sequence = Math.max(seen.sequence, entry.revision)
    const { key, value } = entry
    if (isSetKey(key) || isClockKey(key)) parts.onShown(key, entry.revision)
    if (entry.operation !== 'PUT' || entry.revision <= run.shownOnlyTo) return
    try {
      if (key === BEAT_KEY) deliverBeat(entry)
      else if (key === STATE_KEY) applyState(decodeState(value, signing))
      else if (key === FORGOTTEN_KEY) deliverForgotten(entry, run)
      else if (isClockKey(key) && isWatched(key)) deliverClock(key, value)
      else if (isSetKey(key) && isWatched(key)) continueTrace(entry.traceparent, () => deliverSet(key, value))
    } catch (error) {
      faults.tell(error, 'feed: an entry could not be applied', { key })
    }
  }

  const deliverClock = (key: string, value: Uint8Array) => {
    signing.check(key, value)
    listener.onClock(decodeClockMessage(key, value))
  }

  const deliverBeat = ({ revision, value }: FollowedEntry) => {
    const beat = decodeBeat(value)
    const nowMs = clock.nowMs()
    // One whose clock is not ours says nothing of how current this is: the stream is asked then.
    if (!beat || Math.abs(nowMs - beat.atMs) > BEAT_LATE_MS) return
    heardMs = nowMs
    beats.add(revision, Math.min(beat.atMs, nowMs))
  }

  /** More has been delivered: beats may count now. */
  const onProgress = () => {
    if (!('following' in state)) return
    const countedMs = beats.take(state.following.deliveredTo())
    if (countedMs !== undefined && isLive()) asOfMs = Math.max(asOfMs, countedMs)
  }

  /** Of a removal that came and was forgotten while this watch was away nothing is left to be delivered. */
  const deliverForgotten = ({ revision, value }: FollowedEntry, { after, liveFrom }: Run) => {
    parts.onForgotten(forgottenUpTo(value))
    if (revision > liveFrom || forgottenUpTo(value) <= after) return
    log.info({ bucket: bucket.name }, 'feed: customers were removed while this process was disconnected; older data is dropped')
    reset()
  }

  const deliverSet = (key: string, value: Uint8Array) => {
    const customer = customerOf(key)
    // The key says whose it is: what nobody here asks about is not decoded.
    if (customer && listener.isWanted && !listener.isWanted(customer, key)) return
    let message: Message
    try {
      signing.check(key, value)
      message = decodeMessage(key, value)
    } catch (error) {
      faults.tell(error, 'feed: an entry could not be read; answers about this customer are stale from now on', { key, ...customer })
      if (customer) listener.onMissing({ ...customer, revision: undefined })
      return
    }
    if (message.missing) listener.onMissing(message.missing)
    else listener.onSet(message.set)
  }

  /** Follows the stream from now on, unless the state is another one by then. @param from after which sequence. */
  const begin = async (run: Run, from = run.after) => {
    const begunIn = state
    let own: Following | undefined
    let hasEnded = false
    const isOurs = () => (own === undefined ? state === begunIn : 'following' in state && state.following === own)
    own = await bucket.follow(
      { after: from, lastSequence: run.liveFrom },
      {
        onEntry: (entry) => {
          if (isOurs()) deliver(entry, run)
        },
        onProgress,
        onEnd: (error) => {
          hasEnded = true
          // While there is no connection, that there is one again is what begins it again.
          if (own === undefined || !isOurs() || state.is !== 'following') return
          if (error) faults.tell(error, 'feed: the watch has ended')
          void resume()
        },
      },
    )
    if (state !== begunIn || hasEnded) own.stop()
    else setState({ is: 'following', following: own, liveFrom: run.liveFrom })
    if (hasEnded) throw new Error('feed: the watch ended right after it started')
  }

  /** Begins again after what was delivered, as often as it takes. */
  const resume = async () => {
    if (state.is === 'stopped') return
    const resuming = { is: 'resuming' as const, after: 'following' in state ? state.following.resumeAfter() : state.after }
    setState(resuming)
    while (state === resuming) {
      try {
        beats.clear()
        const found = await lookAgain()
        if (state !== resuming) return
        if (found.created !== seen.created || found.lastSequence < seen.sequence) {
          log.warn({ bucket: bucket.name }, 'feed: the bucket was recreated, or has lost its latest changes')
          resuming.after = found.created === seen.created ? Math.min(resuming.after, found.lastSequence) : found.lastSequence
          seen.created = found.created
          seen.sequence = found.lastSequence
          trust.distrust(clock.nowMs())
        }
        applyState(found.state)
        await begin({ after: resuming.after, liveFrom: found.lastSequence, shownOnlyTo: 0 })
      } catch (error) {
        if (state !== resuming) return
        log.warn({ err: error }, 'feed: the watch could not be resumed; trying again')
        await sleep(RETRY_WATCH_AFTER_MS)
      }
    }
    heardMs = clock.nowMs()
  }

  const isOfMany = bucket.isNarrow && connection.info?.cluster !== undefined
  const opened = { after: seen.sequence, liveFrom: seen.sequence, shownOnlyTo: seen.sequence }
  await orFeedUnavailable(() => begin(opened, Math.max(0, seen.sequence - (isOfMany ? SHOWN_BEFORE : 0))))
  const begunMs = performance.now()
  while (!hasCaughtUp()) {
    if (performance.now() - begunMs > SHOWN_WITHIN_MS) {
      setState({ is: 'stopped' })
      throw unavailable(new Error('the latest change was not delivered'))
    }
    await sleep(SHOWN_AGAIN_MS)
  }

  /** An attempt to resume is cut off, too. */
  const lose = () => {
    if (state.is === 'following') setState({ is: 'lost', following: state.following })
    else if (state.is === 'resuming') setState({ is: 'lost', after: state.after })
  }
  const followConnection = async () => {
    for await (const status of connection.status()) {
      if (state.is === 'stopped') return
      if (status.type === 'disconnect' || status.type === 'staleConnection') lose()
      if (status.type === 'reconnect') {
        reconnects += 1
        void resume()
      }
    }
  }
  followConnection().catch((error: unknown) => {
    // From here on it would not be noticed that the server is gone: nothing is claimed to be current.
    lose()
    faults.tell(error, 'feed: the connection is no longer followed')
  })

  /** No control plane beats, or nothing comes through: the stream knows which. */
  const askStream = async () => {
    if (state.is !== 'following') return
    if (trust.mustBelieve(clock.nowMs())) applyState((await lookAgain()).state)
    if (clock.nowMs() - heardMs < BEAT_LATE_MS || (bucket.isNarrow && clock.nowMs() - askedMs < ASK_NARROW_EVERY_MS)) return
    askedMs = clock.nowMs()
    const { created, lastSequence } = await lookAgain()
    if (state.is !== 'following') return
    if (created !== seen.created || lastSequence < seen.sequence) void resume()
    else if (bucket.isNarrow) {
      // It counts as a beat does, when everything before it has been delivered. Consumers that are gone say so themselves.
      state.following.reached(lastSequence)
      beats.add(lastSequence, askedMs)
    } else if (lastSequence === seen.sequence) {
      if (isLive()) asOfMs = Math.max(asOfMs, askedMs)
    } else if (clock.nowMs() - heardMs > 2 * BEAT_LATE_MS) void resume()
  }
  let isAsking = false
  const timer = setInterval(() => {
    if (isAsking) return
    isAsking = true
    askStream()
      // Not confirmed: as_of stays where it was, and says so.
      .catch(() => undefined)
      .finally(() => {
        isAsking = false
      })
  }, ASK_EVERY_MS)
  timer.unref()

  return {
    isLive,
    isDoubtful: () => !trust.isComplete,
    currentAsOfMs: () => asOfMs,
    reconnects: () => reconnects,
    stop: async () => {
      clearInterval(timer)
      setState({ is: 'stopped' })
    },
  }
}
