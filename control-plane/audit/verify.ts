import type { AuditBlock } from '../schemas/audit-block.ts'
import type { Storage } from '../storage/storage.ts'
import { wrongWith } from './chain.ts'
import { blocksForward } from './read.ts'

export interface ChainVerification {
  blocks: number
  /** The newest: to be kept elsewhere. Undefined where there is none. */
  head: Pick<AuditBlock, 'seq' | 'hash'> | undefined
  problems: string[]
}

/** The first problems are enough of a chain that is broken everywhere. */
const MAX_PROBLEMS = 20

/** @param expected a head that was kept elsewhere. */
export const verifyChain = async (
  storage: Pick<Storage, 'auditBlocks'>,
  tenantId: string,
  now: Date,
  expected?: Pick<AuditBlock, 'seq' | 'hash'>,
): Promise<ChainVerification> => {
  const problems: string[] = []
  let before: AuditBlock | undefined
  let blocks = 0
  let isExpectedThere = expected === undefined
  const note = (problem: string | undefined) => {
    if (problem !== undefined && problems.length < MAX_PROBLEMS) problems.push(problem)
  }
  for await (const block of blocksForward(storage, tenantId)) {
    note(wrongWith(block, before, now))
    // What was before the oldest that is kept is past its time, or its removal is told of.
    if (!before && expected && expected.seq < block.seq) isExpectedThere = true
    if (block.seq === expected?.seq) {
      isExpectedThere = true
      if (block.hash !== expected.hash) note(`block ${block.seq} does not have the expected hash: it, or an earlier block, was changed`)
    }
    before = block
    blocks += 1
  }
  if (!isExpectedThere) note(`the expected block ${expected?.seq} is missing`)
  return { blocks, head: before && { seq: before.seq, hash: before.hash }, problems }
}
