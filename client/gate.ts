/**
 * What a gate does with an answer, for every framework: let the request pass, or refuse it by a problem of RFC 9457. Frameworks
 * only differ in how they say so.
 */
import { type AccessProblem, problemOf, RETRY_AFTER_S, rateLimitHeaders } from '../common/entitlements/refusal.ts'
import type { Answer, Consumed } from './answer.ts'
import { isUnknown } from './errors.ts'
import type { Tollgate } from './tollgate.ts'

export { type AccessProblem as Problem, PROBLEM_TYPE } from '../common/entitlements/refusal.ts'

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

export interface Verdict {
  headers: Record<string, string>
  /** Undefined: the request may pass. */
  problem: AccessProblem | undefined
}

const rateLimitOf = (answer: Answer, entitlement: string): Record<string, string> => {
  if ((answer.reason !== 'granted' && answer.reason !== 'limit_exceeded') || answer.kind !== 'quota' || answer.limit === null) return {}
  const { limit, remaining, resetsAt, asOf, ageMs } = answer
  return rateLimitHeaders(entitlement, { limit, remaining: remaining ?? 0, resetsInMs: resetsAt.getTime() - (asOf.getTime() + ageMs) })
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
