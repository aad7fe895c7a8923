/** Reads sets from a ring: in the thread that writes it, or in another. */
import type { CustomerKey, EntitlementSet } from '../../../common/entitlements/model.ts'
import { type ByteCacheReader, keyHash } from './byte-cache.ts'
import type { DictionaryReader } from './dictionary.ts'
import { readHeader, readPart } from './set-record.ts'

/** A record that is being written while it is read is read again, so often. */
const TRIES = 16
/** An id has at most 128 characters, of one or two UTF-16 units each; a unit is at most three bytes of UTF-8. */
const MAX_UNITS = 2 * 128
const MAX_KEY_BYTES = 3 * (2 + 3 * MAX_UNITS)
/** A customer's key as bytes, where the ring wants them. Used again for every look. */
export class KeyBytes {
  readonly bytes = Buffer.alloc(MAX_KEY_BYTES)
  length = 0
  hash = 0

  /** @returns false when it cannot be a customer's key. */
  of({ tenantId, storefrontId, customerId }: CustomerKey): boolean {
    this.length = 0
    const fits = this.#text(tenantId) && this.#text(storefrontId) && this.#text(customerId)
    this.hash = fits ? keyHash(this.bytes, this.length) : 0
    return fits
  }

  begin(): void {
    this.length = 0
  }

  /** The next part, as the UTF-8 that it came in. At most 128 bytes. */
  add(from: Uint8Array, start: number, end: number): void {
    const { bytes } = this
    let at = this.length
    bytes[at] = (end - start) & 255
    bytes[at + 1] = 0
    at += 2
    for (let source = start; source < end; source += 1, at += 1) bytes[at] = from[source] as number
    this.length = at
  }

  end(): void {
    this.hash = keyHash(this.bytes, this.length)
  }

  #text(text: string): boolean {
    if (text.length > MAX_UNITS) return false
    // There is room for all of it: what did not fit would be left out without a word, and two keys be one.
    const written = this.bytes.write(text, this.length + 2, 'utf8')
    this.bytes.writeUInt16LE(written, this.length)
    this.length += 2 + written
    return true
  }
}

export interface CachedSet {
  set: EntitlementSet
  readAtMs: number
  /** From a snapshot, and not confirmed by the feed since. */
  restored?: boolean
  /** A newer one is known to be there, and could not be read: what this one says was current at `readAtMs` for the last time. */
  behind?: boolean
}

export class SetReader {
  readonly ring: ByteCacheReader
  readonly dictionary: DictionaryReader
  readonly #key = new KeyBytes()

  constructor(ring: ByteCacheReader, dictionary: DictionaryReader) {
    this.ring = ring
    this.dictionary = dictionary
  }

  /** Undefined when it is not held, or could not be read just now: the writer knows. */
  get(customer: CustomerKey): CachedSet | undefined {
    const { ring } = this
    const key = this.#key
    if (!key.of(customer)) return undefined
    for (let tries = 0; tries < TRIES; tries += 1) {
      const version = ring.version()
      if ((version & 1) !== 0) continue
      const at = ring.find(key.bytes, key.length, key.hash)
      const found = at < 0 ? undefined : this.readAt(customer, at)
      if (ring.isStill(version)) return found
    }
    return undefined
  }

  protected readAt({ tenantId, storefrontId, customerId }: CustomerKey, at: number): CachedSet | undefined {
    const { revision, usageSeq, readAtMs, sandbox, restored, behind } = readHeader(this.ring, at)
    const part = readPart(this.ring, at, this.dictionary)
    if (!part) return undefined
    const set = { tenantId, storefrontId, customerId, revision, sandbox, ...part, ...(usageSeq === 0 ? {} : { usageSeq }) }
    return { set, readAtMs, restored, behind }
  }
}
