/**
 * The feed on a NATS JetStream key-value bucket: one key a customer, one value (the last) a key. Uses only what
 * nats-server 2.9 has: no per-key TTL, no consumers with several filters.
 *
 * A watch is one ordered consumer over the whole bucket, started at an exact stream sequence. Whenever the
 * connection was interrupted the watch is begun again after the last sequence it saw, and is live again only when
 * it has reached what the stream held at that moment; so nothing is missed, and "live" is never claimed early.
 */
import { JetStreamApiError, type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { type KV, type KvEntry, Kvm, type KvWatchEntry } from '@nats-io/kv'
import { type ConnectionOptions, connect, headers, type Msg, type NatsConnection, type QueuedIterator, RequestError } from '@nats-io/transport-node'
import type { Clock } from '../clock.ts'
import { AppError } from '../errors.ts'
import { createFaults, type Faults } from '../faults.ts'
import type { Log } from '../log.ts'
import { type Feed, type FeedListener, type FeedWatch, MAX_SET_BYTES, MissingSetError } from './feed.ts'
import { clockKey, customerOf, FORGOTTEN_KEY, isClockKey, setKey } from './keys.ts'
import { clockRankOf, decodeClockMessage, decodeMessage, encodeClockMessage, encodeMessage, encodeMissing, type Message, rank, rankOf } from './message.ts'

/** Longer than a local round trip by three orders of magnitude, short enough for a caller to wait for. */
const REQUEST_TIMEOUT_MS = 2_000
/** How often a watch confirms that the server is there: the precision of `as_of`. */
const CONFIRM_EVERY_MS = 1_000
/** A writer loses a race only to another writer of the same customer; this many in a row is a fault. */
const MAX_PUT_TRIES = 20
const RETRY_WATCH_AFTER_MS = 250
const WARN_EVERY_MS = 30_000
/** What a message takes beside its bytes: the headers of a compare-and-set, far below this. */
const HEADERS_BYTES = 1024
/** JetStream's "message size exceeds maximum allowed": the bucket's own limit. */
const TOO_LARGE = 10054

/** Where questions to control planes travel. */
const subjectOf = (bucket: string): string => `tollgate.ask.${bucket}`

export interface NatsFeedOptions {
  /** One or several nats:// or tls:// URLs, comma-separated; a user and password or a token may be part of each. */
  url: string
  /** The bucket's name: installations that share a NATS server each have their own. */
  bucket: string
  clock: Clock
  log: Log
  /** Between two tries to reach a server again, with as much again of jitter; 250 without. */
  reconnectWaitMs?: number
}

const connectionOptions = (url: string, waitMs: number): ConnectionOptions => {
  const urls = url.split(',').map((one) => new URL(one))
  const { username = '', password = '', protocol } = urls[0] ?? {}
  const credentials =
    username === ''
      ? {}
      : password === ''
        ? { token: decodeURIComponent(username) }
        : { user: decodeURIComponent(username), pass: decodeURIComponent(password) }
  return {
    servers: urls.map((one) => one.host),
    ...(protocol === 'tls:' ? { tls: {} } : {}),
    ...credentials,
    // A feed that is away is waited for, for ever: sidecars answer from memory meanwhile.
    maxReconnectAttempts: -1,
    waitOnFirstConnect: true,
    reconnectTimeWait: waitMs,
    reconnectJitter: waitMs,
    reconnectJitterTLS: waitMs,
    // A peer that vanished without closing is noticed within three of these.
    pingInterval: 5_000,
    timeout: REQUEST_TIMEOUT_MS,
  }
}

const unavailable = (cause: unknown): AppError => new AppError('unavailable', 'the feed (NATS) cannot be reached', [], { cause })

const orUnavailable = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work()
  } catch (error) {
    throw error instanceof AppError ? error : unavailable(error)
  }
}

/** JetStream's "wrong last sequence": someone else wrote the key since it was read. */
const isLostRace = (error: unknown): boolean =>
  error instanceof Error && ('code' in error && error.code === 10071 ? true : /wrong last sequence/i.test(error.message))

const isTooLarge = (error: unknown): boolean =>
  (error instanceof JetStreamApiError && error.code === TOO_LARGE) || (error instanceof Error && /max_payload/.test(error.message))

/** @returns the sequence of the latest removal that was taken out of the stream; 0 for bytes that do not say. */
const forgottenUpTo = (bytes: Uint8Array): number => {
  const sequence = Number(Buffer.from(bytes).toString())
  return Number.isSafeInteger(sequence) ? sequence : 0
}

/** Says that a server is not reached, for as long as it is not: nobody else would. */
const connectAloud = async (connecting: ConnectionOptions, log: Log): Promise<NatsConnection> => {
  const warn = () => log.warn({ servers: connecting.servers }, 'feed: no NATS server is reached; trying again, until one is')
  let every: NodeJS.Timeout | undefined
  const first = setTimeout(() => {
    warn()
    every = setInterval(warn, WARN_EVERY_MS)
  }, REQUEST_TIMEOUT_MS)
  try {
    return await connect(connecting)
  } finally {
    clearTimeout(first)
    clearInterval(every)
  }
}

const tellOfLosses = async (connection: NatsConnection, log: Log): Promise<void> => {
  for await (const status of connection.status()) {
    if (status.type === 'disconnect') log.warn({ server: status.server }, 'feed: the NATS server is lost; trying to reach one again, until one is')
    if (status.type === 'reconnect') log.info({ server: status.server }, 'feed: reconnected')
  }
}

export const createNatsFeed = async (options: NatsFeedOptions): Promise<Feed> => {
  const { bucket, clock, log } = options
  const connection = await connectAloud(connectionOptions(options.url, options.reconnectWaitMs ?? 250), log)
  const faults = createFaults(log, clock)
  tellOfLosses(connection, log).catch((error: unknown) => faults.tell(error, 'feed: it is not heard any more whether the server is lost'))
  const manager = await jetstreamManager(connection, { timeout: REQUEST_TIMEOUT_MS })
  const kv = await new Kvm(jetstream(connection, { timeout: REQUEST_TIMEOUT_MS })).create(bucket, { history: 1 })
  log.info({ server: connection.info?.version, bucket }, 'feed connected')
  const watches = new Set<FeedWatch>()

  const live = (entry: KvEntry | null): entry is KvEntry => entry !== null && entry.operation === 'PUT'

  /** A server may take less than is usual; then that is the limit. It may be another one after each reconnect. */
  const maxSetBytes = () => Math.min(MAX_SET_BYTES, (connection.info?.max_payload ?? Number.POSITIVE_INFINITY) - HEADERS_BYTES)
  if (maxSetBytes() < MAX_SET_BYTES)
    log.warn(
      { maxPayload: connection.info?.max_payload },
      'feed: the NATS server takes smaller messages (max_payload) than sets may have; larger sets are not published',
    )

  /** Keeps what has the higher rank, whatever the order in which writers arrive. @returns whether it was stored. */
  const putIfNewer = async (key: string, bytes: Uint8Array, newRank: number, rankAt: (key: string, bytes: Uint8Array) => number): Promise<boolean> => {
    for (let tries = 0; tries < MAX_PUT_TRIES; tries += 1) {
      try {
        const entry = await kv.get(key)
        if (live(entry) && rankAt(key, entry.value) >= newRank) return false
        if (live(entry)) await kv.update(key, bytes, entry.revision)
        else await kv.create(key, bytes)
        return true
      } catch (error) {
        if (isTooLarge(error)) throw new AppError('set_too_large', `the feed does not take a message of ${bytes.length} bytes`, [], { cause: error })
        if (!isLostRace(error)) throw unavailable(error)
      }
    }
    throw unavailable(new Error(`${MAX_PUT_TRIES} lost races on one key`))
  }

  return {
    putSet: async (set) => {
      await putIfNewer(setKey(set), encodeMessage(set, maxSetBytes()), rank(set.revision, false), rankOf)
    },
    putMissing: async (customer, revision) => putIfNewer(setKey(customer), encodeMissing(customer, revision), rank(revision, true), rankOf),
    getSet: ({ tenantId, storefrontId, customerId }) =>
      orUnavailable(async () => {
        const key = setKey({ tenantId, storefrontId, customerId })
        const entry = await kv.get(key)
        if (!live(entry)) return undefined
        let message: Message
        try {
          message = decodeMessage(key, entry.value)
        } catch (error) {
          faults.tell(error, 'feed: an entry could not be read', { key, tenantId, customerId })
          throw new MissingSetError({ tenantId, storefrontId, customerId, revision: undefined }, { cause: error })
        }
        if (message.missing) throw new MissingSetError(message.missing)
        return message.set?.removed ? undefined : message.set
      }),
    forgetSet: (customer) =>
      orUnavailable(async () => {
        const key = setKey(customer)
        const entry = await kv.get(key)
        if (!live(entry) || !decodeMessage(key, entry.value).set?.removed) return
        // First, so that whoever is away meanwhile learns that there was something to hear.
        await putIfNewer(FORGOTTEN_KEY, Buffer.from(String(entry.revision)), entry.revision, (_, bytes) => forgottenUpTo(bytes))
        // Of the stream, not of the bucket: that would leave a marker, and the customer's name with it. What is newer stays.
        await manager.streams.purge(`KV_${bucket}`, { filter: `$KV.${bucket}.${key}`, seq: entry.revision + 1 })
      }),
    putClock: async (value) => {
      await putIfNewer(clockKey(value.tenantId), encodeClockMessage(value), value.revision, clockRankOf)
    },
    getClock: (tenantId) =>
      orUnavailable(async () => {
        const key = clockKey(tenantId)
        const entry = await kv.get(key)
        return live(entry) ? decodeClockMessage(key, entry.value) : undefined
      }),
    watch: async (listener) => {
      const watch = await orUnavailable(() => startWatch({ connection, manager, kv, bucket, clock, log, faults }, listener))
      watches.add(watch)
      return watch
    },
    ask: (question, timeoutMs) =>
      orUnavailable(async () => {
        const reply = await connection.request(subjectOf(bucket), question, { timeout: timeoutMs }).catch((error: unknown) => {
          if (error instanceof RequestError && error.isNoResponders()) throw new AppError('unavailable', 'no control plane answers', [], { cause: error })
          throw error
        })
        if (reply.headers?.get('error')) throw new Error('the control plane could not answer')
        return reply.string()
      }),
    answer: async (handler) => {
      const subscription = connection.subscribe(subjectOf(bucket), { queue: 'control-planes' })
      const reply = async (message: Msg): Promise<void> => {
        try {
          // It may be more than the server takes: then that it could not be answered is the answer.
          message.respond(await handler(message.string()))
        } catch (error) {
          faults.tell(error, 'feed: a question could not be answered')
          const failed = headers()
          failed.set('error', 'internal')
          message.respond('', { headers: failed })
        }
      }
      const listen = async () => {
        for await (const message of subscription) reply(message).catch((error: unknown) => faults.tell(error, 'feed: an answer could not be sent'))
      }
      listen().catch((error: unknown) => faults.tell(error, 'feed: questions are not heard any more'))
      return () => subscription.unsubscribe()
    },
    ping: () => orUnavailable(() => withTimeout(connection.flush())),
    close: async () => {
      if (connection.isClosed()) return
      for (const watch of watches) await watch.stop()
      await connection.close()
    },
  }
}

const withTimeout = async <T>(work: Promise<T>): Promise<T> => {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${REQUEST_TIMEOUT_MS} ms`)), REQUEST_TIMEOUT_MS)
  })
  try {
    return await Promise.race([work, timeout])
  } finally {
    clearTimeout(timer)
  }
}

interface WatchParts {
  connection: NatsConnection
  manager: JetStreamManager
  kv: KV
  bucket: string
  clock: Clock
  log: Log
  faults: Faults
}

const startWatch = async (parts: WatchParts, listener: FeedListener): Promise<FeedWatch> => {
  const { connection, manager, kv, bucket, clock, log, faults } = parts
  /** Identifies the bucket: another one of the same name starts its sequences again. */
  const streamState = async () => {
    const info = await manager.streams.info(`KV_${bucket}`)
    return { created: info.created, lastSequence: info.state.last_seq }
  }

  let { created, lastSequence: seenSequence } = await streamState()
  /** The watch is live when it has seen this sequence. */
  let liveFromSequence = seenSequence
  /** What had been seen when the watch was begun, last. */
  let resumedAfter = seenSequence
  let connected = true
  let asOfMs = clock.nowMs()
  let iterator: QueuedIterator<KvWatchEntry> | undefined
  let stopped = false
  let restarting = false
  let reconnects = 0
  /** Interrupted again while restarting: what was begun may already be cut off. */
  let interrupted = false

  const isLive = () => !stopped && connected && !restarting && seenSequence >= liveFromSequence

  const deliver = (entry: KvWatchEntry) => {
    seenSequence = Math.max(seenSequence, entry.revision)
    if (entry.operation !== 'PUT') return
    const { key, value } = entry
    try {
      if (key === FORGOTTEN_KEY) deliverForgotten(entry)
      else if (isClockKey(key)) listener.onClock(decodeClockMessage(key, value))
      else deliverSet(key, value)
    } catch (error) {
      faults.tell(error, 'feed: an entry could not be taken', { key })
    }
  }

  /** Of a removal that came and was forgotten while this watch was away nothing is left to be delivered. */
  const deliverForgotten = ({ revision, value }: KvWatchEntry) => {
    if (revision > liveFromSequence || forgottenUpTo(value) <= resumedAfter) return
    log.info({ bucket }, 'feed: customers were removed while it was away, everything read before is forgotten')
    reset()
  }

  const deliverSet = (key: string, value: Uint8Array) => {
    let message: Message
    try {
      message = decodeMessage(key, value)
    } catch (error) {
      const customer = customerOf(key)
      faults.tell(error, 'feed: an entry could not be read; what is held of the customer is old from now on', { key, ...customer })
      if (customer) listener.onMissing({ ...customer, revision: undefined })
      return
    }
    if (message.missing) listener.onMissing(message.missing)
    else listener.onSet(message.set)
  }

  const begin = async () => {
    const started = await kv.watch({ key: '>', resumeFromRevision: seenSequence + 1 })
    iterator = started
    const read = async () => {
      for await (const entry of started) if (iterator === started) deliver(entry)
    }
    const again = () => {
      // The iterator ends by itself only when its consumer or the bucket is gone.
      if (iterator === started && !stopped) void restart()
    }
    read().then(again, (error: unknown) => {
      faults.tell(error, 'feed: the watch has ended')
      again()
    })
  }

  const reset = () => {
    try {
      listener.onReset()
    } catch (error) {
      faults.tell(error, 'feed: what was read before could not be forgotten')
    }
  }

  /** Begins again after what was seen, as often as it takes. */
  const restart = async () => {
    interrupted = true
    if (restarting) return
    restarting = true
    while (interrupted && !stopped) {
      try {
        interrupted = false
        iterator?.stop()
        iterator = undefined
        const state = await streamState()
        if (state.created !== created || state.lastSequence < seenSequence) {
          log.warn({ bucket }, 'feed: the bucket was made anew, everything read before is forgotten')
          created = state.created
          seenSequence = state.lastSequence
          reset()
        }
        liveFromSequence = state.lastSequence
        resumedAfter = seenSequence
        await begin()
      } catch (error) {
        interrupted = true
        log.warn({ err: error }, 'feed: the watch could not be resumed, trying again')
        await new Promise((resolve) => setTimeout(resolve, RETRY_WATCH_AFTER_MS))
      }
    }
    restarting = false
  }

  await begin()

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

  const confirm = setInterval(async () => {
    if (!isLive()) return
    const askedMs = clock.nowMs()
    try {
      await withTimeout(connection.flush())
      if (isLive()) asOfMs = askedMs
    } catch {
      // Not confirmed: as_of stays where it was, and says so.
    }
  }, CONFIRM_EVERY_MS)
  confirm.unref()

  return {
    isLive,
    currentAsOfMs: () => asOfMs,
    reconnects: () => reconnects,
    stop: async () => {
      stopped = true
      clearInterval(confirm)
      iterator?.stop()
    },
  }
}
