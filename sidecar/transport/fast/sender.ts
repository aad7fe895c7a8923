/** The frames that are sent on streams: at once where the windows allow it, and as they grow otherwise. */
import { SendWindow } from './flow-control.ts'
import { FRAME_HEADER_BYTES, FrameFlag, FrameType, frame, Http2ErrorCode, writeFrameHeader } from './frames.ts'
import { limits } from './limits.ts'
import type { SocketWriter } from './socket-writer.ts'
import type { Stream } from './stream.ts'

/** The keeper of the streams. */
export interface StreamKeeper {
  /** We have sent all of the stream. */
  onSent(stream: Stream): void
  reset(stream: Stream, code: Http2ErrorCode): void
}

export class Sender {
  readonly window = new SendWindow()
  readonly #writer: SocketWriter
  readonly #keeper: StreamKeeper
  readonly #nowMs: () => number
  /** Streams with something to send that waits for a window, or for the peer to read. */
  readonly #waiting = new Set<Stream>()

  constructor(writer: SocketWriter, keeper: StreamKeeper, nowMs: () => number) {
    this.#writer = writer
    this.#keeper = keeper
    this.#nowMs = nowMs
  }

  /** The bytes that wait for a window. */
  get queuedBytes(): number {
    let bytes = 0
    for (const stream of this.#waiting) bytes += stream.queuedBytes
    return bytes
  }

  /** HEADERS, DATA and trailers of a whole answer, in one go where the windows allow it. */
  respond(stream: Stream, headers: Buffer, message: Buffer, trailers: Buffer): void {
    if (stream.localClosed || this.#writer.isClosed) return
    const isSent = this.respondInPlace(stream, headers, trailers, message.length, (into, at) => at + message.copy(into, at))
    if (isSent) return
    this.sendHeaders(stream, headers, false)
    this.sendData(stream, message)
    this.sendTrailers(stream, trailers)
  }

  /**
   * A whole answer, its message written where it is sent from.
   * @param write writes the message at `at`, and says where it ends; -1 when it cannot.
   * @returns false when it could not: nothing is sent, and the stream is as it was.
   */
  respondInPlace(stream: Stream, headers: Buffer, trailers: Buffer, maxBytes: number, write: (into: Buffer, at: number) => number): boolean {
    if (stream.queue.length > 0 || maxBytes > this.window.room(stream)) return false
    const writer = this.#writer
    const into = writer.room(3 * FRAME_HEADER_BYTES + headers.length + maxBytes + trailers.length)
    const data = writeFrameHeader(into, writer.at, headers.length, FrameType.HEADERS, FrameFlag.END_HEADERS, stream.id) + headers.length
    const start = data + FRAME_HEADER_BYTES
    const end = write(into, start)
    if (end < 0) return false
    into.set(headers, data - headers.length)
    writeFrameHeader(into, data, end - start, FrameType.DATA, 0, stream.id)
    const at = writeFrameHeader(into, end, trailers.length, FrameType.HEADERS, FrameFlag.END_HEADERS | FrameFlag.END_STREAM, stream.id)
    into.set(trailers, at)
    writer.wrote(at + trailers.length)
    this.window.sent(stream, end - start)
    stream.localClosed = true
    this.#keeper.onSent(stream)
    return true
  }

  sendHeaders(stream: Stream, block: Buffer, endStream: boolean): void {
    if (stream.localClosed || this.#writer.isClosed) return
    this.#writer.write(frame(FrameType.HEADERS, FrameFlag.END_HEADERS | (endStream ? FrameFlag.END_STREAM : 0), stream.id, block))
    if (!endStream) return
    stream.localClosed = true
    this.#keeper.onSent(stream)
  }

  /** @returns false when it waits for the peer: its handler's `onDrain` tells when there is room. */
  sendData(stream: Stream, bytes: Buffer): boolean {
    if (stream.localClosed || this.#writer.isClosed) return true
    stream.enqueue(bytes)
    this.pump(stream)
    if (stream.queuedBytes > limits.queuedBytes) {
      this.#keeper.reset(stream, Http2ErrorCode.ENHANCE_YOUR_CALM)
      return true
    }
    return stream.queue.length === 0
  }

  sendTrailers(stream: Stream, block: Buffer): void {
    if (stream.localClosed || this.#writer.isClosed) return
    stream.trailers = block
    this.pump(stream)
  }

  /** Sends what is queued as far as the windows go, and then the trailers. */
  pump(stream: Stream): void {
    if (stream.localClosed) return
    while (stream.queue.length > 0) {
      if (this.#writer.isBackedUp) {
        this.#writer.awaitRoom()
        this.#waiting.add(stream)
        return
      }
      const head = stream.queue[0] as (typeof stream.queue)[number]
      const left = head.bytes.length - head.at
      const room = this.window.room(stream)
      if (left > 0 && room <= 0) {
        this.#waiting.add(stream)
        return
      }
      const count = Math.min(left, Math.max(0, room))
      this.#writer.write(frame(FrameType.DATA, 0, stream.id, head.bytes.subarray(head.at, head.at + count)))
      this.window.sent(stream, count)
      stream.queuedBytes -= count
      stream.movedAtMs = this.#nowMs()
      head.at += count
      if (head.at === head.bytes.length) stream.queue.shift()
    }
    this.#waiting.delete(stream)
    if (stream.trailers) {
      const block = stream.trailers
      stream.trailers = undefined
      this.sendHeaders(stream, block, true)
      return
    }
    stream.handler?.onDrain()
  }

  pumpWaiting(): void {
    for (const stream of [...this.#waiting]) {
      // The others wait for more of the same.
      if (this.window.isClosed) return
      this.pump(stream)
    }
  }

  forget(stream: Stream): void {
    this.#waiting.delete(stream)
  }

  clear(): void {
    this.#waiting.clear()
  }
}
