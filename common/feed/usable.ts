/**
 * Checks that an answer can be made from a set, whatever it was read from: a reader that found out only during a call would
 * have nothing to answer. Limits and usage may have any size; the decision handles that.
 */
import { LRUCache } from 'lru-cache'
import { intervals, isTimeZone } from '../calendar.ts'
import { type EntitlementSet, type Grant, grantModes, grantSources, kinds, type TestClock, type Usage } from '../entitlements/model.ts'

/** The largest time of `Date`: https://tc39.es/ecma262/#sec-time-values-and-time-range. */
const MAX_INSTANT_MS = 8.64e15
/** The longest name in the time zone database has 32 characters. */
const MAX_ZONE = 64

/** There are some 600, and asking for one costs more than all else here. */
const zones = new LRUCache<string, boolean>({ max: 1_000 })

const isZone = (zone: unknown): boolean => {
  if (typeof zone !== 'string' || zone.length > MAX_ZONE) return false
  const known = zones.get(zone)
  if (known !== undefined) return known
  const is = isTimeZone(zone)
  zones.set(zone, is)
  return is
}

const isInstant = (ms: unknown): boolean => Number.isInteger(ms) && Math.abs(ms as number) <= MAX_INSTANT_MS
const isCount = (count: unknown): boolean => Number.isInteger(count) && (count as number) >= 0

const wrongTerms = (terms: Grant['terms'] | undefined): string | undefined => {
  switch (terms?.kind) {
    case 'flag':
      return typeof terms.enabled === 'boolean' ? undefined : 'flag'
    case 'value':
      return typeof terms.value === 'string' ? undefined : 'value'
    case 'capacity':
      if (terms.overage !== undefined && terms.overage !== 'allow') return 'overage'
      return terms.limit === null || isCount(terms.limit) ? undefined : 'limit'
    case 'quota':
      if (terms.overage !== undefined && terms.overage !== 'allow') return 'overage'
      if (terms.limit !== null && !isCount(terms.limit)) return 'limit'
      if (!intervals.includes(terms.per)) return 'interval'
      if (!isInstant(terms.anchorMs)) return 'anchor'
      return isZone(terms.timeZone) ? undefined : 'time zone'
    default:
      return 'kind'
  }
}

const wrongSource = ({ source, mode, deniedKind }: Grant): string | undefined => {
  if (source && (!grantSources.includes(source.type) || typeof source.id !== 'string')) return 'source'
  if (mode !== undefined && !grantModes.includes(mode)) return 'mode'
  return deniedKind === undefined || kinds.includes(deniedKind) ? undefined : 'kind'
}

const wrongGrant = (grant: Grant): string | undefined => {
  for (const text of [grant.key, grant.subscriptionId, grant.bundleId]) if (typeof text !== 'string') return 'id'
  if (typeof grant.inactive !== 'boolean') return 'state'
  if (!isInstant(grant.fromMs) || (grant.untilMs !== undefined && !isInstant(grant.untilMs))) return 'time'
  return wrongSource(grant) ?? wrongTerms(grant.terms)
}

const wrongUsage = ({ key, used, untilMs, subscriptionId = '', sourceId = '' }: Usage): string | undefined => {
  for (const text of [key, subscriptionId, sourceId]) if (typeof text !== 'string') return 'id'
  if (!isCount(used)) return 'number'
  return untilMs === undefined || isInstant(untilMs) ? undefined : 'time'
}

/** @throws TypeError that says what is wrong with it. */
export const checkUsable = (set: EntitlementSet): void => {
  if (!Number.isSafeInteger(set.revision) || set.revision < 1) throw new TypeError('feed: a set has no usable revision')
  for (const grant of set.grants) {
    const wrong = wrongGrant(grant)
    if (wrong !== undefined) throw new TypeError(`feed: a grant of ${JSON.stringify(grant.key)} has no usable ${wrong}`)
  }
  for (const usage of set.usage) {
    const wrong = wrongUsage(usage)
    if (wrong !== undefined) throw new TypeError(`feed: the usage of ${JSON.stringify(usage.key)} has no usable ${wrong}`)
  }
}

/** @throws TypeError. */
export const checkUsableClock = ({ revision, nowMs }: TestClock): void => {
  if (!Number.isSafeInteger(revision) || !isInstant(nowMs)) throw new TypeError('feed: a clock has no usable time')
}
