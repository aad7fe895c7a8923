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
import type { FeedListener, FeedWatch } from '../feed.ts'
import { customerOf, FORGOTTEN_KEY, isClockKey, isSetKey, tenantOfKey } from '../keys.ts'
import { decodeClockMessage, decodeMessage, type Message } from '../message.ts'
import type { Signing } from '../signing.ts'
import { type Bucket, live, NoBucketError } from './bucket.ts'
import { orUnavailable, unavailable } from './connection.ts'
import type { FollowedEntry, Following } from './follow.ts'
import { BEAT_KEY, type BucketState, decodeBeat, decodeState, STATE_KEY } from './state.ts'

const RETRY_WATCH_AFTER_MS = 250
/** Beats come every second; without one for so long the stream is asked. */
const BEAT_LATE_MS = 3_000
const ASK_EVERY_MS = 1_000
/** Of those who read some tenants alone each question makes a consumer. */
const ASK_NARROW_EVERY_MS = 5_000
/** Beats that wait until what came before them has been delivered; there is one a second from each control plane. */
const MAX_BEATS = 64
/**
 * In a cluster any server may answer who reads some tenants alone, also one that is behind. What was stored last is therefore
 * shown to its reads before the first: a server that is further behind than this would be a broken one.
 */
const SHOWN_BEFORE = 10_000
const [SHOWN_WITHIN_MS, SHOWN_AGAIN_MS] = [10_000, 10]
/** So long control planes may take to see what a watch has seen. */
const DISTRUST_MS = 30_000

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

export const startWatch = async (parts: WatchParts, listener: FeedListener): Promise<FeedWatch> => {
  const { connection, bucket, signing, tenants, clock, log, faults } = parts
  const readState = async (): Promise<BucketState | undefined> => {
    const entry = await bucket.get(STATE_KEY)
    return live(entry) ? decodeState(entry.value, signing) : undefined
  }
  /** `created` identifies the bucket: another one of the same name starts its sequences again. */
  const look = (atLeast?: number) => orUnavailable(async () => ({ ...(await bucket.position(atLeast)), state: await readState() }))
  /** As `look`; when there is no bucket any more, what is held is all that there is. */
  const lookAgain = async () => {
    try {
      return await look(seenSequence)
    } catch (error) {
      if (error instanceof NoBucketError) applyState(undefined)
      throw error
    }
  }

  const first = await look()
  let { created, lastSequence: seenSequence } = first
  /** Of what was read: undefined before it was complete for the first time. */
  let epoch: string | undefined
  let isComplete = false
  /** A filling of which the stream has lost what came last: control planes see that too, and fill it anew. */
  let distrusted: string | undefined
  let distrustedMs = 0
  /** The watch is live when it has seen this sequence. */
  let liveFromSequence = seenSequence
  /** What had been seen when the watch was begun, last. */
  let resumedAfter = seenSequence
  /** What was stored before the watch was asked for is not delivered. */
  let shownOnlyTo = seenSequence
  let connected = true
  let asOfMs = clock.nowMs()
  let heardMs = clock.nowMs()
  let following: Following | undefined
  /** Of those that may count once everything before them has been delivered. */
  let beats: { sequence: number; atMs: number }[] = []
  let askedMs = 0
  let stopped = false
  let restarting = false
  let reconnects = 0
  /** Interrupted again while restarting: what was begun may already be cut off. */
  let interrupted = false

  const isThere = () => following !== undefined && following.deliveredTo() >= liveFromSequence
  const isLive = () => !stopped && connected && !restarting && isComplete && isThere()

  const reset = () => {
    try {
      listener.onReset()
    } catch (error) {
      faults.tell(error, 'feed: what was read before could not be forgotten')
    }
  }

  const applyState = (said: BucketState | undefined) => {
    const state = said && said.epoch === distrusted ? undefined : said
    const was = isComplete
    isComplete = state?.isComplete === true
    if (state && isComplete) {
      if (epoch !== undefined && epoch !== state.epoch) {
        log.warn({ bucket: bucket.name }, 'feed: the bucket was filled anew; everything read before is forgotten')
        reset()
      }
      epoch = state.epoch
    } else if (was) {
      log.warn({ bucket: bucket.name }, 'feed: the bucket is not complete; what is held is answered from as stale, until it is')
    }
    parts.onState(state)
  }
  applyState(first.state)

  const isWatched = (key: string): boolean => tenants === undefined || tenants.includes(tenantOfKey(key) ?? '')

  const deliver = (entry: FollowedEntry) => {
    seenSequence = Math.max(seenSequence, entry.revision)
    const { key, value } = entry
    if (isSetKey(key) || isClockKey(key)) parts.onShown(key, entry.revision)
    if (entry.operation !== 'PUT' || entry.revision <= shownOnlyTo) return
    try {
      if (key === BEAT_KEY) deliverBeat(entry)
      else if (key === STATE_KEY) applyState(decodeState(value, signing))
      else if (key === FORGOTTEN_KEY) deliverForgotten(entry)
      else if (isClockKey(key) && isWatched(key)) deliverClock(key, value)
      else if (isSetKey(key) && isWatched(key)) deliverSet(key, value)
    } catch (error) {
      faults.tell(error, 'feed: an entry could not be taken', { key })
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
    if (beats.length < MAX_BEATS) beats.push({ sequence: revision, atMs: Math.min(beat.atMs, nowMs) })
  }

  /** Beats count once what was stored before them has been delivered. */
  const countBeats = () => {
    if (!following || beats.length === 0) return
    const deliveredTo = following.deliveredTo()
    if (isLive()) asOfMs = beats.reduce((latest, { sequence, atMs }) => (sequence <= deliveredTo ? Math.max(latest, atMs) : latest), asOfMs)
    beats = beats.filter(({ sequence }) => sequence > deliveredTo)
  }

  /** Of a removal that came and was forgotten while this watch was away nothing is left to be delivered. */
  const deliverForgotten = ({ revision, value }: FollowedEntry) => {
    parts.onForgotten(forgottenUpTo(value))
    if (revision > liveFromSequence || forgottenUpTo(value) <= resumedAfter) return
    log.info({ bucket: bucket.name }, 'feed: customers were removed while it was away, everything read before is forgotten')
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
      faults.tell(error, 'feed: an entry could not be read; what is held of the customer is old from now on', { key, ...customer })
      if (customer) listener.onMissing({ ...customer, revision: undefined })
      return
    }
    if (message.missing) listener.onMissing(message.missing)
    else listener.onSet(message.set)
  }

  /** @param after what has been delivered: what came since is. @param lastSequence of the stream, just now. */
  const begin = async (after: number, lastSequence: number) => {
    let own: Following | undefined
    let hasEnded = false
    const isOurs = () => !stopped && following !== undefined && following === own
    own = await bucket.follow(
      { after, lastSequence },
      {
        onEntry: (entry) => {
          if (!stopped && (own === undefined || isOurs())) deliver(entry)
        },
        onProgress: countBeats,
        onEnd: (error) => {
          hasEnded = true
          // While there is no connection, that there is one again is what begins it again.
          if (!isOurs() || !connected) return
          if (error) faults.tell(error, 'feed: the watch has ended')
          void restart()
        },
      },
    )
    if (stopped || hasEnded) own.stop()
    else following = own
    if (hasEnded) throw new Error('feed: the watch ended as it began')
  }

  /** Begins again after what was seen, as often as it takes. */
  const restart = async () => {
    interrupted = true
    if (restarting) return
    restarting = true
    while (interrupted && !stopped) {
      try {
        interrupted = false
        const resumeAfter = following?.resumeAfter() ?? resumedAfter
        following?.stop()
        following = undefined
        beats = []
        resumedAfter = resumeAfter
        const found = await lookAgain()
        if (found.created !== created || found.lastSequence < seenSequence) {
          log.warn({ bucket: bucket.name }, 'feed: the bucket was made anew, or has lost what came last')
          resumedAfter = found.created === created ? Math.min(resumedAfter, found.lastSequence) : found.lastSequence
          created = found.created
          seenSequence = found.lastSequence
          distrusted = epoch
          distrustedMs = clock.nowMs()
        }
        applyState(found.state)
        liveFromSequence = found.lastSequence
        shownOnlyTo = 0
        await begin(resumedAfter, found.lastSequence)
      } catch (error) {
        interrupted = true
        log.warn({ err: error }, 'feed: the watch could not be resumed, trying again')
        await sleep(RETRY_WATCH_AFTER_MS)
      }
    }
    heardMs = clock.nowMs()
    restarting = false
  }

  const isOfMany = bucket.isNarrow && connection.info?.cluster !== undefined
  await orUnavailable(() => begin(Math.max(0, seenSequence - (isOfMany ? SHOWN_BEFORE : 0)), seenSequence))
  const begunMs = performance.now()
  while (!isThere()) {
    if (performance.now() - begunMs > SHOWN_WITHIN_MS) {
      stopped = true
      following?.stop()
      throw unavailable(new Error('what was stored last is not delivered'))
    }
    await sleep(SHOWN_AGAIN_MS)
  }

  const followConnection = async () => {
    for await (const status of connection.status()) {
      if (stopped) return
      if (status.type === 'disconnect' || status.type === 'staleConnection') connected = false
      if (status.type === 'reconnect') {
        connected = true
        reconnects += 1
        void restart()
      }
    }
  }
  followConnection().catch((error: unknown) => {
    // From here on it would not be noticed that the server is gone: nothing is claimed to be current.
    connected = false
    faults.tell(error, 'feed: the connection is not followed any more')
  })

  /** No control plane beats, or nothing comes through: the stream knows which. */
  const askStream = async () => {
    if (stopped || !connected || restarting) return
    if (distrusted !== undefined && distrusted !== epoch) distrusted = undefined
    if (distrusted !== undefined && clock.nowMs() - distrustedMs > DISTRUST_MS) {
      // Nobody has noticed: what is there is believed, and what was read before is not.
      distrusted = undefined
      epoch = ''
      applyState((await lookAgain()).state)
    }
    if (clock.nowMs() - heardMs < BEAT_LATE_MS || (bucket.isNarrow && clock.nowMs() - askedMs < ASK_NARROW_EVERY_MS)) return
    askedMs = clock.nowMs()
    const { created: now, lastSequence } = await lookAgain()
    if (stopped || restarting) return
    if (now !== created || lastSequence < seenSequence) void restart()
    else if (bucket.isNarrow) {
      // It counts as a beat does, when everything before it has been delivered. Consumers that are gone say so themselves.
      following?.reached(lastSequence)
      if (beats.length < MAX_BEATS) beats.push({ sequence: lastSequence, atMs: askedMs })
    } else if (lastSequence === seenSequence) {
      if (isLive()) asOfMs = Math.max(asOfMs, askedMs)
    } else if (clock.nowMs() - heardMs > 2 * BEAT_LATE_MS) void restart()
  }
  let asking = false
  const timer = setInterval(() => {
    if (asking) return
    asking = true
    askStream()
      // Not confirmed: as_of stays where it was, and says so.
      .catch(() => undefined)
      .finally(() => {
        asking = false
      })
  }, ASK_EVERY_MS)
  timer.unref()

  return {
    isLive,
    isDoubtful: () => !isComplete,
    currentAsOfMs: () => asOfMs,
    reconnects: () => reconnects,
    stop: async () => {
      stopped = true
      clearInterval(timer)
      following?.stop()
    },
  }
}
