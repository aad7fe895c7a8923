import { type Decision, decideAll } from '../../../common/entitlements/decide.ts'
import type { StoredEntitlementSet } from '../../schemas/entitlement-set.ts'
import { type Fact, type Noter, subjectPath } from './noter.ts'

/** What is given by key, in a form that differs when it does. How much is used, and until when it is given, does not count. */
type Told = Record<string, string>

const isTold = (told: unknown): told is Told => typeof told === 'object' && told !== null

const meaningOf = ({ kind, limit, unlimited, value }: Decision): string =>
  [kind, unlimited ? 'unlimited' : limit, value].filter((one) => one !== undefined).join(' ')

/** What is given at the time of the derivation. */
const givenBy = (set: StoredEntitlementSet): Told => {
  const { tenantId, storefrontId, customerId, revision, sandbox, grants, derivedAt, updatedAt } = set
  const unused = { tenantId, storefrontId, customerId, revision, sandbox, grants, usage: [] }
  const decisions = decideAll(unused, (derivedAt ?? updatedAt).getTime())
  return Object.fromEntries(decisions.filter(({ decision }) => decision.allowed).map(({ key, decision }) => [key, meaningOf(decision)]))
}

export const entitlementsNoter: Noter<StoredEntitlementSet> = {
  subject: ({ storefrontId, customerId }) => subjectPath('storefronts', storefrontId, 'customers', customerId, 'entitlements'),
  about: ({ storefrontId, customerId }) => ({ storefrontId, customerId }),
  note: (set, told, since) => {
    const given = givenBy(set)
    if (!isTold(told) && since !== undefined) return { told: given, facts: [] }
    const before: Told = isTold(told) ? told : {}
    const time = set.derivedAt ?? set.updatedAt
    const keys = {
      'entitlement.granted': Object.keys(given).filter((key) => before[key] === undefined),
      'entitlement.changed': Object.keys(given).filter((key) => before[key] !== undefined && before[key] !== given[key]),
      'entitlement.revoked': Object.keys(before).filter((key) => given[key] === undefined),
    } as const
    const facts = Object.entries(keys)
      .filter(([, changed]) => changed.length > 0)
      .map(([type, changed]): Fact => ({ type: type as keyof typeof keys, time, part: changed }))
    return { told: given, facts }
  },
}
