/**
 * The bytes that a connection sends, gathered until they leave in one write. Small things are written one after another into a
 * block that all connections share; a block is never written to twice, so that what is still on its way stays as it is.
 */
const BLOCK_BYTES = 64 * 1024

const block = { bytes: Buffer.allocUnsafeSlow(BLOCK_BYTES), at: 0 }

export class Output {
  #parts: Buffer[] = []
  /** The offset of the part that is being written into the block; -1 when there is none. */
  #from = -1
  #to = 0
  #block: Buffer = block.bytes

  #length = 0

  get isEmpty(): boolean {
    return this.#length === 0
  }

  /** In bytes. */
  get length(): number {
    return this.#length
  }

  /** The buffer to write to: `at` to begin with, at most `bytes`. Say with `wrote` how far it went. */
  room(bytes: number): Buffer {
    if (block.at + bytes > block.bytes.length) {
      this.#close()
      block.bytes = Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, bytes))
      block.at = 0
    }
    if (this.#from >= 0 && (this.#block !== block.bytes || this.#to !== block.at)) this.#close()
    return block.bytes
  }

  get at(): number {
    return block.at
  }

  wrote(end: number): void {
    if (this.#from < 0) {
      this.#block = block.bytes
      this.#from = block.at
    }
    this.#length += end - block.at
    this.#to = end
    block.at = end
  }

  add(bytes: Buffer): void {
    if (bytes.length > BLOCK_BYTES / 8) {
      this.#close()
      this.#parts.push(bytes)
      this.#length += bytes.length
      return
    }
    const into = this.room(bytes.length)
    const at = this.at
    into.set(bytes, at)
    this.wrote(at + bytes.length)
  }

  /** Everything so far, as one. */
  take(): Buffer {
    this.#close()
    const parts = this.#parts
    this.#parts = []
    this.#length = 0
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
  }

  clear(): void {
    this.#from = -1
    this.#parts = []
    this.#length = 0
  }

  #close(): void {
    if (this.#from < 0) return
    this.#parts.push(this.#block.subarray(this.#from, this.#to))
    this.#from = -1
  }
}
