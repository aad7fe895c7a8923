import type { Decision } from '../../common/entitlements/decide.ts'
import type { Freshness } from '../service/answered.ts'
import type { Check } from '../service/requests.ts'

/** What an answer was made from. */
export interface Told {
  check: Check
  decision: Decision
  freshness: Freshness
  /** The time that governed it, in epoch milliseconds. */
  nowMs: number
  /** W3C trace context of the call, if it had one. */
  traceparent?: string | undefined
}
