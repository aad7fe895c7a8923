/** Answers, as unions by reason and kind: what an answer has follows from what it says. */
import type { Decision, Reason as DecisionReason } from '../common/entitlements/decide.ts'
import type { Kind } from '../common/entitlements/model.ts'
import { wireKinds, wireReasons } from '../common/entitlements/wire-names.ts'
import type { CheckEntitlementResponse } from '../proto/gen/entitlement/v1/entitlement.ts'
import type { CallOptions } from './call-options.ts'
import type { TollgateError } from './errors.ts'

export type { Kind }

/** How certain an answer is. */
export interface Known {
  /** The revision of the customer's set that decided. */
  revision: number
  /** When that set was last known to be current, by the sidecar's clock. */
  asOf: Date
  /** How long that is ago. */
  ageMs: number
  /** The sidecar says that this is longer ago than it should be. An answer from memory never is. */
  stale: boolean
  /** Decided in this process, or by the sidecar. */
  from: 'memory' | 'sidecar'
}

/** What gives the entitlement. */
export interface Through {
  bundleId?: string
  subscriptionId?: string
  /** When access ends if nothing else happens; absent if no end is known. */
  validUntil?: Date
}

/** A `limit` of null is unlimited. */
export type Count =
  | { kind: 'quota'; limit: number | null; used: number; remaining: number | null /** When `used` starts again from 0. */; resetsAt: Date }
  | { kind: 'capacity'; limit: number | null; used: number; remaining: number | null }

type Granted = { allowed: true; reason: 'granted' } & ({ kind: 'flag' } | { kind: 'value'; value: string } | Count)
type LimitExceeded = { allowed: false; reason: 'limit_exceeded' } & Count
/** Nothing that was bought has it, or nobody knows the customer. */
type NotGranted = { allowed: false; reason: 'not_granted' | 'customer_unknown' | 'blocked' }
/** It was bought, and gives nothing now. */
type Ineffective = { allowed: false; reason: 'disabled' | 'expired' | 'subscription_inactive'; kind: Kind }
/** The sidecar could not know; its staleness policy answered. */
type Fallback = { allowed: boolean; reason: 'fallback'; value?: string; limit?: number }
/** A reason or kind that this version of the client does not know. */
type Other = { allowed: boolean; reason: 'other' }
/** This client could not find out; its `onUnknown` answered. */
export type Unknown = { allowed: boolean; reason: 'unknown'; error: TollgateError }

/** What was decided. */
export type Decided = Known & Through & (Granted | LimitExceeded | NotGranted | Ineffective | Fallback | Other)
export type Answer = Decided | Unknown
export type Reason = Answer['reason']

/**
 * What was decided about a use. `counted` is false for a denial; undefined if nobody can say. `overLimit`: it was counted beyond a
 * soft limit.
 */
export type Consumed = (Decided & { counted: boolean; overLimit: boolean }) | (Unknown & { counted?: undefined; overLimit?: undefined })

export interface Committed {
  /** How much was counted. */
  used: number
  /** More is used now than the limit allows. */
  overLimit: boolean
}

/** What is held until it is counted or given back. */
export interface Reservation {
  /** By this time of the sidecar it is given back, unless it was counted. */
  expiresAt: Date
  /**
   * Counts what was reserved, or as much as was used in the end: the rest is given back, and what goes beyond has happened, and
   * is counted, too, and so is a commit after `expiresAt`. A repeat counts once.
   * @throws TollgateError: `not_found` for a reservation that was released or has been forgotten, `invalid_request` for another amount than before;
   *   the signal's reason.
   */
  commit(amount?: number, options?: CallOptions): Promise<Committed>
  /** Gives all of it back. A repeat is harmless. @throws as `commit`; `invalid_request` if it was committed. */
  release(options?: CallOptions): Promise<void>
}

/** At the end of an `await using` block, it is given back, unless `commit` or `release` was called. */
export type Reserved = AsyncDisposable & ((Decided & { allowed: true } & Reservation) | (Decided & { allowed: false }))

export const dateOf = (ms: number | undefined): Date => new Date(ms ?? Number.NaN)

/** An answer begins with how certain it is: a copy of an object is the fastest way to make one, and checks are many. */
const whatOf = (decision: Decision, known: Known): Decided => {
  const { allowed, reason, kind, value, limit: most, unlimited, used = 0, remaining: left } = decision
  switch (reason) {
    case 'granted':
    case 'limit_exceeded': {
      const [limit, remaining] = unlimited ? [null, null] : [most ?? 0, left ?? 0]
      const outcome = reason === 'granted' ? ({ allowed: true, reason } as const) : ({ allowed: false, reason } as const)
      if (kind === 'quota') return { ...known, ...outcome, kind, limit, used, remaining, resetsAt: dateOf(decision.resetsAtMs) }
      if (kind === 'capacity') return { ...known, ...outcome, kind, limit, used, remaining }
      if (outcome.allowed && kind === 'value') return { ...known, ...outcome, kind, value: value ?? '' }
      return outcome.allowed && kind === 'flag' ? { ...known, ...outcome, kind } : { ...known, allowed, reason: 'other' }
    }
    case 'not_granted':
    case 'customer_unknown':
    case 'blocked':
      return { ...known, allowed: false, reason }
    case 'disabled':
    case 'expired':
    case 'subscription_inactive':
      return kind ? { ...known, allowed: false, reason, kind } : { ...known, allowed, reason: 'other' }
    case 'fallback':
      return { ...known, allowed, reason, ...(value === undefined ? {} : { value }), ...(most === undefined ? {} : { limit: most }) }
    default:
      return reason satisfies never
  }
}

export const toAnswer = (decision: Decision, known: Known): Decided => {
  const { bundleId, subscriptionId, validUntilMs } = decision
  const answer = whatOf(decision, known)
  if (bundleId !== undefined) answer.bundleId = bundleId
  if (subscriptionId !== undefined) answer.subscriptionId = subscriptionId
  if (validUntilMs !== undefined) answer.validUntil = dateOf(validUntilMs)
  return answer
}

const wordOf = <Word extends string>(words: Record<Word, number>, code: number): Word | undefined =>
  (Object.keys(words) as Word[]).find((word) => words[word] === code)

const textOf = (text: string): string | undefined => (text === '' ? undefined : text)

/** The decision in a sidecar's answer; undefined for a reason or kind that this version does not know. */
const decisionOf = (response: CheckEntitlementResponse): Decision | undefined => {
  const reason: DecisionReason | undefined = wordOf(wireReasons, response.reason)
  const kind = wordOf(wireKinds, response.kind)
  if (reason === undefined || (kind === undefined && response.kind !== 0)) return undefined
  const counts = kind === 'quota' || kind === 'capacity' || (reason === 'fallback' && response.limit > 0n)
  return {
    allowed: response.allowed,
    reason,
    kind,
    limit: counts && !response.unlimited ? Number(response.limit) : undefined,
    used: counts ? Number(response.used) : undefined,
    remaining: counts && !response.unlimited ? Number(response.remaining) : undefined,
    unlimited: response.unlimited,
    resetsAtMs: response.resetsAt?.getTime(),
    value: kind === 'value' ? response.value : undefined,
    validUntilMs: response.validUntil?.getTime(),
    bundleId: textOf(response.bundleId),
    subscriptionId: textOf(response.subscriptionId),
  }
}

/** @param nowMs the time of the sidecar, as far as it is known. */
export const readAnswer = (response: CheckEntitlementResponse, nowMs: number): Decided => {
  const { allowed, revision, asOf = new Date(0), stale } = response
  const known: Known = { revision: Number(revision), asOf, ageMs: Math.max(0, nowMs - asOf.getTime()), stale, from: 'sidecar' }
  const decision = decisionOf(response)
  return decision ? toAnswer(decision, known) : { ...known, allowed, reason: 'other' }
}
