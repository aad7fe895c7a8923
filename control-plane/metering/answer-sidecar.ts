/** Answers a sidecar that counts uses of a customer's quota: lends to it, and takes note of what it has spent. */
import type { AskedLedger } from '../../common/metering/ledger-wire.ts'
import type { LedgerAnswer } from '../../common/metering/ledger-words.ts'
import { removeForGood } from '../storage/remove.ts'
import { insertOrGet, update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { askLedger } from './ledger.ts'
import { quotaOf } from './quota-of.ts'

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
})

export const answerSidecar = async (of: TenantScope, asked: AskedLedger): Promise<LedgerAnswer> => {
  const { storage } = of
  const { customer, entitlement: key, sidecar, question } = asked
  const id = of.keys.customer(customer.storefrontId, customer.customerId)
  const owner = await storage.customers.find(id)
  if (!owner || owner.erasing) return nothingOf(asked)
  const { known, holders, held, current, now } = await quotaOf(of, customer, key)
  const made = known ?? (await insertOrGet(storage.usageCounters, { _id: id, ...customer, entries: [], recentReports: [], createdAt: of.clock.now() }))
  let answer = nothingOf(asked)
  await update(
    storage.usageCounters,
    id,
    (latest) => {
      const ledgers = { entries: latest.entries, borrowers: latest.borrowers ?? [] }
      const decided = askLedger(ledgers, sidecar, question, { key, held, current, holders, now, systemNow: of.clock.now() })
      answer = decided.answer
      return { ...latest, entries: [...decided.ledgers.entries], borrowers: [...decided.ledgers.borrowers] }
    },
    made,
  )
  // An erasure marks the customer before it takes the counters away: one of the two sees the other.
  const still = await storage.customers.find(id)
  if (still && !still.erasing) return answer
  await removeForGood(storage.usageCounters, id)
  return nothingOf(asked)
}
