/**
 * Appends to tenants' audit logs. Entries that come while a block is being stored are the next block together; of two control
 * planes that append at the same moment the insert of a block's own number lets one go first. Nothing is ever replaced.
 */

import { LRUCache } from 'lru-cache'
import { DAY_MS } from '../../common/durations.ts'
import { isAppError } from '../../common/errors.ts'
import { keys } from '../keys.ts'
import type { Services } from '../ports.ts'
import type { AuditBlock } from '../schemas/audit-block.ts'
import type { NewDocument } from '../storage/storage.ts'
import { blockHash } from './chain.ts'
import type { AuditEntry } from './entry.ts'
import { type Head, headOf, lastBlock } from './read.ts'

/** Bounds a document: an entry has a few KiB at most. */
const MAX_ENTRIES = 100
const MAX_BYTES = 256 * 1024
/** Each is lost to another control plane that wrote a block meanwhile; so many in a row are a fault. */
const MAX_TRIES = 50
/** The tenants whose newest block is remembered; another's is looked up. */
const MAX_TENANTS = 10_000

export interface AuditTrail {
  /** Resolves when the entry is stored. @throws AppError `unavailable`. */
  append(tenantId: string, entry: AuditEntry): Promise<void>
}

interface Waiting {
  text: string
  resolve(): void
  reject(error: unknown): void
}

/** @param days how long entries are kept. */
export const createAuditTrail = ({ storage, clock }: Pick<Services, 'storage' | 'clock'>, days: number): AuditTrail => {
  const newest = new LRUCache<string, Head>({ max: MAX_TENANTS })
  const waiting = new Map<string, Waiting[]>()

  const insertNext = async (tenantId: string, entries: string): Promise<void> => {
    for (let tries = 1; ; tries += 1) {
      const last = await lastBlock(storage, tenantId, newest.get(tenantId))
      // The next millisecond at least, so that the order of time is the order of the chain, whatever the clock does.
      const createdAt = new Date(Math.max(clock.nowMs(), (last?.createdAt.getTime() ?? 0) + 1))
      const expiresAt = new Date(Math.max(createdAt.getTime() + days * DAY_MS, (last?.expiresAt.getTime() ?? 0) + 1))
      const seq = (last?.seq ?? 0) + 1
      const block = {
        _id: keys.auditBlock(tenantId, seq),
        tenantId,
        seq,
        previous: last?.hash ?? '',
        ...(last ? { previousExpiresAt: last.expiresAt } : {}),
        entries,
        createdAt,
        expiresAt,
      }
      const whole: NewDocument<AuditBlock> = { ...block, hash: blockHash(block) }
      try {
        await storage.auditBlocks.insert(whole)
        newest.set(tenantId, headOf(whole))
        return
      } catch (error) {
        if (!isAppError(error, 'already_exists')) throw error
        const there = await storage.auditBlocks.find(whole._id)
        // A store that could not say whether it had taken it, and had.
        if (there?.hash === whole.hash) return
        if (tries === MAX_TRIES) throw error
      }
    }
  }

  const nextOf = (queue: Waiting[]): Waiting[] => {
    let bytes = 0
    const fitting = queue.findIndex(({ text }, n) => {
      bytes += text.length
      return n > 0 && (n === MAX_ENTRIES || bytes > MAX_BYTES)
    })
    return queue.splice(0, fitting === -1 ? queue.length : fitting)
  }

  const flush = async (tenantId: string, queue: Waiting[]): Promise<void> => {
    while (queue.length > 0) {
      const together = nextOf(queue)
      try {
        await insertNext(tenantId, `[${together.map(({ text }) => text).join(',')}]`)
        for (const { resolve } of together) resolve()
      } catch (error) {
        for (const { reject } of together) reject(error)
      }
    }
    waiting.delete(tenantId)
  }

  return {
    append: (tenantId, entry) =>
      new Promise((resolve, reject) => {
        const mine: Waiting = { text: JSON.stringify(entry), resolve, reject }
        const queue = waiting.get(tenantId)
        if (queue) {
          queue.push(mine)
          return
        }
        const begun = [mine]
        waiting.set(tenantId, begun)
        void flush(tenantId, begun)
      }),
  }
}
