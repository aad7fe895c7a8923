/**
 * What a gate does with an answer, for every framework: let the request pass, or refuse it by a problem of RFC 9457. Frameworks
 * only differ in how they say so.
 */
import type { Answer, Consumed, Reason } from './answer.ts'
import { isUnknown } from './errors.ts'
import type { Tollgate } from './tollgate.ts'

/** What a gate asks. */
export type Asked = Pick<Tollgate, 'check' | 'consume'>

/** @template Request what a framework gives its middleware. */
export interface GateOptions<Request> {
  /** The entitlement's key. */
  entitlement: string | ((request: Request) => string)
  /** The customer who asks. Undefined for nobody: answered with 401. */
  customer: (request: Request) => string | undefined | Promise<string | undefined>
  /** For a quota or capacity: how much has to be left; 1 without. */
  amount?: number | ((request: Request) => number) | undefined
  /** How much of a quota the request uses: it is counted before the request passes. Nothing is counted without, or if it is 0. */
  consume?: number | ((request: Request) => number) | undefined
  /** What to do if nobody can say: refuse with 503, or let the request pass. */
  whenUnknown?: 'refuse' | 'allow' | undefined
}

/** RFC 9457. */
export interface Problem {
  type: string
  title: string
  status: number
  detail: string
  entitlement: string
  /** An answer's reason, or `no_customer`. */
  reason: Reason | 'no_customer'
  /** If a quota is used up: when it starts again, as RFC 3339. */
  resetsAt?: string
}

export interface Verdict {
  headers: Record<string, string>
  /** Undefined: the request may pass. */
  problem: Problem | undefined
}

export const PROBLEM_TYPE = 'application/problem+json'
/** An unknown answer may be known in a moment. */
const RETRY_AFTER_S = 1

/** 402: buying, or paying, would help. */
const refusals: Record<Reason | 'no_customer', { status: number; detail: string }> = {
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

const problemOf = (reason: Problem['reason'], entitlement: string, resetsAt?: Date): Problem => ({
  type: `urn:tollgate:denied:${reason}`,
  title: reason.replaceAll('_', ' '),
  ...refusals[reason],
  entitlement,
  reason,
  ...(resetsAt ? { resetsAt: resetsAt.toISOString() } : {}),
})

/** The largest integer of RFC 9651, which header fields are written by. */
const MAX_INTEGER = 999_999_999_999_999
const integer = (count: number): number => Math.min(MAX_INTEGER, Math.max(0, Math.ceil(count)))

/**
 * `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-10, for a quota with a limit. A policy's window may be left
 * out, and months have no one length.
 */
const rateLimitOf = (answer: Answer, entitlement: string): Record<string, string> => {
  if ((answer.reason !== 'granted' && answer.reason !== 'limit_exceeded') || answer.kind !== 'quota' || answer.limit === null) return {}
  // A string of RFC 9651 is of visible ASCII.
  if (!/^[\x20-\x7e]*$/.test(entitlement)) return {}
  const name = `"${entitlement.replaceAll(/["\\]/g, '\\$&')}"`
  const resetsInMs = answer.resetsAt.getTime() - (answer.asOf.getTime() + answer.ageMs)
  return {
    'RateLimit-Policy': `${name};q=${integer(answer.limit)}`,
    RateLimit: `${name};r=${integer(answer.remaining ?? 0)};t=${integer(resetsInMs / 1_000)}`,
  }
}

const countOf = <Request>(count: GateOptions<Request>['amount'], request: Request): number | undefined => (typeof count === 'function' ? count(request) : count)

/** @throws TollgateError if the question is wrong or may not be asked, which no caller of the route can mend. */
const answerTo = async (ask: () => Promise<Answer | Consumed>, whenUnknown: 'refuse' | 'allow'): Promise<Answer> => {
  try {
    return await ask()
  } catch (error) {
    if (!isUnknown(error)) throw error
    return { allowed: whenUnknown === 'allow', reason: 'unknown', error }
  }
}

/** @throws TollgateError if the question is wrong or may not be asked. */
export const judge = async <Request>(tollgate: Asked, options: GateOptions<Request>, request: Request): Promise<Verdict> => {
  const { entitlement: which, whenUnknown = 'refuse' } = options
  const entitlement = typeof which === 'string' ? which : which(request)
  const customer = await options.customer(request)
  if (customer === undefined) return { headers: {}, problem: problemOf('no_customer', entitlement) }
  const [amount, used = 0] = [countOf(options.amount, request), countOf(options.consume, request)]
  const ask = () => (used > 0 ? tollgate.consume({ customer, entitlement, amount: used }) : tollgate.check({ customer, entitlement, amount }))
  const answer = await answerTo(ask, whenUnknown)
  const headers = rateLimitOf(answer, entitlement)
  if (answer.allowed) return { headers, problem: undefined }
  if (answer.reason === 'unknown') headers['Retry-After'] = String(RETRY_AFTER_S)
  return { headers, problem: problemOf(answer.reason, entitlement, 'resetsAt' in answer ? answer.resetsAt : undefined) }
}
