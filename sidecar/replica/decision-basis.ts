import type { EntitlementSet } from '../../common/entitlements/model.ts'
import type { Check } from '../check.ts'
import type { Sets } from './replica.ts'

/** The part of a customer's set that a decision was made from. */
export type DecisionBasis = Pick<EntitlementSet, 'grants' | 'usage'>

export const basisOf = (sets: Pick<Sets, 'held'>, { customer, entitlement }: Check): DecisionBasis | null => {
  const set = sets.held(customer)?.set
  if (!set) return null
  return { grants: set.grants.filter(({ key }) => key === entitlement), usage: set.usage.filter(({ key }) => key === entitlement) }
}
