/**
 * Entitlements as flags (https://openfeature.dev/specification/): the flag's key is the entitlement's, the customer is
 * the targeting key. An answer is never `STATIC`: providers keep such by key alone, and one customer would get another's.
 */

import type { Decision } from '../../common/entitlements/decide.ts'
import { type CustomerKey, isTooLong, MAX_ID } from '../../common/entitlements/model.ts'
import { AppError, fieldError } from '../../common/errors.ts'
import { z } from '../../common/zod.ts'
import type { DecidedCheck, Freshness } from '../check.ts'
import type { Decisions } from './decisions.ts'

/** The defaults where the evaluation context says nothing. */
export interface FlagDefaults {
  tenantId: string | undefined
  storefrontId: string | undefined
}

const id = z.string().refine((text) => !isTooLong(text), `must not be longer than ${MAX_ID} characters`)
const context = z.looseObject({
  targetingKey: id.optional(),
  tenantId: id.optional(),
  storefrontId: id.optional(),
  customerId: id.optional(),
  amount: z.number().int().min(1).optional(),
})

/** The flag value of a number without an end: the largest that every language's numbers hold. */
const UNLIMITED = Number.MAX_SAFE_INTEGER

export type FlagValue = boolean | string | number

export interface Flag {
  /** Undefined: the caller's own default is to be used. */
  value: FlagValue | undefined
  reason: 'TARGETING_MATCH' | 'DEFAULT' | 'STALE'
  variant: string | undefined
  metadata: Record<string, string | number | boolean>
  decided: DecidedCheck
}

/** Whom a flag is evaluated for. */
interface EvaluationTarget {
  customer: CustomerKey
  amount: number
}

/** @throws AppError `invalid_request`. */
const readContext = (given: unknown, { tenantId, storefrontId }: FlagDefaults): EvaluationTarget => {
  const parsed = context.safeParse(given ?? {})
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw fieldError('invalid_request', `context.${issue?.path.join('.')}`, issue?.message ?? 'is not usable')
  }
  const read = parsed.data
  const customer = {
    tenantId: read.tenantId || tenantId || '',
    storefrontId: read.storefrontId || storefrontId || '',
    customerId: read.customerId || read.targetingKey || '',
  }
  if (customer.customerId === '') throw fieldError('invalid_request', 'context.targetingKey', "must be set: it is the customer's id")
  if (customer.tenantId === '') throw fieldError('invalid_request', 'context.tenantId', 'must be set, here or as FLAG_TENANT at the sidecar')
  if (customer.storefrontId === '') throw fieldError('invalid_request', 'context.storefrontId', 'must be set, here or as FLAG_STOREFRONT at the sidecar')
  return { customer, amount: read.amount ?? 1 }
}

/** @throws RangeError for a number that cannot be said exactly: callers take it for what it is. */
const flagValueOf = ({ kind, allowed, value, limit, remaining, unlimited }: Decision): FlagValue => {
  if (kind === 'value') return value ?? ''
  if (kind !== 'quota' && kind !== 'capacity') return allowed
  if (!Number.isSafeInteger(limit ?? 0) || !Number.isSafeInteger(remaining ?? 0)) throw new RangeError(`${limit} cannot be answered exactly`)
  return unlimited ? UNLIMITED : (limit ?? 0)
}

const metadataOf = ({ allowed, bundleId, subscriptionId, remaining }: Decision, { revision, stale }: Freshness): Flag['metadata'] => ({
  allowed,
  ...(remaining === undefined ? {} : { remaining }),
  ...(bundleId === undefined ? {} : { bundleId }),
  ...(subscriptionId === undefined ? {} : { subscriptionId }),
  revision,
  stale,
})

const toFlag = (decided: DecidedCheck): Flag => {
  const { decision, freshness } = decided
  const metadata = metadataOf(decision, freshness)
  // Nobody knows the customer: that is not a "no", and the caller's default counts. So it does for a value that is not held.
  const isUnknown = decision.reason === 'customer_unknown' || (decision.kind === 'value' && !decision.allowed)
  if (isUnknown) return { value: undefined, reason: 'DEFAULT', variant: undefined, metadata, decided }
  return { value: flagValueOf(decision), reason: freshness.stale ? 'STALE' : 'TARGETING_MATCH', variant: decision.reason, metadata, decided }
}

/** The decision whole, for a flag that is asked for as an object. Instants as ISO 8601. */
export const toObject = ({ decision, freshness }: DecidedCheck): Record<string, unknown> => {
  const { resetsAtMs, validUntilMs, ...rest } = decision
  const at = (ms: number | undefined) => (ms === undefined ? undefined : new Date(ms).toISOString())
  const whole = {
    ...rest,
    resetsAt: at(resetsAtMs),
    validUntil: at(validUntilMs),
    revision: freshness.revision,
    asOf: at(freshness.asOfMs),
    stale: freshness.stale,
  }
  return Object.fromEntries(Object.entries(whole).filter(([, value]) => value !== undefined))
}

export interface FlagEvaluation {
  method: string
  key: string
  context: unknown
  authorization: string | undefined
  traceparent: string | undefined
  deadlineMs: number
}

export interface Flags {
  /** @throws AppError. */
  one(evaluation: FlagEvaluation): Promise<Flag>
  /** Every flag that the customer holds. @throws AppError. */
  all(evaluation: Omit<FlagEvaluation, 'key'>): Promise<{ flags: ({ key: string } & Flag)[]; freshness: Freshness }>
}

export const createFlags = (decisions: Decisions, defaults: FlagDefaults): Flags => {
  const read = ({ context: given, authorization }: Pick<FlagEvaluation, 'context' | 'authorization'>): EvaluationTarget => {
    const target = readContext(given, defaults)
    decisions.mayAsk(authorization, target.customer.tenantId)
    return target
  }
  return {
    one: async (evaluation) => {
      const { method, key, traceparent, deadlineMs } = evaluation
      const { customer, amount } = read(evaluation)
      if (key === '' || isTooLong(key)) throw new AppError('invalid_request', `the flag key must have 1 to ${MAX_ID} characters`)
      const call = { method, check: { customer, entitlement: key, amount, minRevision: 0 }, traceparent }
      return toFlag(decisions.now(call) ?? (await decisions.later(call, deadlineMs)))
    },
    all: async (evaluation) => {
      const { customer } = read(evaluation)
      const { decided, freshness } = await decisions.everything(customer, 0, evaluation.deadlineMs)
      return { flags: decided.map(({ key, decision }) => ({ key, ...toFlag({ decision, freshness }) })), freshness }
    },
  }
}
