/** Bytes as they come, cut into frames (RFC 9113, sections 3.4 and 4.1). What a frame means is for its listener. */
import { ConnectionError, FRAME_HEADER_BYTES, Http2ErrorCode } from './frames.ts'
import { limits } from './limits.ts'

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

export interface FrameListener {
  /** A frame has come; its payload lies in `bytes` from `start` to `end`. @returns false to have no more. */
  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): boolean
}

export class FrameReader {
  readonly #listener: FrameListener
  /** The beginning of a frame whose rest has not come. */
  #pending: Buffer | undefined
  #isPrefaceRead = false

  constructor(listener: FrameListener) {
    this.#listener = listener
  }

  get pendingBytes(): number {
    return this.#pending?.length ?? 0
  }

  /** @returns whether anything came to its end. @throws ConnectionError, and what the listener throws. */
  read(chunk: Buffer): boolean {
    const bytes = this.#pending ? Buffer.concat([this.#pending, chunk]) : chunk
    this.#pending = undefined
    const rest = this.#readFrames(bytes)
    if (rest < bytes.length) this.#pending = bytes.subarray(rest)
    return rest > 0
  }

  clear(): void {
    this.#pending = undefined
  }

  /** @returns where the first frame begins that is not complete. */
  #readFrames(bytes: Buffer): number {
    let at = 0
    if (!this.#isPrefaceRead) {
      const had = Math.min(bytes.length, PREFACE.length)
      if (!bytes.subarray(0, had).equals(PREFACE.subarray(0, had)))
        throw new ConnectionError(Http2ErrorCode.PROTOCOL_ERROR, 'the connection does not begin with the HTTP/2 preface')
      if (bytes.length < PREFACE.length) return 0
      this.#isPrefaceRead = true
      at = PREFACE.length
    }
    let goesOn = true
    while (goesOn && at + FRAME_HEADER_BYTES <= bytes.length) {
      const length = bytes.readUIntBE(at, 3)
      if (length > limits.frameBytes) throw new ConnectionError(Http2ErrorCode.FRAME_SIZE_ERROR, 'the frame is larger than was allowed')
      const end = at + FRAME_HEADER_BYTES + length
      if (end > bytes.length) break
      const streamId = bytes.readUInt32BE(at + 5) & 0x7fffffff
      goesOn = this.#listener.onFrame(bytes[at + 3] as number, bytes[at + 4] as number, streamId, bytes, at + FRAME_HEADER_BYTES, end)
      at = end
    }
    return at
  }
}
