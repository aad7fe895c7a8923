/**
 * Delivers the changes of a bucket to a watch. A reader of everything has one ordered consumer. A reader of some tenants has
 * one consumer per filter (`follow-keys.ts`), since a server can allow or refuse only that.
 */
import type { KV, KvWatchEntry } from '@nats-io/kv'
import type { MsgHdrs } from '@nats-io/transport-node'
import { currentTracer } from '../../tracing.ts'
import { traceparentIn } from './trace-header.ts'

export interface FollowedEntry extends Pick<KvWatchEntry, 'key' | 'value' | 'revision' | 'operation'> {
  /** The trace of its publication, if it has one and traces are exported. */
  traceparent?: string | undefined
}

export interface FollowFrom {
  /** Entries after this sequence are delivered, */
  after: number
  /** and this was the stream's last when it was asked. */
  lastSequence: number
}

export interface FollowHandlers {
  onEntry(entry: FollowedEntry): void
  /** `deliveredTo` may have grown. */
  onProgress(): void
  /** It delivers nothing any more, and has to be begun again. */
  onEnd(error?: unknown): void
}

export interface Following {
  /** Everything up to this sequence, of what is followed, has been delivered. */
  deliveredTo(): number
  /** After which another one has to begin so that nothing is missed; what came since may be delivered again. */
  resumeAfter(): number
  /** A sequence that the stream has reached: `deliveredTo` grows to it when all before it has been delivered. */
  reached(sequence: number): void
  stop(): void
}

/** @throws Error when it cannot begin. */
export type Follow = (from: FollowFrom, handlers: FollowHandlers) => Promise<Following>

/** The library keeps the message within the entry, and tells nobody. */
const headersOf = (entry: KvWatchEntry): MsgHdrs | undefined => (entry as { sm?: { headers?: MsgHdrs } }).sm?.headers

/** Everything, in the order of storing, by one consumer: who is delivered a message has been delivered all before it. */
export const followAll =
  (kv: KV): Follow =>
  async ({ after }, { onEntry, onProgress, onEnd }) => {
    let seen = after
    const iterator = await kv.watch({ key: '>', resumeFromRevision: after + 1 })
    let stopped = false
    const read = async () => {
      for await (const entry of iterator) {
        if (stopped) return
        seen = Math.max(seen, entry.revision)
        const { key, value, revision, operation } = entry
        onEntry(currentTracer() ? { key, value, revision, operation, traceparent: traceparentIn(headersOf(entry)) } : entry)
        onProgress()
      }
    }
    // It ends by itself only when its consumer or the bucket is gone.
    read().then(
      () => stopped || onEnd(),
      (error: unknown) => stopped || onEnd(error),
    )
    return {
      deliveredTo: () => seen,
      resumeAfter: () => seen,
      reached: () => {},
      stop: () => {
        stopped = true
        iterator.stop()
      },
    }
  }
