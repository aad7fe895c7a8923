/**
 * Entitlement sets by customer, in bounded memory: as bytes in a ring, decoded where they are asked for. The rare set
 * that is too large for a record is kept as an object, and counts as well.
 */
import { LRUCache } from 'lru-cache'
import type { CustomerKey, EntitlementSet } from '../../../common/entitlements/model.ts'
import { ByteCache, type ByteCacheMemory, createByteCacheMemory } from './byte-cache.ts'
import { Dictionary } from './dictionary.ts'
import { type CachedSet, KeyBytes, SetReader } from './set-reader.ts'
import { markBehind, type PreparedSet, prepareSet, readHeader, releaseSet, writeSet } from './set-record.ts'

/** The share of the bound that is for sets too large for a record. */
const LARGE_SHARE = 0.1
/** The memory that a grant takes as an object, roughly. */
const LARGE_GRANT_BYTES = 250

export interface CacheStats {
  sets: number
  usedBytes: number
  maxBytes: number
  evictions: number
}

export class SetCache extends SetReader {
  declare readonly dictionary: Dictionary
  declare readonly ring: ByteCache
  readonly memory: ByteCacheMemory
  readonly #large: LRUCache<string, CachedSet>
  readonly #key = new KeyBytes()
  #largeEvictions = 0

  constructor(maxBytes: number) {
    const memory = createByteCacheMemory(maxBytes * (1 - LARGE_SHARE))
    const dictionary = new Dictionary()
    const ring: ByteCache = new ByteCache({ memory, reservedBytes: () => dictionary.bytes, onFree: (at) => releaseSet(ring, at, dictionary) })
    super(ring, dictionary)
    this.memory = memory
    this.#large = new LRUCache({
      maxSize: Math.ceil(maxBytes * LARGE_SHARE),
      sizeCalculation: ({ set }) => 1 + LARGE_GRANT_BYTES * (set.grants.length + set.usage.length),
      disposeAfter: (_, __, reason) => {
        if (reason === 'evict') this.#largeEvictions += 1
      },
    })
  }

  get stats(): CacheStats {
    return {
      sets: this.ring.size + this.#large.size,
      usedBytes: this.ring.usedBytes + this.dictionary.bytes + this.#large.calculatedSize,
      maxBytes: this.ring.maxBytes + (this.#large.maxSize ?? 0),
      evictions: this.ring.evictions + this.#largeEvictions,
    }
  }

  /** The revision that is held; 0 when none is. It does not count as asked for. */
  revisionOf(customer: CustomerKey): number {
    const key = this.#key
    const at = key.of(customer) ? this.ring.peek(key.bytes, key.length, key.hash) : -1
    return at >= 0 ? readHeader(this.ring, at).revision : (this.#large.peek(largeKey(customer))?.set.revision ?? 0)
  }

  override get(customer: CustomerKey): CachedSet | undefined {
    const key = this.#key
    const at = key.of(customer) ? this.ring.find(key.bytes, key.length, key.hash) : -1
    if (at < 0) return this.#large.size === 0 ? undefined : this.#large.get(largeKey(customer))
    return this.readAt(customer, at)
  }

  /**
   * @param restored from a snapshot: true until the feed has said so.
   * @param behind a newer one is missing: `readAtMs` is when this was current for the last time.
   */
  set(set: EntitlementSet, readAtMs: number, restored = false, behind = false): void {
    const prepared = this.#key.of(set) ? prepareSet(set, readAtMs, restored, this.dictionary) : undefined
    if (prepared && this.ring.change(() => this.#write(prepared, behind))) {
      if (this.#large.size > 0) this.#large.delete(largeKey(set))
      return
    }
    this.delete(set)
    this.#large.set(largeKey(set), { set, readAtMs, restored, behind })
  }

  /** A newer set is missing: what is held was current at `asOfMs` for the last time. Nothing, when nothing is held. */
  markBehind(customer: CustomerKey, asOfMs: number): void {
    const key = this.#key
    const at = key.of(customer) ? this.ring.peek(key.bytes, key.length, key.hash) : -1
    if (at >= 0) this.ring.change(() => markBehind(this.ring, at, asOfMs, false))
    const large = this.#large.peek(largeKey(customer))
    if (large) this.#large.set(largeKey(customer), { set: large.set, readAtMs: asOfMs, restored: false, behind: true })
  }

  delete(customer: CustomerKey): void {
    if (this.#key.of(customer)) this.ring.change(() => this.ring.delete(this.#key.bytes, this.#key.length, this.#key.hash))
    this.#large.delete(largeKey(customer))
  }

  clear(): void {
    this.ring.change(() => this.ring.clear())
    this.#large.clear()
  }

  /** The place at which a scan of everything begins. */
  begin(): number {
    return this.ring.oldest
  }

  /** So many sets from there on; anything may change between two calls. `next` is undefined at the end. */
  scan(from: number, most: number): { found: CachedSet[]; next: number | undefined } {
    const { records, next } = this.ring.scan(from, most)
    const found = records.map(({ key, payloadAt }) => this.readAt(customerOf(key), payloadAt)).filter((one) => one !== undefined)
    // The few large ones come with the last.
    return { found: next === undefined ? [...found, ...this.#large.values()] : found, next }
  }

  #write(prepared: PreparedSet, behind: boolean): boolean {
    const { bytes, length, hash } = this.#key
    const at = this.ring.put(bytes, length, hash, prepared.bytes)
    if (at >= 0) {
      writeSet(this.ring, at, prepared)
      if (behind) markBehind(this.ring, at, prepared.readAtMs, prepared.restored)
      return true
    }
    this.dictionary.releaseShape(prepared.shape.id)
    for (const id of prepared.usageKeys) this.dictionary.releaseKey(id)
    return false
  }
}

const customerOf = (bytes: Uint8Array): CustomerKey => {
  const key = Buffer.from(bytes)
  const parts: string[] = []
  for (let at = 0; at < key.length; ) {
    const length = key.readUInt16LE(at)
    parts.push(key.toString('utf8', at + 2, at + 2 + length))
    at += 2 + length
  }
  const [tenantId = '', storefrontId = '', customerId = ''] = parts
  return { tenantId, storefrontId, customerId }
}

const largeKey = ({ tenantId, storefrontId, customerId }: CustomerKey): string => JSON.stringify([tenantId, storefrontId, customerId])
