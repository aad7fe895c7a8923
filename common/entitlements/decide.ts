/**
 * The decision: may this customer use this entitlement, now? Pure; the only copy of these rules.
 * Several subscriptions may grant one key. Of those that give access now: a flag is on if any is on; limits of
 * quotas and capacities add up (buying twice gives twice), and one unlimited makes all unlimited; of values the
 * youngest subscription's counts.
 */
import type { EntitlementSet, Grant, Kind, Usage } from './model.ts'
import { quotaWindow } from './quota-window.ts'

export type Reason = 'granted' | 'not_granted' | 'disabled' | 'expired' | 'limit_exceeded' | 'customer_unknown' | 'subscription_inactive' | 'fallback'

/** Made in one place, so that all are of one shape: what does not apply is undefined. */
export interface Decision {
  allowed: boolean
  reason: Reason
  kind?: Kind | undefined
  limit?: number | undefined
  used?: number | undefined
  remaining?: number | undefined
  unlimited: boolean
  resetsAtMs?: number | undefined
  value?: string | undefined
  validUntilMs?: number | undefined
  bundleId?: string | undefined
  subscriptionId?: string | undefined
}

const decided = (allowed: boolean, reason: Reason, by: Grant | undefined, validUntilMs: number | undefined): Decision => ({
  allowed,
  reason,
  kind: by?.terms.kind,
  limit: undefined,
  used: undefined,
  remaining: undefined,
  unlimited: false,
  resetsAtMs: undefined,
  value: undefined,
  validUntilMs,
  bundleId: by?.bundleId,
  subscriptionId: by?.subscriptionId,
})

const isCurrent = (grant: Grant, nowMs: number): boolean => !grant.inactive && grant.fromMs <= nowMs && (grant.untilMs === undefined || nowMs < grant.untilMs)

/** As `filter`; the same array when it is all of them, as it nearly always is where this is asked most. */
const those = (grants: readonly Grant[], is: (grant: Grant) => boolean): readonly Grant[] => {
  for (let n = 0; n < grants.length; n += 1) if (!is(grants[n] as Grant)) return grants.filter(is)
  return grants
}

/** Why none of a key's grants is current. What the customer can still mend is said first. */
const refusal = (grants: readonly Grant[], nowMs: number): Decision => {
  const inactive = grants.findLast((grant) => grant.inactive || nowMs < grant.fromMs)
  const told = inactive ?? grants.at(-1)
  if (!told) return decided(false, 'not_granted', undefined, undefined)
  return decided(false, inactive ? 'subscription_inactive' : 'expired', told, inactive ? undefined : told.untilMs)
}

const latestEnd = (grants: readonly Grant[]): number | undefined => {
  let latest = -Infinity
  for (let n = 0; n < grants.length; n += 1) latest = Math.max(latest, grants[n]?.untilMs ?? Infinity)
  return latest === Infinity ? undefined : latest
}

const usedNow = (usage: Usage | undefined, nowMs: number): number => (usage && (usage.untilMs === undefined || nowMs < usage.untilMs) ? usage.used : 0)

const totalLimit = (grants: readonly Grant[]): number | null => {
  let total = 0
  for (const { terms } of grants) {
    if (terms.kind !== 'quota' && terms.kind !== 'capacity') continue
    if (terms.limit === null) return null
    total += terms.limit
  }
  return total
}

/** @param amount how much is asked for of a quota or capacity; 1 or more. */
export const decide = (set: Pick<EntitlementSet, 'grants' | 'usage'>, key: string, amount: number, nowMs: number): Decision => {
  const ofKey = those(set.grants, (grant) => grant.key === key)
  const current = those(ofKey, (grant) => isCurrent(grant, nowMs))
  const youngest = current.at(-1)
  if (!youngest) return refusal(ofKey, nowMs)

  // A bundle may change the kind of a key between versions: the youngest subscription's kind counts.
  const { kind } = youngest.terms
  const same = current.length === 1 ? current : those(current, (grant) => grant.terms.kind === kind)
  const validUntilMs = latestEnd(same)

  switch (youngest.terms.kind) {
    case 'flag': {
      const on = same.find((grant) => grant.terms.kind === 'flag' && grant.terms.enabled)
      return decided(on !== undefined, on ? 'granted' : 'disabled', on ?? youngest, validUntilMs)
    }
    case 'value': {
      const decision = decided(true, 'granted', youngest, validUntilMs)
      decision.value = youngest.terms.value
      return decision
    }
    case 'quota':
    case 'capacity': {
      const usage = set.usage.find((entry) => entry.key === key)
      const used = usedNow(usage, nowMs)
      const limit = totalLimit(same)
      const decision = decided(true, 'granted', youngest, validUntilMs)
      decision.used = used
      if (youngest.terms.kind === 'quota')
        decision.resetsAtMs = used > 0 && usage?.untilMs !== undefined ? usage.untilMs : quotaWindow(youngest.terms, nowMs).endMs
      if (limit === null) {
        decision.unlimited = true
        return decision
      }
      decision.limit = limit
      decision.remaining = Math.max(0, limit - used)
      if (amount > decision.remaining) {
        decision.allowed = false
        decision.reason = 'limit_exceeded'
      }
      return decision
    }
    default:
      return youngest.terms satisfies never
  }
}

/** Every key the set speaks of, each decided for an amount of 1. */
export const decideAll = (set: EntitlementSet, nowMs: number): { key: string; decision: Decision }[] =>
  [...new Set(set.grants.map((grant) => grant.key))].map((key) => ({ key, decision: decide(set, key, 1, nowMs) }))
