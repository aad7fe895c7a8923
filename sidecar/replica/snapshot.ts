/**
 * The sets that a sidecar holds, on disk: with everything else gone it starts and answers from there. Written beside and
 * renamed, so that there is always a whole one; checked to its last byte before anything of it is believed.
 *
 *     8 bytes   `TGSNAP2\n`
 *     4 bytes   length of the header, big-endian
 *     header    JSON: writtenAtMs, nonce (base64) when it is encrypted
 *     body      clocks of sandboxes, then sets, one after another: 4 bytes length (its highest bit: a newer set was
 *               missing), f64 when it was known to be current, the set as in the feed; of a clock NaN, and JSON;
 *               compressed (zlib), then encrypted (AES-256-GCM, the rest of the file before it being authenticated)
 *     end       the 16 bytes of GCM's tag; or SHA-256 of all that is before
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Readable, type Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setImmediate as turn } from 'node:timers/promises'
import { constants, createDeflate, createInflate } from 'node:zlib'
import type { EntitlementSet, TestClock } from '../../common/entitlements/model.ts'
import { decodeSet, encodeSet } from '../../common/entitlements/wire.ts'
import type { Faults } from '../../common/faults.ts'
import { checkUsable, checkUsableClock } from '../../common/feed/usable.ts'
import type { SetCache } from './cache/set-cache.ts'
import type { CachedSet } from './cache/set-reader.ts'

const MAGIC = Buffer.from('TGSNAP2\n')
const MAX_HEADER_BYTES = 4096
const [TAG_BYTES, DIGEST_BYTES, NONCE_BYTES, ENTRY_START_BYTES] = [16, 32, 12, 12]
/** Sets between two turns of the event loop: a fraction of a millisecond. */
const SETS_A_TURN = 64
const MAX_SET_BYTES = 64 * 1024 * 1024
/** The bit of an entry's length that says that its set is behind. */
const BEHIND = 0x80000000

/** Why a snapshot is not to be believed. */
export class SnapshotError extends Error {}

interface Header {
  writtenAtMs: number
  nonce?: string
}

const sized = (bytes: number): Buffer => {
  const buffer = Buffer.alloc(4)
  buffer.writeUInt32BE(bytes)
  return buffer
}

const entry = (readAtMs: number, bytes: Uint8Array, behind = false): Buffer => {
  const start = Buffer.alloc(ENTRY_START_BYTES)
  start.writeUInt32BE(bytes.length + (behind ? BEHIND : 0))
  start.writeDoubleBE(readAtMs, 4)
  return Buffer.concat([start, bytes])
}

/** The source that a snapshot is taken of. */
export interface SnapshotSource {
  cache: SetCache
  /** The clocks of sandboxes. */
  clocks(): TestClock[]
  /** The time when a held set was last known to be current: what was said of it before a restart is true after it. */
  asOfMs(known: CachedSet): number
  faults: Faults
}

/** @param key 32 bytes, to encrypt it. @returns how many sets were written. */
export const writeSnapshot = async (
  path: string,
  { cache, clocks, asOfMs, faults }: SnapshotSource,
  key: Buffer | undefined,
  nowMs: number,
): Promise<number> => {
  await mkdir(dirname(path), { recursive: true })
  const beside = `${path}.${process.pid}.tmp`
  const nonce = key && randomBytes(NONCE_BYTES)
  const header = Buffer.from(JSON.stringify({ writtenAtMs: nowMs, ...(nonce ? { nonce: nonce.toString('base64') } : {}) } satisfies Header))
  const start = Buffer.concat([MAGIC, sized(header.length), header])
  let sets = 0
  const entries = async function* () {
    for (const clock of clocks()) yield entry(Number.NaN, Buffer.from(JSON.stringify(clock)))
    for (let cursor = cache.begin(); ; ) {
      const { found, next } = cache.scan(cursor, SETS_A_TURN)
      const parts = found.flatMap((known) => {
        try {
          return [entry(asOfMs(known), encodeSet(known.set), known.behind)]
        } catch (error) {
          faults.tell(error, 'a set could not be written into the snapshot', { tenantId: known.set.tenantId, customerId: known.set.customerId })
          return []
        }
      })
      sets += parts.length
      if (parts.length > 0) yield Buffer.concat(parts)
      if (next === undefined) return
      cursor = next
      await turn()
    }
  }
  const file = createWriteStream(beside, { mode: 0o600 })
  const cipher = key && nonce ? createCipheriv('aes-256-gcm', key, nonce).setAAD(start) : undefined
  const digest = createHash('sha256').update(start)
  const whole = async function* (body: AsyncIterable<Buffer>) {
    yield start
    for await (const chunk of body) {
      if (!cipher) digest.update(chunk)
      yield chunk
    }
    yield cipher ? cipher.getAuthTag() : digest.digest()
  }
  try {
    const deflate = createDeflate({ level: constants.Z_BEST_SPEED })
    if (cipher) await pipeline(Readable.from(entries()), deflate, cipher as unknown as Transform, whole, file)
    else await pipeline(Readable.from(entries()), deflate, whole, file)
    // On disk before it takes the old one's place.
    const handle = await open(beside, 'r')
    await handle.sync()
    await handle.close()
    await rename(beside, path)
  } catch (error) {
    await rm(beside, { force: true })
    throw error
  }
  return sets
}

interface OpenSnapshot {
  header: Header
  start: Buffer
  end: Buffer
  /** The offset of the body in the file. */
  from: number
  to: number
}

const openSnapshot = async (path: string, key: Buffer | undefined): Promise<OpenSnapshot> => {
  const { size } = await stat(path)
  const file = await open(path, 'r')
  try {
    const read = async (at: number, bytes: number): Promise<Buffer> => {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, at)
      if (bytesRead !== bytes) throw new SnapshotError('it is cut off')
      return buffer
    }
    if (!(await read(0, MAGIC.length)).equals(MAGIC)) throw new SnapshotError('it is not a snapshot, or has another version')
    const length = (await read(MAGIC.length, 4)).readUInt32BE()
    if (length > MAX_HEADER_BYTES) throw new SnapshotError('its header is damaged')
    const start = await read(0, MAGIC.length + 4 + length)
    const header = parseHeader(start.subarray(MAGIC.length + 4))
    if (header.nonce !== undefined && !key) throw new SnapshotError('it is encrypted, and SNAPSHOT_KEY is not set')
    if (header.nonce === undefined && key) throw new SnapshotError('it is not encrypted, and SNAPSHOT_KEY is set')
    const endBytes = key ? TAG_BYTES : DIGEST_BYTES
    if (size < start.length + endBytes) throw new SnapshotError('it is cut off')
    return { header, start, end: await read(size - endBytes, endBytes), from: start.length, to: size - endBytes - 1 }
  } finally {
    await file.close()
  }
}

const parseHeader = (bytes: Buffer): Header => {
  try {
    const header = JSON.parse(bytes.toString()) as Header
    if (typeof header.writtenAtMs === 'number') return header
  } catch {
    // As damaged as any other.
  }
  throw new SnapshotError('its header is damaged')
}

interface Entry {
  readAtMs: number
  behind: boolean
  bytes: Buffer
}

/** The body's entries. What is damaged shows at the end: nothing is to be believed before. */
async function* entriesOf(path: string, key: Buffer | undefined, { header, start, end, from, to }: OpenSnapshot): AsyncGenerator<Entry> {
  const file = to < from ? Readable.from([]) : createReadStream(path, { start: from, end: to })
  const digest = createHash('sha256').update(start)
  const decipher =
    key && header.nonce !== undefined
      ? createDecipheriv('aes-256-gcm', key, Buffer.from(header.nonce, 'base64'), { authTagLength: TAG_BYTES }).setAAD(start).setAuthTag(end)
      : undefined
  const hashed = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      if (!decipher) digest.update(chunk)
      yield chunk
    }
    if (!decipher && !digest.digest().equals(end)) throw new SnapshotError('its checksum does not match')
  }
  const inflate = createInflate()
  const done = (decipher ? pipeline(file, hashed, decipher as unknown as Transform, inflate) : pipeline(file, hashed, inflate)).then(
    () => undefined,
    (error: unknown) => error,
  )
  let pending: Buffer = Buffer.alloc(0)
  try {
    for await (const chunk of inflate as AsyncIterable<Buffer>) {
      pending = pending.length > 0 ? Buffer.concat([pending, chunk]) : chunk
      let at = 0
      while (pending.length >= at + ENTRY_START_BYTES) {
        const word = pending.readUInt32BE(at)
        const behind = word >= BEHIND
        const length = behind ? word - BEHIND : word
        if (length > MAX_SET_BYTES) throw new SnapshotError('it is damaged')
        const start = at + ENTRY_START_BYTES
        if (pending.length < start + length) break
        yield { readAtMs: pending.readDoubleBE(at + 4), behind, bytes: pending.subarray(start, start + length) }
        at = start + length
      }
      pending = pending.subarray(at)
    }
  } catch (error) {
    throw error instanceof SnapshotError ? error : new SnapshotError('it is damaged, or was encrypted with another SNAPSHOT_KEY', { cause: error })
  }
  const error = await done
  if (error !== undefined)
    throw error instanceof SnapshotError ? error : new SnapshotError('it is damaged, or was encrypted with another SNAPSHOT_KEY', { cause: error })
  if (pending.length > 0) throw new SnapshotError('it is cut off')
}

export interface SnapshotSummary {
  sets: number
  /** Sets that this version cannot read: they are skipped, and fetched from the feed when needed. */
  unread: number
  writtenAtMs: number
}

/** The receiver of what a snapshot holds. */
export interface SnapshotTaker {
  set(set: CachedSet): void
  clock(clock: TestClock): void
}

/**
 * Reads it twice: once to its end to know that it is whole, then into `take`.
 * @returns undefined when there is none. @throws SnapshotError when it is not to be believed: nothing was taken.
 */
export const readSnapshot = async (path: string, key: Buffer | undefined, take: SnapshotTaker): Promise<SnapshotSummary | undefined> => {
  const opened = await openSnapshot(path, key).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (!opened) return undefined
  for await (const _ of entriesOf(path, key, opened));
  let [sets, unread] = [0, 0]
  for await (const { readAtMs, behind, bytes } of entriesOf(path, key, opened)) {
    const { set, clock } = read(readAtMs, bytes)
    if (set) take.set({ set, readAtMs, behind })
    else if (clock) take.clock(clock)
    if (set) sets += 1
    else if (!clock) unread += 1
  }
  return { sets, unread, writtenAtMs: opened.header.writtenAtMs }
}

/** The file is as it was written, which does not say that this version can use all of it. */
const read = (readAtMs: number, bytes: Buffer): { set?: EntitlementSet; clock?: TestClock } => {
  try {
    if (Number.isNaN(readAtMs)) {
      const clock = JSON.parse(bytes.toString()) as TestClock
      checkUsableClock(clock)
      return { clock }
    }
    const set = decodeSet(bytes)
    checkUsable(set)
    return { set }
  } catch {
    return {}
  }
}
