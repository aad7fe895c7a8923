/** Reads tenants' audit logs: the newest block, the log backwards from a place, and all of it forwards. */
import { keys } from '../keys.ts'
import type { AuditBlock } from '../schemas/audit-block.ts'
import { pages } from '../storage/every.ts'
import type { Storage } from '../storage/storage.ts'
import type { AuditEntry } from './entry.ts'

type Blocks = Pick<Storage, 'auditBlocks'>

const blockOf = ({ auditBlocks }: Blocks, tenantId: string, seq: number): Promise<AuditBlock | undefined> => auditBlocks.find(keys.auditBlock(tenantId, seq))

const firstBlock = async ({ auditBlocks }: Blocks, tenantId: string): Promise<AuditBlock | undefined> =>
  (await auditBlocks.page({ where: { tenantId }, limit: 1 })).data[0]

/** In ever longer steps until there is none, and by halves between: a dozen reads of a million blocks. @param known one that there was. */
export const lastBlock = async (storage: Blocks, tenantId: string, known?: AuditBlock): Promise<AuditBlock | undefined> => {
  let last = known ?? (await firstBlock(storage, tenantId))
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

/** Blocks in order of their making; a million are read a page at a time. */
export async function* blocksForward({ auditBlocks }: Blocks, tenantId: string, from?: Date): AsyncGenerator<AuditBlock, undefined> {
  for await (const page of pages(auditBlocks, { tenantId }, from)) yield* page
}

export interface Place {
  /** Of a block. */
  seq: number
  /** Of the entry in it. */
  at: number
}

export interface Filter {
  from?: Date | undefined
  to?: Date | undefined
  matches(entry: AuditEntry): boolean
}

/** A page looks through so many blocks at most, and then says where to go on: what is asked for may be rare. */
const MAX_BLOCKS = 500
const AT_ONCE = 20

/** The newest block that was made before a time; by halves, since time rises with the number. */
const lastBefore = async (storage: Blocks, tenantId: string, last: AuditBlock, time: Date): Promise<number> => {
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
  for (let looked = 0; looked < MAX_BLOCKS && seq > 0; looked += AT_ONCE) {
    const numbers = Array.from({ length: Math.min(AT_ONCE, seq) }, (_, n) => seq - n)
    const blocks = await Promise.all(numbers.map((number) => blockOf(storage, tenantId, number)))
    if (blocks.every((block) => !block)) return { entries, next: undefined }
    for (const block of blocks) {
      if (!block) continue
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
