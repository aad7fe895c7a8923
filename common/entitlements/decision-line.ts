import type { Decision } from './decide.ts'
import type { EntitlementSet } from './model.ts'

/** One line of a decision log. Instants are epoch milliseconds. */
export interface DecisionLine {
  at: number
  tenantId: string
  storefrontId: string
  customerId: string
  entitlement: string
  amount: number
  /** The customer's grants of this entitlement; null if the customer was unknown. */
  held: Pick<EntitlementSet, 'grants' | 'usage'> | null
  decision: Decision
  revision: number
  asOf: number
  stale: boolean
  traceparent?: string
}
