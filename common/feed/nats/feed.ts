/** The feed on a NATS JetStream key-value bucket: one key a customer, one value (the last) a key. */
import type { KvEntry } from '@nats-io/kv'
import type { Msg } from '@nats-io/transport-node'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../../clock.ts'
import { encodeUsage } from '../../entitlements/wire.ts'
import { AppError } from '../../errors.ts'
import { createFaults } from '../../faults.ts'
import type { Log } from '../../log.ts'
import type { Secret } from '../../secret.ts'
import { type Feed, type FeedWatch, MAX_SET_BYTES, MissingSetError } from '../feed.ts'
import { clockKey, FORGOTTEN_KEY, setKey } from '../keys.ts'
import { clockRankOf, decodeClockMessage, decodeMessage, encodeClockMessage, encodeMessage, encodeMissing, type Message, rank, rankOf } from '../message.ts'
import { type Signing, unsigned } from '../signing.ts'
import { type Bucket, type BucketShape, live, openBucket } from './bucket.ts'
import { connectAloud, connectionOptions, orFeedUnavailable, tellOfLosses } from './connection.ts'
import type { NatsAccess } from './credentials.ts'
import { followUsage } from './follow-usage.ts'
import { createKeeper } from './keeper.ts'
import { allQuestions, olderQuestions, questionsOf, tenantAsked, toldToAll, usageSubject } from './names.ts'
import { answer, ask } from './questions.ts'
import { type BucketState, decodeState, STATE_KEY } from './state.ts'
import { hearStatements, passOn } from './statements.ts'
import { forgottenUpTo, startWatch } from './watch.ts'

/** Room in a message besides its bytes: the headers of a compare-and-set need far less. */
const HEADERS_BYTES = 1024
/** Keys whose last sequences are remembered: a read is behind by milliseconds, in which no more are shown. */
const MAX_SHOWN = 65_536
/** A read that is behind what a watch has shown is made again so often, and so long after. */
const READ_AGAIN_TIMES = 40
const READ_AGAIN_MS = 25

export interface NatsFeedOptions {
  /** One or several nats:// or tls:// URLs, comma-separated; a user and password or a token may be part of each. */
  url: Secret
  /** The credentials of this process, and the CA that it trusts, unless the URL has them. */
  access?: NatsAccess | undefined
  /** The bucket's name: installations that share a NATS server each have their own. */
  bucket: string
  clock: Clock
  log: Log
  /** For control planes, which create the bucket and keep it. Without it, the bucket must exist. */
  keeps?: BucketShape
  /** For readers: limits requests to what a NATS user of these tenants may do; the server sends nothing about others. */
  tenants?: readonly string[] | undefined
  /** Signs values that are put, and verifies values that are read. Without it, neither happens. */
  signing?: Signing | undefined
  /** Between two tries to reach a server again, with as much again of jitter; 250 without. */
  reconnectWaitMs?: number
}

export const createNatsFeed = async (options: NatsFeedOptions): Promise<Feed> => {
  const { clock, log, signing = unsigned } = options
  const connecting = connectionOptions(options.url, options.reconnectWaitMs ?? 250, options.access)
  const connection = await connectAloud(connecting, log)
  const faults = createFaults(log, clock)
  tellOfLosses(connection, log).catch((error: unknown) => faults.tell(error, 'feed: the status of the NATS connection is no longer followed'))
  let bucket: Bucket
  try {
    const { bucket: name, keeps: make, tenants } = options
    bucket = await orFeedUnavailable(() =>
      openBucket(connection, { name, make, tenants, inboxPrefix: connecting.inboxPrefix, apiPrefix: options.access?.apiPrefix, log }),
    )
  } catch (error) {
    await connection.close()
    throw error
  }
  log.info({ server: connection.info?.version, bucket: bucket.name }, 'feed connected')
  const watches = new Set<FeedWatch>()
  /** The sequences that watches have shown last, by key: no read may answer what is older. */
  const shown = new LRUCache<string, number>({ max: MAX_SHOWN })
  let forgotten = 0
  /** The state that watches have seen; readers without a watch ask for it. */
  let believed: BucketState | undefined

  const onState = (state: BucketState | undefined) => {
    if (state?.epoch !== believed?.epoch) shown.clear()
    believed = state
  }

  /** A missing entry is not behind if it was removed from the stream on purpose. */
  const isBehind = (key: string, entry: KvEntry | null): boolean => {
    const sequence = shown.get(key) ?? 0
    return entry ? entry.revision < sequence : sequence > forgotten
  }

  /** @throws AppError `unavailable` rather than answer what is older than a watch has shown, or "none" from a bucket that is not complete. */
  const read = async (key: string): Promise<KvEntry | undefined> => {
    for (let times = 0; times < READ_AGAIN_TIMES; times += 1) {
      const entry = await bucket.get(key)
      if (isBehind(key, entry)) {
        await new Promise((resolve) => setTimeout(resolve, READ_AGAIN_MS))
        continue
      }
      if (live(entry)) return entry
      const found = await bucket.get(STATE_KEY)
      const state = live(found) ? decodeState(found.value, signing) : undefined
      if (state?.isComplete && (believed === undefined || believed.epoch === state.epoch)) return undefined
      throw new AppError('unavailable', 'the feed is being filled, so a missing entry does not mean anything yet; try again')
    }
    throw new AppError('unavailable', 'the feed answered with older data than before; try again')
  }

  /** A server may take less than is usual; then that is the limit. It may be another one after each reconnect. */
  const maxSetBytes = () => Math.min(MAX_SET_BYTES, (connection.info?.max_payload ?? Number.POSITIVE_INFINITY) - HEADERS_BYTES)
  if (maxSetBytes() < MAX_SET_BYTES)
    log.warn(
      { maxPayload: connection.info?.max_payload },
      'feed: the NATS server accepts only messages that are smaller than the largest set (max_payload); larger sets will not be published',
    )

  /**
   * A value without our signature has the lowest rank: it is overwritten, whatever it says. A value signed with an outgoing key
   * ranks slightly below the same value signed with the current key, so publishing it again changes the signature.
   */
  const ranked =
    (of: typeof rankOf, lowest: number) =>
    (key: string, bytes: Uint8Array): number => {
      if (!signing.isOurs(key, bytes)) return lowest
      return of(key, bytes) - (signing.isCurrent(bytes) ? 0 : 0.25)
    }
  const put = (key: string, bytes: Uint8Array, ofRank: number) => bucket.putIfNewer(key, signing.sign(key, bytes), ofRank, ranked(rankOf, 0))

  return {
    putSet: async (set) => {
      await put(setKey(set), encodeMessage(set, maxSetBytes()), rank(set.revision, false))
    },
    // Over what is not believed anything is put, an older set too.
    mayReorder: () => signing.signs || bucket.mayReorder(),
    putMissing: async (customer, revision) => put(setKey(customer), encodeMissing(customer, revision), rank(revision, true)),
    getSet: ({ tenantId, storefrontId, customerId }) =>
      orFeedUnavailable(async () => {
        const key = setKey({ tenantId, storefrontId, customerId })
        const entry = await read(key)
        if (!entry) return undefined
        let message: Message
        try {
          await signing.checkLater(key, entry.value)
          message = decodeMessage(key, entry.value)
        } catch (error) {
          faults.tell(error, 'feed: an entry could not be read', { key, tenantId, customerId })
          throw new MissingSetError({ tenantId, storefrontId, customerId, revision: undefined }, { cause: error })
        }
        if (message.missing) throw new MissingSetError(message.missing)
        return message.set?.removed ? undefined : message.set
      }),
    forgetSet: (customer) =>
      orFeedUnavailable(async () => {
        const key = setKey(customer)
        const entry = await bucket.get(key)
        if (!live(entry) || !decodeMessage(key, entry.value).set?.removed) return
        // First, so that whoever is away meanwhile learns that there was something to hear.
        await bucket.putIfNewer(FORGOTTEN_KEY, Buffer.from(String(entry.revision)), entry.revision, (_, bytes) => forgottenUpTo(bytes))
        // Out of the stream: to delete the bucket's key would leave a marker with the customer's name.
        await bucket.forget(entry)
        forgotten = Math.max(forgotten, entry.revision)
      }),
    putClock: async (value) => {
      const key = clockKey(value.tenantId)
      await bucket.putIfNewer(key, signing.sign(key, encodeClockMessage(value)), value.revision, ranked(clockRankOf, -1))
    },
    getClock: (tenantId) =>
      orFeedUnavailable(async () => {
        const key = clockKey(tenantId)
        const entry = await read(key)
        if (entry) await signing.checkLater(key, entry.value)
        return entry && decodeClockMessage(key, entry.value)
      }),
    watch: async (listener) => {
      const onShown = (key: string, sequence: number) => void shown.set(key, sequence)
      const onForgotten = (sequence: number) => {
        forgotten = Math.max(forgotten, sequence)
      }
      const watch = await startWatch({ connection, bucket, signing, tenants: options.tenants, clock, log, faults, onShown, onForgotten, onState }, listener)
      watches.add(watch)
      return watch
    },
    ask: (tenantId, question, timeoutMs) => orFeedUnavailable(() => ask(connection, questionsOf(bucket.name, tenantId), question, timeoutMs)),
    answer: async (handler, onTold) => {
      const asked = [allQuestions(bucket.name), olderQuestions(bucket.name)]
      const onQuestion = (question: Uint8Array, askedAt: string) => handler(question, tenantAsked(bucket.name, askedAt))
      const onStatement = (message: Msg) => passOn(connection, bucket.name, message)
      const stops = asked.map((subject) => answer(connection, subject, onQuestion, faults, onStatement))
      if (onTold) stops.push(hearStatements(connection, bucket.name, onTold, faults))
      return () => {
        for (const stop of stops) stop()
      }
    },
    tell: (tenantId, message) =>
      orFeedUnavailable(async () => {
        connection.publish(tenantId === undefined ? toldToAll(bucket.name) : questionsOf(bucket.name, tenantId), message)
        await connection.flush()
      }),
    sayUsage: (usage) =>
      orFeedUnavailable(async () => {
        const subject = usageSubject(bucket.name, usage)
        connection.publish(subject, signing.sign(subject, encodeUsage(usage)))
        await connection.flush()
      }),
    followUsage: (onUsage) => followUsage({ connection, bucket: bucket.name, signing, faults, log }, onUsage),
    ping: () => orFeedUnavailable(async () => void (await bucket.position())),
    keeper: options.keeps && createKeeper({ bucket, signing, clock, log }),
    close: async () => {
      if (connection.isClosed()) return
      for (const watch of watches) await watch.stop()
      await connection.close()
    },
  }
}
