/**
 * The decision: may this customer use this entitlement, now? Pure; the only copy of these rules.
 *
 * Several sources may grant one key: subscriptions, which all add, and grants by hand, each with its mode. Those that are
 * current count in this order:
 *
 *   | mode      | flag                     | quota, capacity                    | value                                |
 *   | --------- | ------------------------ | ---------------------------------- | ------------------------------------ |
 *   | `deny`    | any one refuses, whatever else there is (`blocked`)                                                  |
 *   | `replace` | else the youngest counts alone, as if there were no other                                           |
 *   | add       | else on if any is on     | else limits add up                 | else the youngest counts             |
 *   | `floor`   | as add                   | raises the sum to the highest floor | counts if nothing adds: the youngest |
 *
 * Capacities are occupied in one count (buying twice gives twice). Each quota counts in a period of its own, and what is left
 * of them adds up; what a floor raises the sum by is a quota like any other. One unlimited makes all unlimited, and one soft
 * limit makes all soft. The youngest is the grant whose time began last; of equal ones the one with the greater id.
 */
import { type EntitlementSet, type Grant, type Kind, plus, sourceIdOf, type Usage } from './model.ts'
import { quotaWindow } from './quota-window.ts'

/**
 * The version of these rules. It grows when a set may hold something that earlier rules would decide otherwise: callers that
 * decide in their own process may be older than the sidecar, and are told to ask it then.
 */
export const DECISION_RULES = 2

export type Reason =
  | 'granted'
  | 'not_granted'
  | 'disabled'
  | 'expired'
  | 'limit_exceeded'
  | 'customer_unknown'
  | 'subscription_inactive'
  | 'fallback'
  | 'blocked'

/** Made in one place, so that all are of one shape: what does not apply is undefined. */
export interface Decision {
  allowed: boolean
  reason: Reason
  kind?: Kind | undefined
  limit?: number | undefined
  used?: number | undefined
  remaining?: number | undefined
  unlimited: boolean
  /** Of a soft limit: what is asked for goes beyond it. Undefined: the limit is hard, or there is none. */
  overLimit?: boolean | undefined
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
  kind: by?.deniedKind ?? by?.terms.kind,
  limit: undefined,
  used: undefined,
  remaining: undefined,
  unlimited: false,
  overLimit: undefined,
  resetsAtMs: undefined,
  value: undefined,
  validUntilMs,
  // Who names no bundle or subscription comes from none.
  bundleId: by?.bundleId || undefined,
  subscriptionId: by?.subscriptionId || undefined,
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
  // A block that is over, or is still to come, is no reason; nor is what somebody is going to be given.
  const given = grants.filter((grant) => grant.mode !== 'deny' && !(grant.source && nowMs < grant.fromMs))
  const inactive = given.findLast((grant) => grant.inactive || nowMs < grant.fromMs)
  const told = inactive ?? given.at(-1)
  if (!told) return decided(false, 'not_granted', undefined, undefined)
  return decided(false, inactive ? 'subscription_inactive' : 'expired', told, inactive ? undefined : told.untilMs)
}

const latestEnd = (grants: readonly Grant[]): number | undefined => {
  let latest = -Infinity
  for (let n = 0; n < grants.length; n += 1) latest = Math.max(latest, grants[n]?.untilMs ?? Infinity)
  return latest === Infinity ? undefined : latest
}

/** Usage of a quota has an end, and usage of a capacity has none, so usage from before a key changed its kind does not count. */
const runs = (entry: Usage, key: string, nowMs: number): entry is Usage & { untilMs: number } =>
  entry.key === key && entry.untilMs !== undefined && nowMs < entry.untilMs

/** The sums of what is left and used in all quotas of a key, each in its own period. */
const countQuotas = (decision: Decision, usage: readonly Usage[], key: string, quotas: readonly Grant[], nowMs: number): void => {
  let [limit, used, remaining, resetsAtMs] = [0, 0, 0, Infinity]
  for (const grant of quotas) {
    const { terms } = grant
    if (terms.kind !== 'quota') continue
    const sourceId = sourceIdOf(grant)
    let [ofThis, endMs] = [0, 0]
    for (let n = 0; n < usage.length; n += 1) {
      const entry = usage[n] as Usage
      if ((entry.sourceId ?? entry.subscriptionId) !== sourceId || !runs(entry, key, nowMs)) continue
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

const hasMode = ({ mode }: Grant): boolean => mode !== undefined
const isFloor = ({ mode }: Grant): boolean => mode === 'floor'
const isDenial = ({ mode }: Grant): boolean => mode === 'deny'

const limitOf = ({ terms }: Grant): number => (terms.kind === 'quota' || terms.kind === 'capacity' ? (terms.limit ?? Number.POSITIVE_INFINITY) : Number.NaN)

/** One soft limit makes all of the key soft: a source never takes away what another gives. */
const isSoft = ({ terms }: Grant): boolean => (terms.kind === 'quota' || terms.kind === 'capacity') && terms.overage === 'allow'

/** The highest floor as a grant that adds: of what is missing from the sum. It is soft if any floor is: a higher one takes nothing away. */
const topUp = (floors: readonly Grant[], adding: readonly Grant[]): Grant[] => {
  const highest = floors.reduce<Grant | undefined>((high, floor) => (high && limitOf(high) > limitOf(floor) ? high : floor), undefined)
  if (!highest || (highest.terms.kind !== 'quota' && highest.terms.kind !== 'capacity')) return []
  const { mode: _, terms, ...rest } = highest
  const sum = adding.reduce((total, grant) => total + limitOf(grant), 0)
  const overage = floors.some(isSoft) ? { overage: 'allow' as const } : {}
  return [{ ...rest, terms: terms.limit === null ? terms : { ...terms, ...overage, limit: Math.max(0, terms.limit - sum) } }]
}

/** Of the grants that are current and of one kind: those that count, by the table above, as if they all added. None of them denies. */
export const countingOf = (current: readonly Grant[]): readonly Grant[] => {
  if (!current.some(hasMode)) return current
  const replacing = current.findLast(({ mode }) => mode === 'replace')
  if (replacing) return [replacing]
  const adding = current.filter((grant) => !isFloor(grant))
  switch (current[0]?.terms.kind) {
    case 'flag':
      return current
    case 'value':
      return adding.length > 0 ? adding : current
    default:
      return [...topUp(current.filter(isFloor), adding), ...adding]
  }
}

/** A flag that is off says nothing against what another subscription has of the key under another kind. */
const isOff = ({ terms }: Grant): boolean => terms.kind === 'flag' && !terms.enabled

/** @param amount how much is asked for of a quota or capacity; 1 or more. */
export const decide = (set: Pick<EntitlementSet, 'grants' | 'usage'>, key: string, amount: number, nowMs: number): Decision => {
  const ofKey = those(set.grants, (grant) => grant.key === key)
  const current = those(ofKey, (grant) => isCurrent(grant, nowMs))
  const last = current.at(-1)
  if (!last) return refusal(ofKey, nowMs)
  const denial = current.findLast(isDenial)
  if (denial) return decided(false, 'blocked', denial, undefined)

  // A storefront's key is of one kind. Sets of before that rule may mix them: then the youngest subscription's counts.
  const { kind } = (isOff(last) ? (current.findLast((grant) => !isOff(grant)) ?? last) : last).terms
  const ofKind = current.length === 1 ? current : those(current, (grant) => grant.terms.kind === kind)
  const validUntilMs = latestEnd(ofKind)
  const same = countingOf(ofKind)
  const youngest = same.at(-1) as Grant

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
      if (decision.remaining === undefined) return decision
      const isBeyond = amount > decision.remaining
      if (same.some(isSoft)) decision.overLimit = isBeyond
      else if (isBeyond) {
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
