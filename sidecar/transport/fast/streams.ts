/** The streams of a connection: which are open, which have ended lately, and which never were (RFC 9113, section 5.1). */
import { EndedStreams } from './ended-streams.ts'
import { ConnectionError, Http2ErrorCode, StreamError } from './frames.ts'
import type { Stream } from './stream.ts'
import { StreamTable } from './stream-table.ts'

export class Streams {
  readonly #open = new StreamTable()
  readonly #ended = new EndedStreams()
  #lastId = 0

  get size(): number {
    return this.#open.size
  }

  /** The last id of the streams that the peer has opened. */
  get lastId(): number {
    return this.#lastId
  }

  get(id: number): Stream | undefined {
    return this.#open.get(id)
  }

  values(): Stream[] {
    return this.#open.values()
  }

  /** The peer has opened a stream of this id. @returns false when what it sent is late, and read over. @throws ConnectionError when it may not. */
  begin(id: number): boolean {
    if (id > this.#lastId) {
      this.#lastId = id
      return true
    }
    if (this.#ended.hasByUs(id)) return false
    throw new ConnectionError(this.#ended.hasByPeer(id) ? Http2ErrorCode.STREAM_CLOSED : Http2ErrorCode.PROTOCOL_ERROR, 'the stream is not new')
  }

  add(stream: Stream): void {
    this.#open.add(stream)
  }

  has(stream: Stream): boolean {
    return this.#open.get(stream.id) === stream
  }

  /** It has ended: what still comes for it is late, or wrong. */
  delete(stream: Stream): void {
    this.#open.delete(stream)
    this.#ended.add(stream.id, stream.remoteClosed)
  }

  /** Like `delete`, for a stream that was refused before it was open. */
  refuse(id: number): void {
    this.#ended.add(id, false)
  }

  clear(): void {
    this.#open.clear()
  }

  /** @throws ConnectionError for a stream that was never opened. */
  mustNotBeIdle(id: number): void {
    if (id % 2 === 0 || id > this.#lastId) throw new ConnectionError(Http2ErrorCode.PROTOCOL_ERROR, 'the stream is idle')
  }

  /** Something has come for a stream that takes no more. @returns true when it is to be read over. @throws ConnectionError, or StreamError, when it is wrong. */
  isLate(id: number): boolean {
    if (this.#open.get(id) === undefined && this.#ended.hasByUs(id)) return true
    if (this.#open.get(id) || this.#ended.hasByPeer(id)) throw new StreamError(id, Http2ErrorCode.STREAM_CLOSED, 'the stream is closed')
    throw new ConnectionError(Http2ErrorCode.STREAM_CLOSED, 'the stream is closed')
  }
}
