/** How HTTP says what was decided, for gates in applications and for gateways: the problem of a refusal, and the headers of a limit. */
import type { Reason } from './decide.ts'

/** `other`: a reason that this version does not know. `unknown`: nobody could say. */
export type RefusalReason = Reason | 'other' | 'unknown' | 'no_customer'

/** RFC 9457. */
export interface AccessProblem {
  type: string
  title: string
  status: number
  detail: string
  entitlement: string
  /** An answer's reason, or `no_customer`. */
  reason: RefusalReason
  /** If a quota is used up: when it starts again, as RFC 3339. */
  resetsAt?: string
}

export const PROBLEM_TYPE = 'application/problem+json'
/** An unknown answer may be known in a moment. */
export const RETRY_AFTER_S = 1

/** 402: buying, or paying, would help. */
const refusals: Record<RefusalReason, { status: number; detail: string }> = {
  no_customer: { status: 401, detail: 'the request is not from a customer' },
  granted: { status: 403, detail: 'it is not allowed' },
  not_granted: { status: 402, detail: 'nothing that the customer bought contains it' },
  customer_unknown: { status: 402, detail: 'the customer has bought nothing' },
  disabled: { status: 402, detail: 'what the customer bought has it switched off' },
  expired: { status: 402, detail: 'its time is over' },
  subscription_inactive: { status: 402, detail: 'the subscription that contains it gives no access at present' },
  limit_exceeded: { status: 402, detail: 'more was asked for than is left' },
  blocked: { status: 403, detail: 'it is blocked for this customer' },
  fallback: { status: 403, detail: 'it cannot be decided at present, and is refused until then' },
  other: { status: 403, detail: 'it is not allowed' },
  unknown: { status: 503, detail: 'it cannot be decided at present' },
}

/** What is the same in every problem, whoever refuses. */
export const namesOfProblem = <Name extends string>(reason: Name): { type: string; title: string; reason: Name } => ({
  type: `urn:tollgate:denied:${reason}`,
  title: reason.replaceAll('_', ' '),
  reason,
})

export const problemOf = (reason: RefusalReason, entitlement: string, resetsAt?: Date): AccessProblem => ({
  ...namesOfProblem(reason),
  ...refusals[reason],
  entitlement,
  ...(resetsAt ? { resetsAt: resetsAt.toISOString() } : {}),
})

/** The largest integer of RFC 9651, which header fields are written by. */
const MAX_INTEGER = 999_999_999_999_999
const integer = (count: number): number => Math.min(MAX_INTEGER, Math.max(0, Math.ceil(count)))

/**
 * `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-10, for a quota with a limit. A policy's window may be left
 * out, and months have no one length.
 */
export const rateLimitHeaders = (entitlement: string, quota: { limit: number; remaining: number; resetsInMs: number }): Record<string, string> => {
  // A string of RFC 9651 is of visible ASCII.
  if (!/^[\x20-\x7e]*$/.test(entitlement)) return {}
  const name = `"${entitlement.replaceAll(/["\\]/g, '\\$&')}"`
  return {
    'RateLimit-Policy': `${name};q=${integer(quota.limit)}`,
    RateLimit: `${name};r=${integer(quota.remaining)};t=${integer(quota.resetsInMs / 1_000)}`,
  }
}
