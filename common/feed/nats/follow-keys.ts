/**
 * Some keys of a bucket, each by a consumer of its own. A server can allow a consumer by its filter only if it has one, and
 * that in the subject of the request; so a user who reads two tenants has a consumer for each, and for each key of the bucket.
 *
 * Several consumers keep no order among each other: a beat says nothing of what another consumer has still to deliver. That
 * it has nothing left, each says in heartbeats. What was known to be stored a heartbeat before has been delivered then.
 */
import { AckPolicy, DeliverPolicy, type JetStreamManager } from '@nats-io/jetstream'
import { createInbox, type Msg, type NatsConnection, nanos, nuid } from '@nats-io/transport-node'
import type { Follow, FollowedEntry, FollowHandlers } from './follow.ts'
import { keyOfSubject, streamOf, subjectOfKey } from './names.ts'
import { traceparentIn } from './trace-header.ts'

const HEARTBEAT_MS = 1_000
/** So many heartbeats that do not come are a consumer that is gone. */
const MISSED_HEARTBEATS = 4
/** A consumer without a reader is taken away by the server after so long. */
const INACTIVE_MS = 5_000
/**
 * Consumers run by themselves, in a cluster on servers of their own, each of which may be behind for a moment. Another one
 * begins where everything had been stored for so long when this one said, last, that it had nothing left.
 */
const STABLE_AFTER_MS = 30_000
const WATCHDOG_MS = 500

interface Parts {
  connection: NatsConnection
  manager: JetStreamManager
  /** Under which this user may listen; the usual one without. */
  inboxPrefix: string | undefined
  bucket: string
  /** Keys, or keys that end in `>`. */
  keys: readonly string[]
}

/** Parses the subject on which a message would be acknowledged: `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>`. */
const deliveryOf = (message: Msg): { sequence: number; count: number; pending: number } => {
  const parts = message.reply?.split('.') ?? []
  // Where there is a domain or several accounts, two more come after `$JS.ACK`, and one at the end.
  const at = parts.length > 9 ? 2 : 0
  const [sequence = Number.NaN, count = Number.NaN, , pending = Number.NaN] = parts.slice(5 + at).map(Number)
  return { sequence, count, pending }
}

const operationOf = (message: Msg): FollowedEntry['operation'] => (message.headers?.get('KV-Operation') || 'PUT') as FollowedEntry['operation']

interface Follower {
  /** Everything of this key up to this sequence has been delivered. */
  deliveredTo(): number
  resumeAfter(): number
  isAlive(): boolean
  stop(): void
}

/** Shared by several followers: the last sequence that the stream is known to have. */
interface Known {
  sequence: number
}

const followKey = async (
  { connection, manager, inboxPrefix, bucket }: Parts,
  key: string,
  from: Parameters<Follow>[0],
  known: Known,
  handlers: FollowHandlers,
): Promise<Follower> => {
  let [received, lastSeen, deliveredTo, knownBefore] = [0, from.after, from.after, from.lastSequence]
  /** The known sequence at two moments at which nothing was left to deliver; the earlier was long enough before the later. */
  let [stable, candidate] = [from.after, { sequence: from.after, atMs: performance.now() }]
  let heardMs = performance.now()

  const onMessage = (message: Msg) => {
    const { sequence, count, pending } = deliveryOf(message)
    if (count !== received + 1) {
      handlers.onEnd(new Error(`feed: a consumer's message ${count} came after its message ${received}`))
      return
    }
    received = count
    lastSeen = sequence
    deliveredTo = Math.max(deliveredTo, sequence, pending === 0 ? from.lastSequence : 0)
    known.sequence = Math.max(known.sequence, sequence)
    handlers.onEntry({
      key: keyOfSubject(bucket, message.subject),
      value: message.data,
      revision: sequence,
      operation: operationOf(message),
      traceparent: traceparentIn(message.headers),
    })
    handlers.onProgress()
  }
  const onHeartbeat = (message: Msg) => {
    const stalled = message.headers?.get('Nats-Consumer-Stalled')
    if (stalled) connection.publish(stalled)
    // It waits for us, or what it has sent is still on its way.
    if (stalled || Number(message.headers?.get('Nats-Last-Consumer')) !== received) return
    deliveredTo = Math.max(deliveredTo, knownBefore)
    knownBefore = known.sequence
    if (performance.now() - candidate.atMs >= STABLE_AFTER_MS) {
      stable = candidate.sequence
      candidate = { sequence: known.sequence, atMs: performance.now() }
    }
    handlers.onProgress()
  }

  const inbox = createInbox(inboxPrefix)
  const subscription = connection.subscribe(inbox, {
    callback: (error, message) => {
      if (error) {
        handlers.onEnd(error)
        return
      }
      heardMs = performance.now()
      if (message.subject !== inbox) onMessage(message)
      // Flow control asks for an answer when everything before it has been taken.
      else if (message.reply) message.respond()
      else if (message.headers?.code === 100) onHeartbeat(message)
      else handlers.onEnd(new Error(`feed: a consumer has ended: ${message.headers?.description}`))
    },
  })
  try {
    const made = await manager.consumers.add(streamOf(bucket), {
      name: nuid.next(),
      filter_subject: subjectOfKey(bucket, key),
      deliver_subject: inbox,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: from.after + 1,
      ack_policy: AckPolicy.None,
      max_deliver: 1,
      mem_storage: true,
      num_replicas: 1,
      flow_control: true,
      idle_heartbeat: nanos(HEARTBEAT_MS),
      inactive_threshold: nanos(INACTIVE_MS),
    })
    if (made.num_pending === 0) deliveredTo = Math.max(deliveredTo, from.lastSequence)
  } catch (error) {
    subscription.unsubscribe()
    throw error
  }
  return {
    deliveredTo: () => deliveredTo,
    resumeAfter: () => Math.max(lastSeen, stable),
    isAlive: () => performance.now() - heardMs < MISSED_HEARTBEATS * HEARTBEAT_MS,
    stop: () => subscription.unsubscribe(),
  }
}

export const followKeys =
  (parts: Parts): Follow =>
  async (from, handlers) => {
    const known: Known = { sequence: from.lastSequence }
    let ended = false
    const end = (error?: unknown) => {
      if (ended) return
      ended = true
      handlers.onEnd(error)
    }
    const own: FollowHandlers = {
      onEntry: (entry) => ended || handlers.onEntry(entry),
      onProgress: () => ended || handlers.onProgress(),
      onEnd: end,
    }
    const begun = await Promise.allSettled(parts.keys.map((key) => followKey(parts, key, from, known, own)))
    const followers = begun.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    const failed = begun.find((one) => one.status === 'rejected')
    const stop = () => {
      ended = true
      for (const follower of followers) follower.stop()
    }
    if (failed) {
      stop()
      throw failed.reason
    }
    const watchdog = setInterval(() => {
      if (followers.some((follower) => !follower.isAlive())) end(new Error('feed: a consumer has stopped sending'))
    }, WATCHDOG_MS)
    watchdog.unref()
    return {
      deliveredTo: () => Math.min(...followers.map((follower) => follower.deliveredTo())),
      resumeAfter: () => Math.min(...followers.map((follower) => follower.resumeAfter())),
      reached: (sequence) => {
        known.sequence = Math.max(known.sequence, sequence)
      },
      stop: () => {
        clearInterval(watchdog)
        stop()
      },
    }
  }
