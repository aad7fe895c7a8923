/**
 * The decision: may this customer use this entitlement, now? Pure; the only copy of these rules.
 * Several subscriptions may grant one key. Of those that give access now: a flag is on if any is on; limits of
 * capacities add up (buying twice gives twice); each quota counts in a period of its own, and what is left of them adds
 * up; one unlimited makes all unlimited; of values the youngest subscription's counts.
 */
import { type EntitlementSet, type Grant, type Kind, MAX_COUNT, type Usage } from './model.ts'
import { quotaWindow } from './quota-window.ts'

/**
 * The version of these rules. It grows when a set may hold something that earlier rules would decide otherwise: callers that
 * decide in their own process may be older than the sidecar, and are told to ask it then.
 */
export const DECISION_RULES = 1

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

/** The answer about a customer that does not exist. */
export const customerUnknown: Decision = { allowed: false, reason: 'customer_unknown', unlimited: false }

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

export const isCurrent = (grant: Grant, nowMs: number): boolean =>
  !grant.inactive && grant.fromMs <= nowMs && (grant.untilMs === undefined || nowMs < grant.untilMs)

/** Like `filter`, but returns the same array if every grant passes, which is nearly always so on the hot path. */
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

/** Counts stop at the largest that is exact. */
const plus = (a: number, b: number): number => Math.min(MAX_COUNT, a + b)

/** Usage of a quota has an end, and usage of a capacity has none, so usage from before a key changed its kind does not count. */
const runs = (entry: Usage, key: string, nowMs: number): entry is Usage & { untilMs: number } =>
  entry.key === key && entry.untilMs !== undefined && nowMs < entry.untilMs

/** The sums of what is left and used in all quotas of a key, each in its own period. */
const countQuotas = (decision: Decision, usage: readonly Usage[], key: string, quotas: readonly Grant[], nowMs: number): void => {
  let [limit, used, remaining, resetsAtMs] = [0, 0, 0, Infinity]
  for (const { subscriptionId, terms } of quotas) {
    if (terms.kind !== 'quota') continue
    let [ofThis, endMs] = [0, 0]
    for (let n = 0; n < usage.length; n += 1) {
      const entry = usage[n] as Usage
      if (entry.subscriptionId !== subscriptionId || !runs(entry, key, nowMs)) continue
      ofThis = plus(ofThis, entry.used)
      if (entry.used > 0) endMs = endMs === 0 ? entry.untilMs : Math.min(endMs, entry.untilMs)
    }
    used = plus(used, ofThis)
    resetsAtMs = Math.min(resetsAtMs, endMs === 0 ? quotaWindow(terms, nowMs).endMs : endMs)
    if (terms.limit === null) decision.unlimited = true
    else {
      limit = plus(limit, terms.limit)
      remaining = plus(remaining, Math.max(0, terms.limit - ofThis))
    }
  }
  for (let n = 0; n < usage.length; n += 1) {
    const entry = usage[n] as Usage
    if (entry.subscriptionId !== undefined || !runs(entry, key, nowMs)) continue
    used = plus(used, entry.used)
    remaining = Math.max(0, remaining - entry.used)
    if (entry.used > 0) resetsAtMs = quotas.length === 1 ? entry.untilMs : Math.min(resetsAtMs, entry.untilMs)
  }
  decision.used = used
  decision.resetsAtMs = resetsAtMs
  if (!decision.unlimited) [decision.limit, decision.remaining] = [limit, remaining]
}

const countCapacities = (decision: Decision, usage: readonly Usage[], key: string, capacities: readonly Grant[]): void => {
  let [limit, used] = [0, 0]
  for (const { terms } of capacities) {
    if (terms.kind !== 'capacity') continue
    if (terms.limit === null) decision.unlimited = true
    else limit = plus(limit, terms.limit)
  }
  for (let n = 0; n < usage.length; n += 1) {
    const entry = usage[n] as Usage
    if (entry.key === key && entry.untilMs === undefined) used = plus(used, entry.used)
  }
  decision.used = used
  if (!decision.unlimited) [decision.limit, decision.remaining] = [limit, Math.max(0, limit - used)]
}

/** A flag that is off says nothing against what another subscription has of the key under another kind. */
const isOff = ({ terms }: Grant): boolean => terms.kind === 'flag' && !terms.enabled

/** @param amount how much is asked for of a quota or capacity; 1 or more. */
export const decide = (set: Pick<EntitlementSet, 'grants' | 'usage'>, key: string, amount: number, nowMs: number): Decision => {
  const ofKey = those(set.grants, (grant) => grant.key === key)
  const current = those(ofKey, (grant) => isCurrent(grant, nowMs))
  const last = current.at(-1)
  if (!last) return refusal(ofKey, nowMs)

  // A storefront's key is of one kind. Sets of before that rule may mix them: then the youngest subscription's counts.
  const youngest = isOff(last) ? (current.findLast((grant) => !isOff(grant)) ?? last) : last
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
      const decision = decided(true, 'granted', youngest, validUntilMs)
      if (kind === 'quota') countQuotas(decision, set.usage, key, same, nowMs)
      else countCapacities(decision, set.usage, key, same)
      if (decision.remaining !== undefined && amount > decision.remaining) {
        decision.allowed = false
        decision.reason = 'limit_exceeded'
      }
      return decision
    }
    default:
      return youngest.terms satisfies never
  }
}

/** Every key the set speaks of. */
export const keysInSet = (set: Pick<EntitlementSet, 'grants'>): string[] => [...new Set(set.grants.map((grant) => grant.key))]

/** Every key the set speaks of, each decided for an amount of 1. */
export const decideAll = (set: Pick<EntitlementSet, 'grants' | 'usage'>, nowMs: number): { key: string; decision: Decision }[] =>
  keysInSet(set).map((key) => ({ key, decision: decide(set, key, 1, nowMs) }))
