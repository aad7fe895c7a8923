/** A header block that comes in several frames (RFC 9113, section 6.10): nothing else may come before it is complete. */
import { ConnectionError, Http2ErrorCode } from './frames.ts'
import { limits } from './limits.ts'

export class HeaderBlock {
  readonly streamId: number
  /** The flags of its first frame. */
  readonly flags: number
  readonly #parts: Buffer[]
  #bytes: number

  constructor(streamId: number, flags: number, first: Buffer) {
    this.streamId = streamId
    this.flags = flags
    this.#parts = [first]
    this.#bytes = first.length
  }

  /** @throws ConnectionError when it is too long. */
  add(part: Buffer): void {
    this.#parts.push(part)
    this.#bytes += part.length
    if (this.#bytes > limits.headerBlockBytes || this.#parts.length > limits.continuations + 1) {
      throw new ConnectionError(Http2ErrorCode.ENHANCE_YOUR_CALM, 'the header block does not end')
    }
  }

  whole(): Buffer {
    return Buffer.concat(this.#parts)
  }
}
