/** The windows of a connection and of its streams: RFC 9113, section 6.9. */
import { ConnectionError, Http2ErrorCode, StreamError } from './frames.ts'
import { limits } from './limits.ts'
import type { Stream } from './stream.ts'

export const DEFAULT_WINDOW = 65_535
const MAX_WINDOW = 2 ** 31 - 1
const [LEAST_FRAME_BYTES, MOST_FRAME_BYTES] = [16_384, 2 ** 24 - 1]
/** The share of the connection's window at which bytes that have been read are given back. */
const OWED_SHARE = 1 / 4

/** The bytes that the peer may send. */
export class ReceiveWindow {
  #left: number = limits.connectionWindow
  /** Bytes that have been read, and not given back yet. */
  #owed = 0

  /** Bytes that the peer has sent, and nobody has read. */
  get heldBytes(): number {
    return limits.connectionWindow - this.#left
  }

  /** @throws ConnectionError when it is more than the peer may send. */
  take(bytes: number): void {
    this.#left -= bytes
    if (this.#left < 0) throw new ConnectionError(Http2ErrorCode.FLOW_CONTROL_ERROR, 'more than the window of the connection')
  }

  /** @throws StreamError when it is more than the peer may send. */
  takeOf(stream: Stream, bytes: number): void {
    stream.receiveWindow -= bytes
    if (stream.receiveWindow < 0) throw new StreamError(stream.id, Http2ErrorCode.FLOW_CONTROL_ERROR, 'more than the window of the stream')
  }

  /** So much has been read. @returns by how much the peer is to be told that the window grows; 0 while that is not worth a frame. */
  giveBack(bytes: number): number {
    this.#left += bytes
    this.#owed += bytes
    if (this.#owed < limits.connectionWindow * OWED_SHARE) return 0
    const owed = this.#owed
    this.#owed = 0
    return owed
  }
}

/** The bytes that the peer accepts. */
export class SendWindow {
  #left = DEFAULT_WINDOW
  #frameBytes = LEAST_FRAME_BYTES
  /** The window of a new stream. */
  #initial = DEFAULT_WINDOW
  /** WINDOW_UPDATE frames that the peer has good reason for: of the stream and of the connection, for each DATA that it was sent. */
  #credit = 0

  get initial(): number {
    return this.#initial
  }

  get isClosed(): boolean {
    return this.#left <= 0
  }

  /** How much may be sent in one frame now. */
  room(stream: Stream): number {
    return Math.min(this.#left, stream.sendWindow, this.#frameBytes)
  }

  /** A frame of DATA takes of both windows, and may be answered by an update of each. */
  sent(stream: Stream, bytes: number): void {
    this.#left -= bytes
    stream.sendWindow -= bytes
    this.#credit += 2
  }

  /** @returns whether an update was to be expected. */
  spendCredit(): boolean {
    if (this.#credit === 0) return false
    this.#credit -= 1
    return true
  }

  /** @throws ConnectionError when it becomes too large, or grows by nothing. */
  grow(increment: number): void {
    if (increment === 0) throw new ConnectionError(Http2ErrorCode.PROTOCOL_ERROR, 'a window grows by something')
    this.#left += increment
    if (this.#left > MAX_WINDOW) throw new ConnectionError(Http2ErrorCode.FLOW_CONTROL_ERROR, 'the window is too large')
  }

  /** @throws StreamError when it becomes too large. */
  growOf(stream: Stream, increment: number): void {
    stream.sendWindow += increment
    if (stream.sendWindow > MAX_WINDOW) throw new StreamError(stream.id, Http2ErrorCode.FLOW_CONTROL_ERROR, 'the window is too large')
  }

  /** Section 6.9.2: streams that run are moved by the difference, below zero if it comes to that. @throws ConnectionError. */
  setInitial(value: number, streams: readonly Stream[]): void {
    if (value > MAX_WINDOW) throw new ConnectionError(Http2ErrorCode.FLOW_CONTROL_ERROR, 'the window is too large')
    const difference = value - this.#initial
    this.#initial = value
    for (const stream of streams) {
      stream.sendWindow += difference
      if (stream.sendWindow > MAX_WINDOW) throw new ConnectionError(Http2ErrorCode.FLOW_CONTROL_ERROR, 'a window is too large')
    }
  }

  /** @throws ConnectionError. */
  setFrameBytes(value: number): void {
    if (value < LEAST_FRAME_BYTES || value > MOST_FRAME_BYTES) throw new ConnectionError(Http2ErrorCode.PROTOCOL_ERROR, 'MAX_FRAME_SIZE is out of range')
    this.#frameBytes = value
  }
}
