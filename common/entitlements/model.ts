/**
 * The words of entitlements, as plain data. A bundle lists `Entitlement`s; a subscription turns each into a
 * `Grant`; all grants of a customer are its `EntitlementSet`. Instants are epoch milliseconds here, since this
 * is what the hot path compares.
 */
import type { Interval } from '../calendar.ts'

export const kinds = ['flag', 'quota', 'capacity', 'value'] as const
export type Kind = (typeof kinds)[number]

/** How a limit is kept, where it is not hard, and when it is told of. */
export interface LimitTerms {
  /** A soft limit: uses beyond it are allowed, and counted. Absent: they are refused. */
  overage?: 'allow'
  /** Shares of the limit, in percent, at which a warning is given. */
  warnAt?: number[]
}

/** One right inside a bundle. A `limit` of null is unlimited. */
export type Entitlement = { key: string } & (
  | { kind: 'flag'; enabled: boolean }
  | ({ kind: 'quota'; limit: number | null; per: Interval } & LimitTerms)
  | ({ kind: 'capacity'; limit: number | null } & LimitTerms)
  | { kind: 'value'; value: string }
)

/** One period of a quota: [startMs, endMs). */
export interface QuotaWindow {
  startMs: number
  endMs: number
}

export type GrantTerms =
  | { kind: 'flag'; enabled: boolean }
  /** `window`: a period that was worked out before, where a reader keeps it. It follows from the rest and is never stored or published. */
  | { kind: 'quota'; limit: number | null; per: Interval; anchorMs: number; timeZone: string; window?: QuotaWindow; overage?: 'allow' }
  | { kind: 'capacity'; limit: number | null; overage?: 'allow' }
  | { kind: 'value'; value: string }

/** Where grants come from that no subscription gives. */
export const grantSources = ['manual', 'external', 'import'] as const

/** How a grant counts beside the others of its key, where it does not just add to them; `decide.ts` has the table. */
export const grantModes = ['floor', 'replace', 'deny'] as const

export interface GrantSource {
  type: (typeof grantSources)[number]
  /** The grant's own id. */
  id: string
}

/** One entitlement given to one customer from one source, valid in [fromMs, untilMs). */
export interface Grant {
  key: string
  /** Empty unless the source is a subscription; so is `bundleId`. */
  subscriptionId: string
  bundleId: string
  /** Absent: a subscription. */
  source?: GrantSource | undefined
  /** Absent: it adds. */
  mode?: (typeof grantModes)[number] | undefined
  /** Of a grant that denies: what kind its key is of, which its terms do not say. */
  deniedKind?: Kind | undefined
  fromMs: number
  /** Absent: no end is known. */
  untilMs?: number | undefined
  /** The subscription gives no access in its present state, whatever the time. */
  inactive: boolean
  terms: GrantTerms
}

/**
 * The largest count there is: whole numbers are exact up to it. Limits and uses that are entered are no larger; what is
 * summed or multiplied stops there.
 */
export const MAX_COUNT = Number.MAX_SAFE_INTEGER

/** The sum of two counts, which stops at the largest that is exact. */
export const plus = (a: number, b: number): number => Math.min(MAX_COUNT, a + b)

/** As long as an id may be, in characters (Unicode code points), as at the control plane. */
export const MAX_ID = 128
export const isTooLong = (text: string): boolean => text.length > MAX_ID && (text.length > 2 * MAX_ID || [...text].length > MAX_ID)
/** What allowances and uses of a grant are counted under. */
export const sourceIdOf = ({ source, subscriptionId }: Pick<Grant, 'source' | 'subscriptionId'>): string => source?.id ?? subscriptionId

/** How much of a quota or capacity a customer has used. */
export interface Usage {
  key: string
  used: number
  /**
   * Quota only: whose allowance it is taken from, since each subscription's counts in periods of its own; empty if it is a
   * grant's. Absent: it was counted before that was told apart, and is taken from all of them together.
   */
  subscriptionId?: string
  /** Quota only: the grant whose allowance it is taken from. Absent: no grant's. */
  sourceId?: string
  /** Quota only: the end of the period that `used` counts; from then on nothing is used yet. */
  untilMs?: number
}

export interface CustomerKey {
  tenantId: string
  storefrontId: string
  customerId: string
}

export interface EntitlementSet extends CustomerKey {
  /** Only grows. A reader that holds a higher revision ignores a lower one. */
  revision: number
  /** Time for this customer is the tenant's test clock. */
  sandbox: boolean
  grants: Grant[]
  usage: Usage[]
  /** The count that `usage` is of: of two, the higher is the later, whatever the revisions. Absent: it is not known. */
  usageSeq?: number
  /** The customer is no more: readers forget what they held. Nothing is granted. */
  removed?: true
}

/** What a customer has used, by a count that may be later than the one that its set says. */
export interface CustomerUsage extends CustomerKey {
  usageSeq: number
  usage: Usage[]
  /** Keys of quotas that somebody waits for: units that are lent and not needed now are to be given back. */
  recalled?: string[]
}

export interface TestClock {
  tenantId: string
  revision: number
  nowMs: number
}
