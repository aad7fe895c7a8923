/** What a meter knows, in an answer. */
import type { Decision } from '../../common/entitlements/decide.ts'
import { plus } from '../../common/entitlements/model.ts'
import type { MeterReading } from './meter.ts'

/** More is used than the limit. */
export const isOverLimit = ({ limit, used = 0, unlimited }: Decision): boolean => limit !== undefined && !unlimited && used > limit

/** What is left for a hard limit; undefined where none refuses. */
export const hardRemaining = ({ remaining, overLimit }: Decision): number | undefined => (overLimit === undefined ? remaining : undefined)

/** What all have used: by the set where that is told later than the ledger has answered. */
const usedBase = ({ used = 0 }: Decision, reading: MeterReading, usageSeq: number): number => {
  if (reading.isOld) return Math.max(reading.used, used)
  return usageSeq > reading.usageSeq && !reading.isAsking ? used : reading.used
}

/**
 * A decision with what a meter knows: what was counted here is told later. Where the customer's set has changed since, its
 * limit is the newer one, and of the numbers used the higher. What is refused for another reason than its limit stays refused.
 * @param usageSeq of the set's usage.
 */
export const withReading = (decision: Decision, amount: number, reading: MeterReading, usageSeq: number): Decision => {
  if (decision.reason !== 'granted' && decision.reason !== 'limit_exceeded') return decision
  const { resetsAtMs, isOld, since } = reading
  const used = plus(usedBase(decision, reading, usageSeq), since)
  const limit = isOld ? (decision.limit ?? null) : reading.limit
  if (limit === null) return { ...decision, used, resetsAtMs: resetsAtMs ?? decision.resetsAtMs }
  const remaining = Math.max(0, limit - used)
  const isBeyond = amount > remaining
  const isSoft = decision.overLimit !== undefined
  const allowed = isSoft || !isBeyond
  const overLimit = isSoft ? isBeyond : undefined
  return {
    ...decision,
    limit,
    used,
    remaining,
    allowed,
    overLimit,
    reason: allowed ? 'granted' : 'limit_exceeded',
    resetsAtMs: resetsAtMs ?? decision.resetsAtMs,
  }
}
