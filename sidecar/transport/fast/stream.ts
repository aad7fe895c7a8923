/** A stream as its connection keeps it: RFC 9113, section 5.1. */
import type { Field } from './request-headers.ts'

/** Something to send that waits for a window. */
export interface Queued {
  bytes: Buffer
  at: number
}

export interface Stream {
  readonly id: number
  headers: Field[]
  /** By the `content-length` header; what has come so far has to be that in the end. */
  contentLength: number | undefined
  received: number
  /** DATA that is not read yet. */
  chunks: Buffer[]
  /** In bytes. */
  chunkBytes: number
  /** Of DATA, before it is worth reading on. */
  neededBytes: number
  /** The peer has sent all. */
  remoteClosed: boolean
  /** We have sent all, or will when what is queued is sent. */
  localClosed: boolean
  sendWindow: number
  /** What the peer may still send. */
  receiveWindow: number
  queue: Queued[]
  queuedBytes: number
  /** Sent after the queue: the trailers that end the stream. */
  trailers: Buffer | undefined
  /** When it last got on. */
  movedAtMs: number
  /** Whoever serves the request keeps here what it knows of it. */
  context: unknown
  /** Told of a request that came whole in one frame, where its bytes lie; false leaves it to `onData`. */
  onWhole: ((stream: Stream, bytes: Buffer, start: number, end: number) => boolean) | undefined
  onData: ((stream: Stream) => void) | undefined
  onReset: (() => void) | undefined
  onDrain: (() => void) | undefined
}
