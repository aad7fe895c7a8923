/** What a meter knows, in an answer. */
import type { Decision } from '../../common/entitlements/decide.ts'
import { MAX_COUNT } from '../../common/entitlements/model.ts'
import type { MeterReading } from './meter.ts'

/**
 * A decision with what a meter knows: what was counted here is published later. Where the customer's set has changed since, its
 * limit is the newer one, and of the numbers used the higher.
 */
export const withReading = (decision: Decision, amount: number, reading: MeterReading): Decision => {
  const { resetsAtMs, isOld, since } = reading
  const used = Math.min(MAX_COUNT, (isOld ? Math.max(reading.used, decision.used ?? 0) : reading.used) + since)
  const limit = isOld ? (decision.limit ?? null) : reading.limit
  if (limit === null) return { ...decision, used, resetsAtMs: resetsAtMs ?? decision.resetsAtMs }
  const remaining = Math.max(0, limit - used)
  const allowed = amount <= remaining
  return { ...decision, limit, used, remaining, allowed, reason: allowed ? 'granted' : 'limit_exceeded', resetsAtMs: resetsAtMs ?? decision.resetsAtMs }
}
