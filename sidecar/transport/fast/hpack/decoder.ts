/**
 * The decoder of header blocks: RFC 7541, sections 3 to 6. One a connection, since its dynamic table is shared by all
 * streams. What a peer may make it hold is bounded by the table's size and the size of a header list.
 */
import { HpackError } from './hpack-error.ts'
import { decodeHuffman } from './huffman.ts'

/** RFC 7541, section 4.1: what an entry counts besides its name and value. */
const ENTRY_OVERHEAD = 32
/** An integer of more bytes is an attack: five hold 32 bits. */
const MAX_INTEGER_BYTES = 5

export interface Header {
  readonly name: string
  readonly value: string
}

export interface HpackDecoderOptions<T extends Header> {
  /** Makes of a name and a value what the reader of the headers wants. */
  make: (name: string, value: string) => T
  /** The static table (appendix A), made so. */
  staticFields: readonly T[]
  /** The value of our SETTINGS_HEADER_TABLE_SIZE. */
  maxTableBytes: number
  /** The value of our SETTINGS_MAX_HEADER_LIST_SIZE: the sum of the list's entries, counted as in the table. */
  maxListBytes: number
}

const sizeOf = ({ name, value }: Header): number => name.length + value.length + ENTRY_OVERHEAD

export class HpackDecoder<T extends Header> {
  readonly #maxTableBytes: number
  readonly #maxListBytes: number
  readonly #make: (name: string, value: string) => T
  readonly #staticFields: readonly T[]
  /** The newest last; those before `first` are gone. */
  #table: T[] = []
  #first = 0
  #tableBytes = 0
  #limitBytes: number
  #bytes: Uint8Array = new Uint8Array(0)
  #at = 0
  #end = 0

  constructor({ make, staticFields, maxTableBytes, maxListBytes }: HpackDecoderOptions<T>) {
    this.#make = make
    this.#staticFields = staticFields
    this.#maxTableBytes = maxTableBytes
    this.#maxListBytes = maxListBytes
    this.#limitBytes = maxTableBytes
  }

  /**
   * A whole header block. Undefined when the list is longer than allowed: it is read to its end all the same, so that
   * the table stays what the peer thinks it is.
   * @throws HpackError when it cannot be read.
   */
  decode(bytes: Uint8Array, start = 0, end = bytes.length): T[] | undefined {
    this.#bytes = bytes
    this.#at = start
    this.#end = end
    const headers: T[] = []
    let listBytes = 0
    let mayResize = true
    while (this.#at < end) {
      const first = bytes[this.#at] as number
      // Section 6.3: a new size of the table, only at the start of a block.
      if ((first & 0xe0) === 0x20) {
        if (!mayResize) throw new HpackError('the table is resized in the middle of a block')
        this.#resize(this.#integer(5))
        continue
      }
      mayResize = false
      const header = this.#field(first)
      listBytes += sizeOf(header)
      if (listBytes <= this.#maxListBytes) headers.push(header)
      // What is far beyond what was allowed is not worth reading.
      else if (listBytes > 16 * this.#maxListBytes) throw new HpackError('the header list is far too long')
    }
    return listBytes <= this.#maxListBytes ? headers : undefined
  }

  #field(first: number): T {
    // Section 6.1: an indexed field.
    if (first & 0x80) return this.#entry(this.#integer(7))
    // Section 6.2.1: a literal that is added to the table.
    if (first & 0x40) {
      const header = this.#literal(6)
      this.#add(header)
      return header
    }
    // Sections 6.2.2 and 6.2.3: literals that are not.
    return this.#literal(4)
  }

  #literal(prefix: number): T {
    const index = this.#integer(prefix)
    const name = index === 0 ? this.#string() : this.#entry(index).name
    return this.#make(name, this.#string())
  }

  /** Section 2.3.3: the static table, then the dynamic one, its newest first. */
  #entry(index: number): T {
    const fields = this.#staticFields
    if (index >= 1 && index <= fields.length) return fields[index - 1] as T
    const at = this.#table.length - (index - fields.length)
    const header = at >= this.#first && index > 0 ? this.#table[at] : undefined
    if (!header) throw new HpackError(`there is no header field of index ${index}`)
    return header
  }

  #add(header: T): void {
    const size = sizeOf(header)
    this.#evict(this.#limitBytes - size)
    // Section 4.4: one that is larger than the table empties it, and is not kept.
    if (size > this.#limitBytes) return
    this.#table.push(header)
    this.#tableBytes += size
  }

  #evict(toBytes: number): void {
    while (this.#tableBytes > Math.max(0, toBytes)) {
      const oldest = this.#table[this.#first]
      if (!oldest) return
      this.#tableBytes -= sizeOf(oldest)
      this.#first += 1
    }
    // What is gone is let go now and then, for all of it at once.
    if (this.#first < 256) return
    this.#table = this.#table.slice(this.#first)
    this.#first = 0
  }

  #resize(bytes: number): void {
    if (bytes > this.#maxTableBytes) throw new HpackError('the table is made larger than was allowed')
    this.#limitBytes = bytes
    this.#evict(bytes)
  }

  /** Section 5.1. */
  #integer(prefix: number): number {
    const mask = (1 << prefix) - 1
    let value = this.#byte() & mask
    if (value < mask) return value
    for (let shift = 0, count = 0; ; shift += 7, count += 1) {
      if (count >= MAX_INTEGER_BYTES) throw new HpackError('an integer is too large')
      const byte = this.#byte()
      value += (byte & 0x7f) * 2 ** shift
      if ((byte & 0x80) === 0) return value
    }
  }

  /** Section 5.2. */
  #string(): string {
    const isHuffman = ((this.#bytes[this.#at] ?? 0) & 0x80) !== 0
    const length = this.#integer(7)
    const start = this.#at
    const end = start + length
    if (end > this.#end) throw new HpackError('a header string is cut off')
    this.#at = end
    if (isHuffman) return decodeHuffman(this.#bytes, start, end, this.#maxListBytes * 16)
    let text = ''
    for (let at = start; at < end; at += 1) text += String.fromCharCode(this.#bytes[at] as number)
    return text
  }

  #byte(): number {
    if (this.#at >= this.#end) throw new HpackError('the header block is cut off')
    const byte = this.#bytes[this.#at] as number
    this.#at += 1
    return byte
  }
}
