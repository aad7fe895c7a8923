/** What a grant by hand means for access, in the words that `derive` takes, and for uses that are counted. Pure. */
import type { SourceAccess } from '../../common/entitlements/derive.ts'
import { toEntitlement } from '../schemas/bundle.ts'
import type { CustomerGrants, GrantByHand } from '../schemas/customer-grants.ts'
import type { Holder } from './allowances.ts'

export type GivenGrants = Pick<CustomerGrants, 'living' | 'ended'>

const accessOf = ({ id, source, mode, from, until, timeZone, entitlements }: GrantByHand, access: 'on' | 'ended'): SourceAccess => ({
  subscriptionId: '',
  bundleId: '',
  source: { type: source, id },
  ...(mode ? { mode } : {}),
  access,
  fromMs: from.getTime(),
  ...(until ? { untilMs: until.getTime() } : {}),
  anchorMs: () => from.getTime(),
  timeZone,
  entitlements: entitlements.map(toEntitlement),
})

/** @param given undefined: the customer has been given nothing by hand. */
export const accessOfGrants = (given: GivenGrants | undefined): SourceAccess[] => [
  ...(given?.living ?? []).map((grant) => accessOf(grant, 'on')),
  ...(given?.ended ?? []).map((grant) => accessOf(grant, 'ended')),
]

/** Its quotas count from when it begins, and nothing pauses them. */
export const holderOfGrant = ({ id, from, timeZone, entitlements }: GrantByHand): Holder => ({
  id,
  isGrant: true,
  status: 'active',
  anchor: from,
  timeZone,
  entitlements,
  pricing: { interval: 'month' },
})
