/** A stream as its connection keeps it: RFC 9113, section 5.1. */
import type { Field } from './request-headers.ts'

/** Something to send that waits for a window. */
export interface PendingBytes {
  bytes: Buffer
  at: number
}

/** The server of a stream's request. What it throws is a fault of ours with this one stream. */
export interface StreamHandler {
  /** The rest of the request may take as long as it likes: it is a stream of messages. */
  readonly isOpenEnded: boolean
  /** The request came whole in one frame, and lies there. @returns false to be told of it by `onData`, as of any other. */
  onWhole(bytes: Buffer, start: number, end: number): boolean
  /** More of the request has come, or its end. */
  onData(): void
  /** The stream ended before its answer did. */
  onReset(): void
  /** The bytes that were to be sent have left: there is room for more. */
  onDrain(): void
}

/** Nearly no stream has any of either: nobody writes to these. */
const noChunks = Object.freeze([]) as unknown as Buffer[]
const noQueue = Object.freeze([]) as unknown as PendingBytes[]

/** A class, so that V8 does not take it for something that lasts, as a watch does: nearly all go at once. */
export class Stream {
  readonly id: number
  headers: Field[]
  /** The length by the `content-length` header; what has come so far has to be that in the end. */
  contentLength: number | undefined
  received = 0
  /** DATA that is not read yet; `addChunk` adds to it. */
  chunks: Buffer[] = noChunks
  /** In bytes. */
  chunkBytes = 0
  /** Bytes of DATA that must have arrived before it is worth reading on. */
  neededBytes = 0
  /** The peer has sent all. */
  remoteClosed = false
  /** We have sent all, or will when what is queued is sent. */
  localClosed = false
  sendWindow: number
  /** The bytes that the peer may still send. */
  receiveWindow: number
  queue: PendingBytes[] = noQueue
  queuedBytes = 0
  /** Sent after the queue: the trailers that end the stream. */
  trailers: Buffer | undefined = undefined
  /** The time when it last made progress. */
  movedAtMs: number
  handler: StreamHandler | undefined = undefined

  constructor(id: number, headers: Field[], contentLength: number | undefined, sendWindow: number, receiveWindow: number, nowMs: number) {
    this.id = id
    this.headers = headers
    this.contentLength = contentLength
    this.sendWindow = sendWindow
    this.receiveWindow = receiveWindow
    this.movedAtMs = nowMs
  }

  addChunk(bytes: Buffer): void {
    if (this.chunks.length === 0) this.chunks = [bytes]
    else this.chunks.push(bytes)
    this.chunkBytes += bytes.length
  }

  /** The chunks that have not been read yet; from here on they have. */
  takeChunks(): Buffer[] {
    const { chunks } = this
    this.chunks = noChunks
    this.chunkBytes = 0
    this.neededBytes = 0
    return chunks
  }

  /** The bytes that have not been read yet, in one piece; they stay unread. */
  joined(): Buffer {
    return this.chunks.length === 1 ? (this.chunks[0] as Buffer) : Buffer.concat(this.chunks)
  }

  /** @param rest what of it is not read. @param neededBytes how much there has to be before it is worth reading on. */
  keep(rest: Buffer, neededBytes: number): void {
    this.chunks = rest.length > 0 ? [rest] : noChunks
    this.chunkBytes = rest.length
    this.neededBytes = neededBytes
  }

  enqueue(bytes: Buffer): void {
    if (this.queue.length === 0) this.queue = [{ bytes, at: 0 }]
    else this.queue.push({ bytes, at: 0 })
    this.queuedBytes += bytes.length
  }
}
