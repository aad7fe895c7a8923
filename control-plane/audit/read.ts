/** Reads tenants' audit logs: the newest block, the log backwards from a place, and all of it forwards. */
import { setImmediate } from 'node:timers/promises'
import { keys } from '../keys.ts'
import type { AuditBlock } from '../schemas/audit-block.ts'
import type { Storage } from '../storage/storage.ts'
import type { AuditEntry } from './entry.ts'

type Blocks = Pick<Storage, 'auditBlocks'>

const blockOf = ({ auditBlocks }: Blocks, tenantId: string, seq: number): Promise<AuditBlock | undefined> => auditBlocks.find(keys.auditBlock(tenantId, seq))

const firstBlock = async ({ auditBlocks }: Blocks, tenantId: string): Promise<AuditBlock | undefined> =>
  (await auditBlocks.page({ where: { tenantId }, limit: 1 })).data[0]

/** The parts of a block that the next block is made from. */
export type Head = Pick<AuditBlock, 'seq' | 'hash' | 'createdAt' | 'expiresAt'>

export const headOf = ({ seq, hash, createdAt, expiresAt }: Head): Head => ({ seq, hash, createdAt, expiresAt })

/**
 * Finds the last block in ever longer steps until there is none, and by halves between: a dozen reads of a million blocks.
 * There are no gaps: blocks are removed in their order, and the newest never (`expire.ts`).
 * @param known one that there was.
 */
export const lastBlock = async (storage: Blocks, tenantId: string, known?: Head): Promise<Head | undefined> => {
  let last: Head | undefined = known ?? (await firstBlock(storage, tenantId))
  if (!last) return undefined
  let step = 1
  let next = await blockOf(storage, tenantId, last.seq + step)
  while (next) {
    last = next
    step *= 2
    next = await blockOf(storage, tenantId, last.seq + step)
  }
  for (let missing = last.seq + step; missing - last.seq > 1; ) {
    const middle = last.seq + Math.floor((missing - last.seq) / 2)
    const found = await blockOf(storage, tenantId, middle)
    if (found) last = found
    else missing = middle
  }
  return last
}

export const entriesOf = ({ entries }: AuditBlock): AuditEntry[] => JSON.parse(entries) as AuditEntry[]

/** Blocks are large: so many are held at once. */
const FORWARD = 8

/** Blocks in order of their making. */
export async function* blocksForward({ auditBlocks }: Blocks, tenantId: string, from?: Date): AsyncGenerator<AuditBlock, undefined> {
  let cursor: string | undefined
  do {
    const page = await auditBlocks.page({ where: { tenantId }, limit: FORWARD, ...(cursor === undefined ? (from ? { from } : {}) : { cursor }) })
    yield* page.data
    cursor = page.nextCursor
    // Other tenants' requests come in between.
    await setImmediate()
  } while (cursor)
}

export interface Place {
  /** The block's number. */
  seq: number
  /** The index of the entry in it. */
  at: number
}

export interface Filter {
  from?: Date | undefined
  to?: Date | undefined
  matches(entry: AuditEntry): boolean
}

/** A page looks through so many blocks, or so much text, at most, and then says where to go on: what is asked for may be rare. */
const MAX_BLOCKS = 200
const MAX_TEXT = 4 * 1024 * 1024
const AT_ONCE = 5

/** The newest block that was made before a time; by halves, since time rises with the number. */
const lastBefore = async (storage: Blocks, tenantId: string, last: Head, time: Date): Promise<number> => {
  const first = await firstBlock(storage, tenantId)
  let [low, high] = [(first?.seq ?? 1) - 1, last.seq]
  while (high > low) {
    const middle = low + Math.ceil((high - low) / 2)
    const block = await blockOf(storage, tenantId, middle)
    // One that was removed is of a time that nobody knows: look before it.
    if (block && block.createdAt < time) low = middle
    else high = middle - 1
  }
  return low
}

/**
 * Entries from the newest on.
 * @param before only what comes before this place.
 * @returns `next` is where to go on; undefined where there is no more.
 */
export const newestFirst = async (
  storage: Blocks,
  tenantId: string,
  filter: Filter,
  limit: number,
  before?: Place,
): Promise<{ entries: AuditEntry[]; next: Place | undefined }> => {
  const last = await lastBlock(storage, tenantId)
  const entries: AuditEntry[] = []
  if (!last) return { entries, next: undefined }
  // What is in a block is a little older than the block.
  const start = filter.to && last.createdAt > filter.to ? Math.min(last.seq, (await lastBefore(storage, tenantId, last, filter.to)) + 1) : last.seq
  let seq = before ? Math.min(before.seq, last.seq) : start
  let at = before?.at ?? Number.POSITIVE_INFINITY
  let text = 0
  for (let looked = 0; looked < MAX_BLOCKS && text < MAX_TEXT && seq > 0; looked += AT_ONCE) {
    // Other tenants' requests come in between.
    if (looked > 0) await setImmediate()
    const numbers = Array.from({ length: Math.min(AT_ONCE, seq) }, (_, n) => seq - n)
    const blocks = await Promise.all(numbers.map((number) => blockOf(storage, tenantId, number)))
    if (blocks.every((block) => !block)) return { entries, next: undefined }
    for (const block of blocks) {
      if (!block) continue
      text += block.entries.length
      if (filter.from && block.createdAt < filter.from) return { entries, next: undefined }
      const inBlock = entriesOf(block)
      for (let n = Math.min(at, inBlock.length) - 1; n >= 0; n -= 1) {
        const entry = inBlock[n] as AuditEntry
        if (!filter.matches(entry)) continue
        if (entries.length === limit) return { entries, next: { seq: block.seq, at: n + 1 } }
        entries.push(entry)
      }
      at = Number.POSITIVE_INFINITY
    }
    seq -= numbers.length
  }
  return { entries, next: seq > 0 ? { seq, at: MAX_ENTRIES_EVER } : undefined }
}

/** More than any block has. */
const MAX_ENTRIES_EVER = 1_000_000
