/**
 * From what a customer has bought to what it may use. Pure, and independent of the time: two derivations of the
 * same stored state are equal whenever they are made, so "has it changed?" is a plain comparison. Time is applied
 * later, by `decide`.
 */
import type { Interval } from '../calendar.ts'
import type { Entitlement, Grant, GrantTerms } from './model.ts'

/** The facts about a subscription that decide access; the control plane maps its states onto this. */
export interface SubscriptionAccess {
  subscriptionId: string
  bundleId: string
  /**
   * `on`: gives access in [fromMs, untilMs). `off`: none in its present state. Final are `ended` (its time was over
   * at untilMs), `revoked` (ended before its time) and `never` (it never gave any).
   */
  access: 'on' | 'off' | 'ended' | 'revoked' | 'never'
  fromMs: number
  untilMs?: number
  /** The instant from which the periods of a quota with this interval are counted. */
  anchorMs(per: Interval): number
  timeZone: string
  entitlements: readonly Entitlement[]
}

const termsOf = (entitlement: Entitlement, subscription: SubscriptionAccess): GrantTerms => {
  switch (entitlement.kind) {
    case 'flag':
      return { kind: 'flag', enabled: entitlement.enabled }
    case 'quota':
      return {
        kind: 'quota',
        limit: entitlement.limit,
        per: entitlement.per,
        anchorMs: subscription.anchorMs(entitlement.per),
        timeZone: subscription.timeZone,
      }
    case 'capacity':
      return { kind: 'capacity', limit: entitlement.limit }
    case 'value':
      return { kind: 'value', value: entitlement.value }
    default:
      return entitlement satisfies never
  }
}

const byAge = (a: SubscriptionAccess, b: SubscriptionAccess): number => a.fromMs - b.fromMs || (a.subscriptionId < b.subscriptionId ? -1 : 1)

export interface DerivedGrants {
  grants: Grant[]
  /** Those that have ended and would be granted of if no living subscription had the same key: with `grants`, all that can matter again. */
  hidden: string[]
}

/**
 * Grants of all of a customer's subscriptions, ordered by key, then oldest subscription first.
 * For each key, only the last ended subscription is kept, and only if no living one grants the key. It lets a sidecar say
 * "expired"; keeping more would let a set grow for ever.
 */
export const derive = (subscriptions: readonly SubscriptionAccess[]): DerivedGrants => {
  const living: Grant[] = []
  const ended = new Map<string, Grant>()
  for (const subscription of subscriptions.toSorted(byAge)) {
    if (subscription.access === 'never') continue
    for (const entitlement of subscription.entitlements) {
      const grant: Grant = {
        key: entitlement.key,
        subscriptionId: subscription.subscriptionId,
        bundleId: subscription.bundleId,
        fromMs: subscription.fromMs,
        ...(subscription.untilMs === undefined ? {} : { untilMs: subscription.untilMs }),
        inactive: subscription.access === 'off' || subscription.access === 'revoked',
        terms: termsOf(entitlement, subscription),
      }
      if (subscription.access === 'on' || subscription.access === 'off') living.push(grant)
      else if ((ended.get(grant.key)?.untilMs ?? -Infinity) <= (grant.untilMs ?? Infinity)) ended.set(grant.key, grant)
    }
  }
  const livingKeys = new Set(living.map((grant) => grant.key))
  const last = [...ended.values()]
  return {
    // A stable sort: within a key the order stays oldest subscription first.
    grants: [...living, ...last.filter(({ key }) => !livingKeys.has(key))].sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)),
    hidden: [...new Set(last.filter(({ key }) => livingKeys.has(key)).map(({ subscriptionId }) => subscriptionId))].sort(),
  }
}

export const deriveGrants = (subscriptions: readonly SubscriptionAccess[]): Grant[] => derive(subscriptions).grants
