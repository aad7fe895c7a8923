/** The chain of blocks: what a block's hash is of, and what a chain that was tampered with shows. */
import { createHash } from 'node:crypto'
import type { AuditBlock } from '../schemas/audit-block.ts'

type Hashed = Pick<AuditBlock, 'tenantId' | 'seq' | 'previous' | 'entries' | 'createdAt' | 'expiresAt'> & { previousExpiresAt?: Date | undefined }

/** SHA-256, in hexadecimal. */
export const blockHash = ({ tenantId, seq, previous, entries, createdAt, expiresAt, previousExpiresAt }: Hashed): string =>
  createHash('sha256')
    .update(JSON.stringify([tenantId, seq, previous, entries, createdAt.toISOString(), expiresAt.toISOString(), previousExpiresAt?.toISOString() ?? null]))
    .digest('hex')

/** The fault between two neighbours; undefined: none. @param before undefined for the oldest that is kept. */
export const wrongWith = (block: AuditBlock, before: AuditBlock | undefined, now: Date): string | undefined => {
  if (blockHash(block) !== block.hash) return `block ${block.seq} was changed`
  if (!before) {
    if (block.seq === 1) return undefined
    return block.previousExpiresAt && block.previousExpiresAt <= now ? undefined : `block ${block.seq - 1} was removed too early`
  }
  if (block.seq !== before.seq + 1) return `${missing(before.seq + 1, block.seq - 1)} removed`
  if (block.previous !== before.hash) return `block ${block.seq} does not follow block ${before.seq}: one of them was replaced`
  return undefined
}

const missing = (from: number, to: number): string => (from === to ? `block ${from} was` : `blocks ${from} to ${to} were`)
