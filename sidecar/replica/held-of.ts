/** What of a customer's set an answer was made from. */
import type { EntitlementSet } from '../../common/entitlements/model.ts'
import type { Check } from '../service/requests.ts'
import type { Replica } from './known.ts'

export const heldOf = (replica: Replica, { customer, entitlement }: Check): Pick<EntitlementSet, 'grants' | 'usage'> | null => {
  const set = replica.held(customer)?.set
  if (!set) return null
  return { grants: set.grants.filter(({ key }) => key === entitlement), usage: set.usage.filter(({ key }) => key === entitlement) }
}
