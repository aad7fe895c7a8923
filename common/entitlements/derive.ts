/**
 * From what a customer has bought to what it may use. Pure, and independent of the time: two derivations of the
 * same stored state are equal whenever they are made, so "has it changed?" is a plain comparison. Time is applied
 * later, by `decide`.
 */
import type { Interval } from '../calendar.ts'
import { type Entitlement, type Grant, type GrantTerms, type Kind, sourceIdOf } from './model.ts'

/** The facts about a subscription, or a grant by hand, that decide access; the control plane maps its states onto this. */
export interface SourceAccess extends Pick<Grant, 'subscriptionId' | 'bundleId' | 'source' | 'mode'> {
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

/**
 * What stands in a grant that denies. Whoever knows no modes takes the last grant of a key to say of which kind it is; so this
 * is of another kind than the key, and holds nothing: the answer is a refusal there, too.
 */
const denialOf = (kind: Kind): GrantTerms =>
  kind === 'capacity' ? { kind: 'quota', limit: 0, per: 'year', anchorMs: 0, timeZone: 'UTC' } : { kind: 'capacity', limit: 0 }

const termsOf = (entitlement: Entitlement, source: SourceAccess): GrantTerms => {
  if (source.mode === 'deny') return denialOf(entitlement.kind)
  switch (entitlement.kind) {
    case 'flag':
      return { kind: 'flag', enabled: entitlement.enabled }
    case 'quota':
      return {
        kind: 'quota',
        limit: entitlement.limit,
        per: entitlement.per,
        anchorMs: source.anchorMs(entitlement.per),
        timeZone: source.timeZone,
        ...(entitlement.overage ? { overage: entitlement.overage } : {}),
      }
    case 'capacity':
      return { kind: 'capacity', limit: entitlement.limit, ...(entitlement.overage ? { overage: entitlement.overage } : {}) }
    case 'value':
      return { kind: 'value', value: entitlement.value }
    default:
      return entitlement satisfies never
  }
}

const byAge = (a: SourceAccess, b: SourceAccess): number => a.fromMs - b.fromMs || (sourceIdOf(a) < sourceIdOf(b) ? -1 : 1)

export interface DerivedGrants {
  grants: Grant[]
  /** Subscriptions that have ended and would be granted of if no other source had the same key: with `grants`, all that can matter again. */
  hidden: string[]
}

const byKey = (a: Grant, b: Grant): number => {
  if (a.key !== b.key) return a.key < b.key ? -1 : 1
  return Number(a.mode === 'deny') - Number(b.mode === 'deny')
}

/**
 * Grants of all of a customer's sources, ordered by key, then oldest source first; those that deny are the last of their key.
 * For each key, only the last source that has ended is kept, and only if no living one grants the key. It lets a sidecar say
 * "expired"; keeping more would let a set grow for ever.
 */
export const derive = (sources: readonly SourceAccess[]): DerivedGrants => {
  const living: Grant[] = []
  // Apart, since a grant by hand may be forgotten once it has ended, and the subscription that ended before it counts then.
  const [endedSubscriptions, endedGrants] = [new Map<string, Grant>(), new Map<string, Grant>()]
  const isLater = (grant: Grant, than: Grant | undefined): boolean => (than?.untilMs ?? -Infinity) <= (grant.untilMs ?? Infinity)
  for (const one of sources.toSorted(byAge)) {
    if (one.access === 'never') continue
    const isLiving = one.access === 'on' || one.access === 'off'
    const ended = one.source ? endedGrants : endedSubscriptions
    for (const entitlement of one.entitlements) {
      const grant: Grant = {
        key: entitlement.key,
        subscriptionId: one.subscriptionId,
        bundleId: one.bundleId,
        ...(one.source ? { source: one.source } : {}),
        ...(one.mode ? { mode: one.mode } : {}),
        ...(one.mode === 'deny' ? { deniedKind: entitlement.kind } : {}),
        fromMs: one.fromMs,
        ...(one.untilMs === undefined ? {} : { untilMs: one.untilMs }),
        inactive: one.access === 'off' || one.access === 'revoked',
        terms: termsOf(entitlement, one),
      }
      if (isLiving) living.push(grant)
      // What has denied says nothing of what was given.
      else if (one.mode !== 'deny' && isLater(grant, ended.get(grant.key))) ended.set(grant.key, grant)
    }
  }
  const givenKeys = new Set(living.filter(({ mode }) => mode !== 'deny').map(({ key }) => key))
  const last = new Map(endedSubscriptions)
  for (const [key, grant] of endedGrants) if (isLater(grant, last.get(key))) last.set(key, grant)
  const kept = new Set([...last.values()].filter(({ key }) => !givenKeys.has(key)))
  const hidden = [...endedSubscriptions.values()].filter((grant) => !kept.has(grant))
  return {
    // A stable sort: within a key the order stays oldest source first.
    grants: [...living, ...kept].sort(byKey),
    hidden: [...new Set(hidden.map(({ subscriptionId }) => subscriptionId))].sort(),
  }
}

export const deriveGrants = (sources: readonly SourceAccess[]): Grant[] => derive(sources).grants
