/**
 * Records of bytes by keys of bytes, in one block of memory: a ring that is written at its head and freed at its tail,
 * and a hash index over it. No object is kept for a record, so a million of them cost the garbage collector nothing.
 *
 * What is freed is what was written longest ago and not asked for since ("second chance", an approximation of least
 * recently used). A write does a bounded amount of work, however full the ring is.
 *
 * One thread writes. Others may read the same memory: `version` is odd while something is being changed, and what was
 * read while it changed is read again (a sequence lock).
 */

/** [0] bytes of the record, a multiple of 8; [4] hash; [9] is padding; [10] bytes of the key; [12] bytes of the payload. */
const HEADER_BYTES = 16
const PADDING = 9
const UNIT = 8
/** A write gives at most so many records a second chance; those after them are freed whether asked for or not. */
const MAX_SECOND_CHANCES = 64
/** The index has a slot for each so many bytes of the ring; a record is hardly ever smaller. */
const BYTES_PER_SLOT = 128
const MAX_LOAD = 0.75

/** Rounds the bytes of a record up; records are small, and 32 bits hold them. */
const roundUp = (bytes: number): number => (bytes + UNIT - 1) & ~(UNIT - 1)
/** Offsets are kept in 32 bits. */
const MAX_RING_BYTES = 4 * 1024 ** 3 - 64 * 1024

/** The memory that threads share. */
export interface ByteCacheMemory {
  ring: SharedArrayBuffer
  index: SharedArrayBuffer
  /** One byte per slot of the index: its record was asked for since it was written. Any thread writes it: at worst it is wrong. */
  asked: SharedArrayBuffer
  /** [0] the version. */
  control: SharedArrayBuffer
}

export const createByteCacheMemory = (maxBytes: number): ByteCacheMemory => {
  const slots = 2 ** Math.max(8, Math.ceil(Math.log2(maxBytes / BYTES_PER_SLOT)))
  // Memory that is never touched is never taken from the machine.
  return {
    ring: new SharedArrayBuffer(Math.min(MAX_RING_BYTES, Math.max(64 * 1024, Math.ceil(maxBytes / UNIT) * UNIT))),
    index: new SharedArrayBuffer(slots * 8),
    asked: new SharedArrayBuffer(slots),
    control: new SharedArrayBuffer(8),
  }
}

/** 30 bits, so that it stays a small integer (FNV-1a). */
export const keyHash = (bytes: Uint8Array, length: number): number => {
  let hash = 0x811c9dc5
  for (let at = 0; at < length; at += 1) hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193)
  // Its low bits are weak, and the index takes those.
  hash ^= hash >>> 15
  return hash & 0x3fffffff
}

export class ByteCacheReader {
  readonly bytes: Buffer
  readonly words: Uint32Array
  readonly floats: Float64Array
  protected readonly slots: Uint32Array
  protected readonly mask: number
  protected readonly control: Int32Array
  protected readonly asked: Uint8Array
  /** A cell of this thread alone. */
  readonly #fence = new Int32Array(1)
  /** True in the one thread that writes. */
  readonly isWriter: boolean = false

  constructor(memory: ByteCacheMemory) {
    // Of memory that threads share as of any other; its methods are quicker than loops.
    this.bytes = Buffer.from(memory.ring as unknown as ArrayBuffer)
    this.words = new Uint32Array(memory.ring)
    this.floats = new Float64Array(memory.ring)
    this.slots = new Uint32Array(memory.index)
    this.mask = this.slots.length / 2 - 1
    this.control = new Int32Array(memory.control)
    this.asked = new Uint8Array(memory.asked)
  }

  /** The offset at which the payload begins, a multiple of 8; -1 when there is none. It counts as asked for. */
  find(key: Uint8Array, keyBytes: number, hash: number): number {
    const slot = this.slotOf(key, keyBytes, hash)
    if (slot < 0) return -1
    this.asked[slot] = 1
    return this.payloadAt(this.recordAt(slot))
  }

  /** Like `find`, but does not count as asked for. */
  peek(key: Uint8Array, keyBytes: number, hash: number): number {
    const slot = this.slotOf(key, keyBytes, hash)
    return slot < 0 ? -1 : this.payloadAt(this.recordAt(slot))
  }

  /** Odd while the writer is at work. */
  version(): number {
    return Atomics.load(this.control, 0)
  }

  /**
   * True if nothing has been written since the version was that: what was read since then belongs together. The store keeps
   * processors that may (ARM) from doing those reads after this one: a release, and an acquire behind it.
   */
  isStill(version: number): boolean {
    if (!this.isWriter) Atomics.store(this.#fence, 0, 0)
    return Atomics.load(this.control, 0) === version
  }

  protected recordAt(slot: number): number {
    return ((this.slots[2 * slot] as number) - 1) * UNIT
  }

  protected keyBytesAt(at: number): number {
    return (this.words[(at + 8) >>> 2] as number) >>> 16
  }

  protected payloadAt(at: number): number {
    return at + HEADER_BYTES + roundUp(this.keyBytesAt(at))
  }

  protected slotOf(key: Uint8Array, keyBytes: number, hash: number): number {
    const { slots, mask } = this
    let slot = hash & mask
    // While the writer is at work a reader could go round for ever: at most once.
    for (let looked = 0; looked <= mask; looked += 1) {
      if (slots[2 * slot] === 0) return -1
      if (slots[2 * slot + 1] === hash && this.hasKey(this.recordAt(slot), key, keyBytes)) return slot
      slot = (slot + 1) & mask
    }
    return -1
  }

  protected hasKey(record: number, key: Uint8Array, keyBytes: number): boolean {
    if (this.keyBytesAt(record) !== keyBytes) return false
    const { bytes } = this
    const from = record + HEADER_BYTES
    for (let at = 0; at < keyBytes; at += 1) if (bytes[from + at] !== key[at]) return false
    return true
  }
}

export interface ByteRecord {
  key: Uint8Array
  payloadAt: number
}

export interface ByteCacheOptions {
  memory: ByteCacheMemory
  /** A record is about to go: its payload can still be read. */
  onFree?: (payloadAt: number) => void
  /** The bytes of the ring that are left unused, because what its records share takes as much elsewhere. */
  reservedBytes?: () => number
}

export class ByteCache extends ByteCacheReader {
  override readonly isWriter = true
  readonly #onFree: (payloadAt: number) => void
  readonly #reservedBytes: () => number
  #head = 0
  #tail = 0
  /** Bytes that were ever freed. */
  #freed = 0
  /** Bytes between tail and head. */
  #used = 0
  #size = 0
  #evictions = 0

  constructor({ memory, onFree = () => undefined, reservedBytes = () => 0 }: ByteCacheOptions) {
    super(memory)
    this.#onFree = onFree
    this.#reservedBytes = reservedBytes
  }

  get size(): number {
    return this.#size
  }

  /** Taken by records, by those that were replaced and are not freed yet too. */
  get usedBytes(): number {
    return this.#used
  }

  get maxBytes(): number {
    return this.bytes.length
  }

  /** Records that were freed for lack of room. */
  get evictions(): number {
    return this.#evictions
  }

  /** All that is written within belongs together for readers in other threads. */
  change<T>(act: () => T): T {
    Atomics.add(this.control, 0, 1)
    // Nothing of what follows is seen before that: an acquire behind a release, where processors do not do so by themselves.
    Atomics.load(this.control, 0)
    try {
      return act()
    } finally {
      Atomics.add(this.control, 0, 1)
    }
  }

  /**
   * Makes room for a payload under this key, in place of what was there.
   * @returns where to write it, a multiple of 8; -1 when it is too large for the ring.
   */
  put(key: Uint8Array, keyBytes: number, hash: number, payloadBytes: number): number {
    const bytes = HEADER_BYTES + roundUp(keyBytes) + roundUp(payloadBytes)
    const slot = this.slotOf(key, keyBytes, hash)
    if (slot >= 0) {
      const at = this.recordAt(slot)
      this.#onFree(this.payloadAt(at))
      if ((this.words[at >>> 2] as number) >= bytes && this.#used + this.#reservedBytes() <= this.bytes.length) {
        this.words[(at + 12) >>> 2] = payloadBytes
        return this.payloadAt(at)
      }
      this.#forget(slot)
    }
    if (bytes > this.bytes.length / 4) return -1
    const at = this.#append(bytes)
    this.words[at >>> 2] = bytes
    this.words[(at + 4) >>> 2] = hash
    this.words[(at + 8) >>> 2] = keyBytes << 16
    this.words[(at + 12) >>> 2] = payloadBytes
    this.bytes.set(keyBytes === key.length ? key : key.subarray(0, keyBytes), at + HEADER_BYTES)
    this.#index(at, hash)
    this.#size += 1
    return this.payloadAt(at)
  }

  delete(key: Uint8Array, keyBytes: number, hash: number): boolean {
    const slot = this.slotOf(key, keyBytes, hash)
    if (slot < 0) return false
    this.#onFree(this.payloadAt(this.recordAt(slot)))
    this.#forget(slot)
    return true
  }

  clear(): void {
    for (let left = this.#used, at = this.#tail; left > 0; ) {
      at %= this.bytes.length
      const bytes = this.words[at >>> 2] as number
      if (this.#isLive(at)) this.#onFree(this.payloadAt(at))
      at += bytes
      left -= bytes
    }
    this.slots.fill(0)
    this.#freed += this.#used
    this.#head = 0
    this.#tail = 0
    this.#used = 0
    this.#size = 0
  }

  /** The offset at which a scan of everything begins: it grows with what is written, and never names another record. */
  get oldest(): number {
    return this.#freed
  }

  /**
   * The records from there on, oldest first, so many at most. Between two calls anything may change: what was freed
   * meanwhile is left out. `next` is undefined at the end.
   */
  scan(from: number, most: number): { records: ByteRecord[]; next: number | undefined } {
    const records: ByteRecord[] = []
    let place = Math.max(from, this.#freed)
    const end = this.#freed + this.#used
    while (place < end && records.length < most) {
      const at = (this.#tail + (place - this.#freed)) % this.bytes.length
      if (this.#isLive(at))
        records.push({ key: Buffer.from(this.bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + this.keyBytesAt(at))), payloadAt: this.payloadAt(at) })
      place += this.words[at >>> 2] as number
    }
    return { records, next: place < end ? place : undefined }
  }

  #isLive(at: number): boolean {
    if (this.bytes[at + PADDING] === 1) return false
    const hash = this.words[(at + 4) >>> 2] as number
    const location = at / UNIT + 1
    for (let slot = hash & this.mask; this.slots[2 * slot] !== 0; slot = (slot + 1) & this.mask) if (this.slots[2 * slot] === location) return true
    return false
  }

  /** Room at the head, contiguous. */
  #append(bytes: number): number {
    let chances = MAX_SECOND_CHANCES
    for (;;) {
      const rest = this.bytes.length - this.#head
      const needed = bytes <= rest ? bytes : rest + bytes
      const isRoom = this.#used + needed <= this.bytes.length - this.#reservedBytes() && this.#size < MAX_LOAD * (this.mask + 1)
      if (isRoom || this.#used === 0) break
      chances = this.#freeTail(chances)
    }
    return this.#take(bytes)
  }

  #take(bytes: number): number {
    const rest = this.bytes.length - this.#head
    if (bytes > rest) {
      if (rest > 0) {
        this.words[this.#head >>> 2] = rest
        this.words[(this.#head + 8) >>> 2] = 1 << 8
      }
      this.#used += rest
      this.#head = 0
    }
    const at = this.#head
    this.#head += bytes
    this.#used += bytes
    return at
  }

  /** Frees the oldest record, or writes it again at the head if it was asked for. @returns the second chances that are left. */
  #freeTail(chances: number): number {
    if (this.#tail === this.bytes.length) this.#tail = 0
    const at = this.#tail
    const bytes = this.words[at >>> 2] as number
    const live = this.#isLive(at)
    this.#tail += bytes
    this.#used -= bytes
    this.#freed += bytes
    if (!live) return chances
    const hash = this.words[(at + 4) >>> 2] as number
    const rest = this.bytes.length - this.#head
    const fits = this.#used + (bytes <= rest ? bytes : rest + bytes) <= this.bytes.length
    const wasAskedFor = this.#unindex(at, hash)
    if (chances > 0 && fits && wasAskedFor) {
      // Where the tail is just before the head it moves onto itself or its own neighbour.
      const to = bytes <= rest ? this.#take(bytes) : -1
      if (to >= 0) {
        this.bytes.copyWithin(to, at, at + bytes)
        this.#index(to, hash)
        return chances - 1
      }
    }
    this.#onFree(this.payloadAt(at))
    this.#size -= 1
    this.#evictions += 1
    return chances
  }

  #index(at: number, hash: number): void {
    let slot = hash & this.mask
    while (this.slots[2 * slot] !== 0) slot = (slot + 1) & this.mask
    this.slots[2 * slot] = at / UNIT + 1
    this.slots[2 * slot + 1] = hash
    this.asked[slot] = 0
  }

  /** @returns whether it was asked for. */
  #unindex(at: number, hash: number): boolean {
    const location = at / UNIT + 1
    let slot = hash & this.mask
    while (this.slots[2 * slot] !== location) slot = (slot + 1) & this.mask
    const wasAskedFor = this.asked[slot] === 1
    this.#empty(slot)
    return wasAskedFor
  }

  #forget(slot: number): void {
    this.#empty(slot)
    this.#size -= 1
  }

  /** Closes the gap: what was put behind it since its own place was taken moves up (Knuth 6.4, algorithm R). */
  #empty(slot: number): void {
    const { slots, mask } = this
    let hole = slot
    for (let next = (hole + 1) & mask; slots[2 * next] !== 0; next = (next + 1) & mask) {
      const home = (slots[2 * next + 1] as number) & mask
      if (((next - home) & mask) < ((next - hole) & mask)) continue
      slots[2 * hole] = slots[2 * next] as number
      slots[2 * hole + 1] = slots[2 * next + 1] as number
      this.asked[hole] = this.asked[next] as number
      hole = next
    }
    slots[2 * hole] = 0
  }
}
