/** Answers before they become messages. */
import type { Decision } from '../../common/entitlements/decide.ts'

/** How fresh the answer is. */
export interface Freshness {
  revision: number
  asOfMs: number
  stale: boolean
}

export interface Answered {
  decision: Decision
  freshness: Freshness
}

/** Everything that a customer holds. */
export interface Holdings {
  decided: { key: string; decision: Decision }[]
  freshness: Freshness
  customerKnown: boolean
}
