/** Answers a sidecar that counts uses of a customer's quota: lends to it, and takes note of what it has spent. */
import type { AskedLedger } from '../../common/metering/ledger-wire.ts'
import type { LedgerAnswer } from '../../common/metering/ledger-words.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { changeCounters } from './counters.ts'
import { note } from './history.ts'
import { askLedger } from './ledger.ts'
import { quotaOf } from './quota-of.ts'
import { tellUsage } from './tell-usage.ts'
import { withWarnings } from './warnings.ts'

/** The answer where there is no such customer: nothing is lent, and what was is of no use any more. */
export const nothingOf = ({ question }: AskedLedger): LedgerAnswer => ({
  seq: question.seq,
  leases: [],
  limit: 0,
  used: 0,
  free: 0,
  recallable: 0,
  recall: false,
  resetsAtMs: undefined,
  laterUses: question.laterUses.at(-1)?.seq ?? 0,
  usageSeq: 0,
})

export const answerSidecar = async (of: TenantScope, asked: AskedLedger): Promise<LedgerAnswer> => {
  const { customer, entitlement: key, sidecar, question } = asked
  const { known, granted, quota } = await quotaOf(of, customer, key)
  const { holders, held, current, now } = quota
  let answer = nothingOf(asked)
  const counted = await changeCounters(of, customer, known, (latest) => {
    const ledgers = { entries: latest.entries, borrowers: latest.borrowers ?? [] }
    const systemNow = of.clock.now()
    const decided = askLedger(ledgers, sidecar, question, { key, held, current, holders, now, systemNow })
    answer = decided.answer
    const counted = { ...latest, entries: [...decided.ledgers.entries], borrowers: [...decided.ledgers.borrowers] }
    return note(withWarnings(counted, key, quota, systemNow), decided.noted, systemNow)
  })
  if (!counted) return nothingOf(asked)
  // Who asks need not wait for the others.
  tellUsage(of, counted, granted).catch((error: unknown) => of.log.error({ err: error }, 'usage could not be told'))
  return { ...answer, usageSeq: counted.seq ?? 0 }
}
