/**
 * Removes blocks that are past their time: in their order, so that a chain never has a gap that nobody made, and never the newest
 * of a tenant, which the next one follows.
 */
import { keys } from '../keys.ts'
import type { Services } from '../ports.ts'
import { removeIfSame } from '../storage/remove.ts'

const BATCH = 20

/** Harmless beside another process that does the same. @param goOn asked before each. @returns how many it removed. */
export const removeExpiredBlocks = async ({ storage, clock }: Pick<Services, 'storage' | 'clock'>, goOn: () => boolean = () => true): Promise<number> => {
  const { auditBlocks } = storage
  let removed = 0
  let after: { at: Date; id: string } | undefined
  do {
    const expired = await auditBlocks.due({ by: 'expiresAt', until: clock.now(), limit: BATCH, after })
    for (const block of expired) {
      if (!goOn()) return removed
      if (!(await auditBlocks.find(keys.auditBlock(block.tenantId, block.seq + 1)))) continue
      if (await removeIfSame(auditBlocks, block)) removed += 1
    }
    const last = expired.at(-1)
    after = expired.length < BATCH || !last ? undefined : { at: last.expiresAt, id: last._id }
  } while (after)
  return removed
}
