/**
 * The key-value bucket: its making, and reading and writing single keys. Uses only what nats-server 2.9 has.
 *
 * Readers bind to a bucket and never make one: an empty bucket would say of every customer that there is none.
 */
import { JetStreamApiCodes, JetStreamApiError, type JetStreamManager, jetstream, jetstreamManager, type StreamInfo } from '@nats-io/jetstream'
import { type KvEntry, Kvm } from '@nats-io/kv'
import { type NatsConnection, RequestError } from '@nats-io/transport-node'
import { AppError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { isServerFrom, REQUEST_TIMEOUT_MS, unavailable } from './connection.ts'
import { type Follow, followAll } from './follow.ts'
import { followKeys } from './follow-keys.ts'
import { streamOf, subjectOfKey } from './names.ts'
import { keysOfTenants } from './permissions.ts'
import { askByProbe, type Position } from './position.ts'
import { withTraceHeader } from './trace-header.ts'

/** A writer loses a race only to another writer of the same customer; this many in a row is a fault. */
const MAX_PUT_TRIES = 20
/** JetStream's "message size exceeds maximum allowed": the bucket's own limit. */
const TOO_LARGE = 10054
const WRONG_LAST_SEQUENCE = 10071

/**
 * In a replicated bucket, servers before this one check the sequence that an update expects against what is stored, not
 * against what is on its way there: two updates at the same moment may both be told that they won. 2.9.10 does so in a
 * fifth of races of ten; 2.10.29, 2.11.10 and 2.12.1 in none.
 */
const SETS_AS_ONE = [2, 10] as const

/** How control planes make it. What is left out stays as it is. */
export interface BucketShape {
  /** The number of servers that each hold the whole bucket. */
  replicas?: number | undefined
  placement?: { cluster?: string | undefined; tags?: string[] | undefined } | undefined
}

export interface Bucket {
  readonly name: string
  /** It is read for some tenants alone, by what a user of theirs may ask for (`permissions.ts`). */
  readonly isNarrow: boolean
  /** Delivers the bucket's changes. */
  follow: Follow
  /**
   * The last value; null when there is none. From the server that leads, none behind it is asked; but a narrow one asks any,
   * and whoever has seen more asks again.
   */
  get(key: string): Promise<KvEntry | null>
  /** @returns its sequence. */
  put(key: string, bytes: Uint8Array): Promise<number>
  /** @param after the sequence of what it replaces; 0: there is nothing. @returns its sequence; undefined when another was first. */
  putAfter(key: string, bytes: Uint8Array, after: number): Promise<number | undefined>
  /** Keeps what has the higher rank, whatever the order in which writers arrive. @returns whether it was stored. */
  putIfNewer(key: string, bytes: Uint8Array, newRank: number, rankAt: (key: string, bytes: Uint8Array) => number): Promise<boolean>
  /**
   * Takes everything under keys, which end in `>`, out of the stream. Only for a bucket that is filled again: consumers of
   * nats-server 2.9.10 then skip everything else that they had still to deliver (nats-io/nats-server#3838).
   */
  purge(keys: string): Promise<void>
  /** Takes this entry and its key out of the stream, and erases both on the server's disk. A newer entry of the key stays. */
  forget(entry: KvEntry): Promise<void>
  /** It is replicated, by servers that do not compare and set as one (`SETS_AS_ONE`). */
  mayReorder(): boolean
  /** For control planes: creates the bucket if it is gone, and applies the requested settings. */
  reshape(): Promise<void>
  /** @param atLeast where it is known to have been. @throws AppError `unavailable`, also when it is gone. */
  position(atLeast?: number): Promise<Position>
}

export interface BucketOptions {
  name: string
  /** For control planes: the bucket is created if it does not exist. */
  make?: BucketShape | undefined
  /** The tenants that this reader is limited to; undefined: all. */
  tenants?: readonly string[] | undefined
  /** Under which answers come; the usual one without. */
  inboxPrefix?: string | undefined
  /** Where JetStream is asked; the usual place without. */
  apiPrefix?: string | undefined
  log: Log
}

/** It has been written, and not taken away. */
export const live = (entry: KvEntry | null): entry is KvEntry => entry !== null && entry.operation === 'PUT'

/** JetStream's "wrong last sequence": someone else wrote the key since it was read. */
const isLostRace = (error: unknown): boolean =>
  error instanceof Error && ('code' in error && error.code === WRONG_LAST_SEQUENCE ? true : /wrong last sequence/i.test(error.message))

const isTooLarge = (error: unknown): boolean =>
  (error instanceof JetStreamApiError && error.code === TOO_LARGE) || (error instanceof Error && /max_payload/.test(error.message))

const isGone = (error: unknown): boolean =>
  (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound) || (error instanceof Error && error.message === 'stream not found')

/** The server is there, and has no such bucket. */
export class NoBucketError extends AppError {
  constructor(name: string, options?: ErrorOptions) {
    const why = 'check the name, or start a control plane, which creates it'
    super('unavailable', `NATS_BUCKET: this NATS server has no bucket ${JSON.stringify(name)}: ${why}`, [], options)
  }
}

const replicasOf = ({ config }: StreamInfo): number => config.num_replicas

/**
 * Makes the bucket if it is not there, and gives it the shape that is asked for. Of several servers only the one that
 * leads is read: another may be behind, and a reader would go back behind what its watch has shown.
 */
const shapeBucket = async (
  connection: NatsConnection,
  asks: { manager: JetStreamManager; kvm: Kvm },
  name: string,
  shape: BucketShape,
  log: Log,
): Promise<void> => {
  const { manager, kvm } = asks
  const { replicas, placement } = shape
  const found = await manager.streams.info(streamOf(name)).catch((error: unknown) => {
    if (isGone(error)) return undefined
    throw error
  })
  if (!found) {
    // Users who read some tenants alone can be allowed no other reads than direct ones.
    const made = { history: 1, allow_direct: true, ...(replicas ? { replicas } : {}), ...(placement ? { placement } : {}) }
    await kvm.create(name, made as Parameters<Kvm['create']>[1])
    log.warn({ bucket: name, replicas: replicas ?? 1 }, 'feed: the bucket did not exist and was created')
  } else {
    const wanted = replicas ?? replicasOf(found)
    if (replicasOf(found) !== wanted || found.config.allow_direct !== true) {
      await manager.streams.update(streamOf(name), { ...found.config, num_replicas: wanted, allow_direct: true, ...(placement ? { placement } : {}) } as never)
      log.info({ bucket: name, replicas: wanted }, 'feed: the settings of the bucket were changed')
    }
  }
  if (connection.info?.cluster !== undefined && (replicas ?? (found ? replicasOf(found) : 1)) === 1)
    log.warn({ bucket: name }, 'feed: the bucket is on only one server of the cluster; if that server fails, nothing can be published (set NATS_REPLICAS)')
}

/** @throws AppError `unavailable`. */
export const openBucket = async (connection: NatsConnection, options: BucketOptions): Promise<Bucket> => {
  const { name, make, tenants, inboxPrefix, log } = options
  const asked = { timeout: REQUEST_TIMEOUT_MS, checkAPI: false, ...(options.apiPrefix ? { apiPrefix: options.apiPrefix } : {}) }
  const isNarrow = tenants !== undefined && make === undefined
  const manager = await jetstreamManager(connection, asked)
  const kvm = new Kvm(withTraceHeader(jetstream(connection, asked)))
  const direct = await kvm.open(name, { allow_direct: true })
  const kv = await kvm.open(name, { allow_direct: false })
  const reshape = async () => {
    if (make) await shapeBucket(connection, { manager, kvm }, name, make, log)
  }
  let [isReplicated, allowsDirect] = [false, false]
  /** A server that is by itself answers a direct read too, and sooner. In a cluster one that is behind may. */
  const isDirect = () => allowsDirect && connection.info?.cluster === undefined
  const info = async (): Promise<StreamInfo> => {
    const found = await manager.streams.info(streamOf(name))
    isReplicated = replicasOf(found) > 1
    allowsDirect = found.config.allow_direct === true
    return found
  }
  const position = async (atLeast = 0): Promise<Position> => {
    try {
      if (isNarrow) return await askByProbe(manager, name, atLeast)
      const { created, state } = await info()
      return { created, lastSequence: state.last_seq }
    } catch (error) {
      throw isGone(error) ? new NoBucketError(name, { cause: error }) : unavailable(error)
    }
  }
  await reshape()
  await position()
  const isOld = !isServerFrom(connection, SETS_AS_ONE)
  if (make && isReplicated && isOld)
    log.warn({ server: connection.info?.version }, 'feed: compare-and-set is not atomic in a replicated bucket on this nats-server; use 2.10 or later')

  const getNarrow = async (key: string): Promise<KvEntry | null> => {
    try {
      return await direct.get(key)
    } catch (error) {
      if (!(error instanceof RequestError && error.isNoResponders())) throw error
      throw new AppError('unavailable', 'the bucket cannot be read directly: it is gone, or no control plane of this version has run yet', [], {
        cause: error,
      })
    }
  }
  const get = async (key: string): Promise<KvEntry | null> => {
    if (isNarrow) return getNarrow(key)
    if (!isDirect()) return kv.get(key)
    try {
      return await direct.get(key)
    } catch (error) {
      // The bucket may be gone, or another one: the leader says which.
      const entry = await kv.get(key)
      await position()
      if (isDirect() && entry === null) throw error
      return entry
    }
  }
  const putAfter = async (key: string, bytes: Uint8Array, after: number): Promise<number | undefined> => {
    try {
      return after > 0 ? await kv.update(key, bytes, after) : await kv.create(key, bytes)
    } catch (error) {
      if (isLostRace(error)) return undefined
      if (isTooLarge(error)) throw new AppError('set_too_large', `the feed does not take a message of ${bytes.length} bytes`, [], { cause: error })
      throw unavailable(error)
    }
  }

  return {
    name,
    isNarrow,
    follow: isNarrow ? followKeys({ connection, manager, inboxPrefix, bucket: name, keys: keysOfTenants(tenants) }) : followAll(kv),
    get,
    put: (key, bytes) => kv.put(key, bytes),
    putAfter,
    putIfNewer: async (key, bytes, newRank, rankAt) => {
      for (let tries = 0; tries < MAX_PUT_TRIES; tries += 1) {
        let entry: KvEntry | null
        try {
          entry = await get(key)
        } catch (error) {
          throw unavailable(error)
        }
        if (live(entry) && rankAt(key, entry.value) >= newRank) return false
        if ((await putAfter(key, bytes, live(entry) ? entry.revision : 0)) !== undefined) return true
      }
      throw unavailable(new Error(`${MAX_PUT_TRIES} lost races on one key`))
    },
    purge: async (keys) => {
      await manager.streams.purge(streamOf(name), { filter: subjectOfKey(name, keys) })
    },
    forget: async ({ key, revision }) => {
      try {
        await manager.streams.deleteMessage(streamOf(name), revision)
      } catch (error) {
        // Something newer has taken its place, or another process was first.
        if ((await get(key))?.revision === revision) throw error
      }
    },
    mayReorder: () => isReplicated && isOld,
    position,
    reshape,
  }
}
