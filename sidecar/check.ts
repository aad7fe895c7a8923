/** A check, and what becomes of it, as every part of the sidecar knows them; nothing here knows of messages. */
import type { Decision } from '../common/entitlements/decide.ts'
import type { CustomerKey } from '../common/entitlements/model.ts'

/** One question: may this customer use this entitlement? */
export interface Check {
  customer: CustomerKey
  entitlement: string
  /** 1 or more. */
  amount: number
  /** 0: whatever is there. */
  minRevision: number
}

/** How fresh the answer is. */
export interface Freshness {
  revision: number
  asOfMs: number
  stale: boolean
}

export interface DecidedCheck {
  decision: Decision
  freshness: Freshness
}

/** A decision, and what it was made from: for logs. */
export interface DecisionEvent extends DecidedCheck {
  check: Check
  /** The time that governed it, in epoch milliseconds. */
  nowMs: number
  /** W3C trace context of the call, if it had one. */
  traceparent?: string | undefined
}
