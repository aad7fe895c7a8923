/**
 * Judges requests for gateways (Envoy, nginx, Traefik, Caddy) by the rules of EXT_AUTHZ_RULES_FILE, with the statuses and problems that the
 * gates of the clients answer. Knows nothing of how a gateway asks.
 */
import type { Clock } from '../../common/clock.ts'
import type { Decision } from '../../common/entitlements/decide.ts'
import { isTooLong, MAX_ID } from '../../common/entitlements/model.ts'
import { namesOfProblem, PROBLEM_TYPE, problemOf, RETRY_AFTER_S, type RefusalReason, rateLimitHeaders } from '../../common/entitlements/refusal.ts'
import { isAppError } from '../../common/errors.ts'
import type { Faults } from '../../common/faults.ts'
import type { DecidedCheck } from '../check.ts'
import type { Callers } from '../policy/callers.ts'
import type { Consuming } from '../service/consuming.ts'
import type { Decisions } from '../service/decisions.ts'
import { type GatewayRequest, ruleFor, valueIn } from './gateway-request.ts'
import { readTarget } from './request-target.ts'
import { NO_RULE, type Question, type Rule, type Rules, type Source } from './rules.ts'

/** Reasons that only gateways are told. */
const ownRefusals = {
  no_rule: { status: 403, detail: 'no rule of the gateway is for this request' },
  denied_by_rule: { status: 403, detail: 'a rule of the gateway refuses this request' },
  ambiguous_path: { status: 400, detail: 'the path may be read in more than one way' },
  invalid_request: { status: 400, detail: 'the request is not valid' },
  rule_not_applicable: { status: 500, detail: 'the rule of the gateway cannot be applied to the entitlement' },
} as const

type OwnReason = keyof typeof ownRefusals

/** What became of a request, or would have in a dry run: `allowed`, `allowed_unknown` (nobody could say, and the rule allows that), or why it was refused. */
export type AuthorizationOutcome = 'allowed' | 'allowed_unknown' | RefusalReason | OwnReason

interface GatewayProblem {
  type: string
  title: string
  status: number
  detail: string
  reason: RefusalReason | OwnReason
}

export interface Ruling {
  /** Headers for the application. The gateway removes all others that begin with `x-tollgate-`. */
  upstream: Record<string, string>
  /** Headers for the caller. */
  headers: Record<string, string>
  /** Undefined: the request may pass. */
  refusal: { status: number; reason: string; body: string; contentType: string } | undefined
}

export interface GatewayCall {
  request: GatewayRequest
  authorization: string | undefined
  traceparent: string | undefined
  deadlineMs: number
  signal: AbortSignal
}

export interface ExtAuthz {
  /** @throws AppError `unauthenticated` or `forbidden`; the signal's reason. */
  judge(call: GatewayCall): Promise<Ruling>
}

export interface ExtAuthzOptions {
  rules: () => Rules
  decisions: Decisions
  consuming: Pick<Consuming, 'consume'>
  callers: Callers
  clock: Clock
  faults: Faults
  onJudged: (rule: string, outcome: AuthorizationOutcome, dryRun: boolean) => void
}

const METHOD = 'ExtAuthz'

/** What was found out about a request, before a dry run lets it pass. */
interface Judgement {
  outcome: AuthorizationOutcome
  problem: GatewayProblem | undefined
  /** If it was decided. */
  decided?: DecidedCheck
  headers?: Record<string, string>
}

const refusedFor = (reason: OwnReason, detail?: string): Judgement => ({
  outcome: reason,
  problem: { ...namesOfProblem(reason), ...ownRefusals[reason], ...(detail === undefined ? {} : { detail }) },
})

const noCustomer = (missingStatus: 401 | 403, entitlement: string): Judgement => ({
  outcome: 'no_customer',
  problem: { ...problemOf('no_customer', entitlement), status: missingStatus },
})

const unknown = (whenUnknown: Question['whenUnknown'], entitlement: string): Judgement =>
  whenUnknown === 'allow'
    ? { outcome: 'allowed_unknown', problem: undefined }
    : { outcome: 'unknown', problem: problemOf('unknown', entitlement), headers: { 'Retry-After': String(RETRY_AFTER_S) } }

const limitHeaders = ({ reason, kind, limit, remaining = 0, resetsAtMs, unlimited }: Decision, entitlement: string, nowMs: number): Record<string, string> =>
  (reason === 'granted' || reason === 'limit_exceeded') && kind === 'quota' && !unlimited && limit !== undefined && resetsAtMs !== undefined
    ? rateLimitHeaders(entitlement, { limit, remaining, resetsInMs: resetsAtMs - nowMs })
    : {}

const judgementOf = (decided: DecidedCheck, entitlement: string, limitStatus: Question['limitStatus'], nowMs: number): Judgement => {
  const { allowed, reason, resetsAtMs } = decided.decision
  const headers = limitHeaders(decided.decision, entitlement, nowMs)
  if (allowed) return { outcome: 'allowed', problem: undefined, decided, headers }
  const problem = problemOf(reason, entitlement, resetsAtMs === undefined ? undefined : new Date(resetsAtMs))
  if (reason !== 'limit_exceeded' || limitStatus === 402) return { outcome: reason, problem, decided, headers }
  const retry = resetsAtMs === undefined ? {} : { 'Retry-After': String(Math.max(0, Math.ceil((resetsAtMs - nowMs) / 1_000))) }
  return { outcome: reason, problem: { ...problem, status: limitStatus }, decided, headers: { ...headers, ...retry } }
}

export const createExtAuthz = ({ rules, decisions, consuming, callers, clock, faults, onJudged }: ExtAuthzOptions): ExtAuthz => {
  /** @param read what the request says at a place. */
  const ask = async (
    { name, dryRun }: Pick<Rule, 'name' | 'dryRun'>,
    question: Question,
    read: (source: Source) => string | undefined,
    { authorization, traceparent, deadlineMs, signal }: GatewayCall,
  ): Promise<Judgement> => {
    const [tenantId, storefrontId, customerId] = [read(question.tenant), read(question.storefront), read(question.customer)]
    const entitlement = read(question.entitlement) ?? ''
    if (tenantId === undefined || storefrontId === undefined || customerId === undefined) return noCustomer(question.missingStatus, entitlement)
    const idempotencyKey = (question.idempotencyKey && read(question.idempotencyKey)) ?? ''
    for (const [what, id] of Object.entries({ tenant: tenantId, storefront: storefrontId, customer: customerId, entitlement, idempotencyKey }))
      if (isTooLong(id)) return refusedFor('invalid_request', `the ${what} must not be longer than ${MAX_ID} characters`)
    if (entitlement === '') return refusedFor('invalid_request', 'the entitlement cannot be found in the request')
    const written = read(question.amount) ?? ''
    const amount = /^\d{1,16}$/.test(written) ? Number(written) : Number.NaN
    if (!Number.isSafeInteger(amount)) return refusedFor('invalid_request', 'the amount cannot be found in the request as a whole number')
    if (callers.areKnown) callers.check(authorization, tenantId)

    const check = { customer: { tenantId, storefrontId, customerId }, entitlement, amount: amount || 1, minRevision: 0 }
    const call = { method: METHOD, check, traceparent }
    try {
      const counts = question.counts && amount > 0 && !dryRun
      const decided = counts
        ? await consuming.consume({ ...call, idempotencyKey, holder: '', ttlMs: undefined }, deadlineMs, signal)
        : (decisions.now(call) ?? (await decisions.later(call, deadlineMs, signal)))
      return judgementOf(decided, entitlement, question.limitStatus, clock.nowMs())
    } catch (error) {
      if (signal.aborted) throw error
      if (isAppError(error, 'unavailable', 'revision_not_reached')) return unknown(question.whenUnknown, entitlement)
      // The caller has sent this idempotency key with another amount before.
      if (isAppError(error, 'invalid_request') && !error.message.startsWith('entitlement:')) return refusedFor('invalid_request', error.message)
      faults.tell(error, 'a request of a gateway could not be judged', { rule: name })
      // A rule counts a flag, for example: that says nothing about the customer.
      return isAppError(error, 'invalid_request') ? refusedFor('rule_not_applicable') : unknown(question.whenUnknown, entitlement)
    }
  }

  const judge = async (call: GatewayCall): Promise<{ name: string; dryRun: boolean; judgement: Judgement }> => {
    const current = rules()
    const unruled = (judgement: Judgement) => ({ name: NO_RULE, dryRun: current.dryRun, judgement })
    const target = readTarget(call.request.target, current.paths)
    if ('ambiguous' in target) return unruled(refusedFor('ambiguous_path', `the path may be read in more than one way: ${target.ambiguous}`))
    const matched = ruleFor(current, call.request, target)
    if (matched === 'nearly')
      return unruled(refusedFor('ambiguous_path', "the path differs from that of the gateway's rule in case, or by a slash at its end, alone"))
    if (!matched) return unruled(current.default === 'allow' ? { outcome: 'allowed', problem: undefined } : refusedFor('no_rule'))
    const { rule, parameters } = matched
    const { name, action, dryRun } = rule
    const read = (source: Source) => valueIn(source, call.request, target, parameters)
    if (action === 'allow') return { name, dryRun, judgement: { outcome: 'allowed', problem: undefined } }
    if (action === 'deny') return { name, dryRun, judgement: refusedFor('denied_by_rule') }
    return { name, dryRun, judgement: await ask(rule, action, read, call) }
  }

  return {
    judge: async (call) => {
      callers.checkKnown(call.authorization)
      const { name, dryRun, judgement } = await judge(call)
      const { outcome, problem, decided, headers = {} } = judgement
      onJudged(name, outcome, dryRun)
      const upstream = {
        'x-tollgate-reason': decided?.decision.reason ?? outcome,
        ...(decided ? { 'x-tollgate-revision': String(decided.freshness.revision) } : {}),
        ...(dryRun && problem ? { 'x-tollgate-dry-run': String(problem.status) } : {}),
      }
      // What would have been refused passes without a word to the caller.
      if (dryRun) return { upstream, headers: {}, refusal: undefined }
      if (!problem) return { upstream, headers, refusal: undefined }
      return { upstream, headers, refusal: { status: problem.status, reason: problem.reason, body: JSON.stringify(problem), contentType: PROBLEM_TYPE } }
    },
  }
}
