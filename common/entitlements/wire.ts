/** Entitlement sets and test clocks as the bytes of `proto/tollgate/feed/v1`; the only place that maps them. */
import * as wire from '../../proto/gen/tollgate/feed/v1/feed.ts'
import { type Interval, intervals } from '../calendar.ts'
import {
  type CustomerUsage,
  type EntitlementSet,
  type Grant,
  type GrantSource,
  type GrantTerms,
  type Kind,
  kinds,
  MAX_COUNT,
  type TestClock,
  type Usage,
} from './model.ts'

const toLimit = (limit: number | null): bigint | undefined => (limit === null ? undefined : BigInt(limit))
/** Larger counts than are exact are taken for the largest that is. */
const fromCount = (count: bigint): number => Math.min(MAX_COUNT, Number(count))
const fromLimit = (limit: bigint | undefined): number | null => (limit === undefined ? null : fromCount(limit))

const toTerms = (terms: GrantTerms): wire.Grant['terms'] => {
  switch (terms.kind) {
    case 'flag':
      return { $case: 'flag', value: { enabled: terms.enabled } }
    case 'quota':
      return {
        $case: 'quota',
        value: { limit: toLimit(terms.limit), per: terms.per, anchorMs: BigInt(terms.anchorMs), timeZone: terms.timeZone, overage: terms.overage === 'allow' },
      }
    case 'capacity':
      return { $case: 'capacity', value: { limit: toLimit(terms.limit), overage: terms.overage === 'allow' } }
    case 'value':
      return { $case: 'value', value: { value: terms.value } }
    default:
      return terms satisfies never
  }
}

const toUsage = ({ key, used, untilMs, subscriptionId, sourceId = '' }: Usage): wire.Usage => ({
  key,
  used: BigInt(used),
  untilMs: untilMs === undefined ? undefined : BigInt(untilMs),
  subscriptionId,
  sourceId,
})

const fromUsage = ({ key, used, untilMs, subscriptionId, sourceId }: wire.Usage): Usage => ({
  key,
  used: fromCount(used),
  ...(untilMs === undefined ? {} : { untilMs: Number(untilMs) }),
  ...(subscriptionId === undefined ? {} : { subscriptionId }),
  ...(sourceId === '' ? {} : { sourceId }),
})

const fromInterval = (text: string): Interval => {
  const interval = intervals.find((known) => known === text)
  if (!interval) throw new TypeError(`feed: unknown interval ${JSON.stringify(text)}`)
  return interval
}

const fromTerms = (terms: wire.Grant['terms']): GrantTerms => {
  switch (terms?.$case) {
    case 'flag':
      return { kind: 'flag', enabled: terms.value.enabled }
    case 'quota':
      return {
        kind: 'quota',
        limit: fromLimit(terms.value.limit),
        per: fromInterval(terms.value.per),
        anchorMs: Number(terms.value.anchorMs),
        timeZone: terms.value.timeZone,
        ...(terms.value.overage ? { overage: 'allow' } : {}),
      }
    case 'capacity':
      return { kind: 'capacity', limit: fromLimit(terms.value.limit), ...(terms.value.overage ? { overage: 'allow' } : {}) }
    case 'value':
      return { kind: 'value', value: terms.value.value }
    case undefined:
      throw new TypeError('feed: a grant has a kind that this version does not know')
    default:
      return terms satisfies never
  }
}

const sources: Record<GrantSource['type'], wire.Source> = {
  manual: wire.Source.SOURCE_MANUAL,
  external: wire.Source.SOURCE_EXTERNAL,
  import: wire.Source.SOURCE_IMPORT,
}

const modes: Record<NonNullable<Grant['mode']>, wire.Mode> = {
  floor: wire.Mode.MODE_FLOOR,
  replace: wire.Mode.MODE_REPLACE,
  deny: wire.Mode.MODE_DENY,
}

/** @throws TypeError for one that this version does not know. */
const nameOf = <N extends string>(names: Record<N, number>, value: number, what: string): N => {
  for (const name in names) if (names[name] === value) return name
  throw new TypeError(`feed: a grant has a ${what} that this version does not know`)
}

const fromKind = (text: string): Kind => {
  const kind = kinds.find((known) => known === text)
  if (!kind) throw new TypeError(`feed: unknown kind ${JSON.stringify(text)}`)
  return kind
}

const fromGrant = (grant: wire.Grant): Grant => ({
  key: grant.key,
  subscriptionId: grant.subscriptionId,
  bundleId: grant.bundleId,
  ...(grant.source === wire.Source.SOURCE_UNSPECIFIED ? {} : { source: { type: nameOf(sources, grant.source, 'source'), id: grant.sourceId } }),
  ...(grant.mode === wire.Mode.MODE_UNSPECIFIED ? {} : { mode: nameOf(modes, grant.mode, 'mode') }),
  ...(grant.deniedKind === '' ? {} : { deniedKind: fromKind(grant.deniedKind) }),
  fromMs: Number(grant.fromMs),
  ...(grant.untilMs === undefined ? {} : { untilMs: Number(grant.untilMs) }),
  inactive: grant.inactive,
  terms: fromTerms(grant.terms),
})

export const encodeSet = (set: EntitlementSet): Uint8Array =>
  wire.EntitlementSet.encode({
    tenantId: set.tenantId,
    storefrontId: set.storefrontId,
    customerId: set.customerId,
    revision: BigInt(set.revision),
    sandbox: set.sandbox,
    grants: set.grants.map(({ source, mode, deniedKind = '', ...grant }) => ({
      ...grant,
      source: source ? sources[source.type] : wire.Source.SOURCE_UNSPECIFIED,
      sourceId: source?.id ?? '',
      mode: mode ? modes[mode] : wire.Mode.MODE_UNSPECIFIED,
      deniedKind,
      fromMs: BigInt(grant.fromMs),
      untilMs: grant.untilMs === undefined ? undefined : BigInt(grant.untilMs),
      terms: toTerms(grant.terms),
    })),
    usage: set.usage.map(toUsage),
    removed: set.removed === true,
    usageSeq: BigInt(set.usageSeq ?? 0),
  }).finish()

/** @throws TypeError for bytes that are not an entitlement set this version understands. */
export const decodeSet = (bytes: Uint8Array): EntitlementSet => {
  const set = wire.EntitlementSet.decode(bytes)
  return {
    tenantId: set.tenantId,
    storefrontId: set.storefrontId,
    customerId: set.customerId,
    revision: Number(set.revision),
    sandbox: set.sandbox,
    grants: set.grants.map(fromGrant),
    usage: set.usage.map(fromUsage),
    ...(set.usageSeq === 0n ? {} : { usageSeq: fromCount(set.usageSeq) }),
    ...(set.removed ? { removed: true } : {}),
  }
}

export const encodeUsage = ({ usageSeq, usage, recalled = [], ...customer }: CustomerUsage): Uint8Array =>
  wire.CustomerUsage.encode({ ...customer, usageSeq: BigInt(usageSeq), usage: usage.map(toUsage), recalled }).finish()

/** @throws Error for bytes that are none. */
export const decodeUsage = (bytes: Uint8Array): CustomerUsage => {
  const { tenantId, storefrontId, customerId, usageSeq, usage, recalled } = wire.CustomerUsage.decode(bytes)
  const told = { tenantId, storefrontId, customerId, usageSeq: fromCount(usageSeq), usage: usage.map(fromUsage) }
  return recalled.length === 0 ? told : { ...told, recalled }
}

export const encodeClock = (clock: TestClock): Uint8Array =>
  wire.TestClock.encode({ tenantId: clock.tenantId, revision: BigInt(clock.revision), nowMs: BigInt(clock.nowMs) }).finish()

export const decodeClock = (bytes: Uint8Array): TestClock => {
  const clock = wire.TestClock.decode(bytes)
  return { tenantId: clock.tenantId, revision: Number(clock.revision), nowMs: Number(clock.nowMs) }
}
