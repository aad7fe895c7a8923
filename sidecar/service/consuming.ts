/** Uses of quotas, decided and counted in one step. Knows nothing of messages. */
import { LRUCache } from 'lru-cache'
import { HOUR_MS } from '../../common/durations.ts'
import { customerUnknown, type Decision, decide } from '../../common/entitlements/decide.ts'
import { AppError, fieldError } from '../../common/errors.ts'
import type { DecidedCheck } from '../check.ts'
import type { Outcome } from '../metering/meter.ts'
import type { Meters } from '../metering/meters.ts'
import { withReading } from '../metering/reading.ts'
import type { CheckCall, Decisions, TimedBasis } from './decisions.ts'

export interface Use extends CheckCall {
  /** Empty: it has none. */
  idempotencyKey: string
}

export interface Consumed extends DecidedCheck {
  counted: boolean
}

export interface Consuming {
  /**
   * @returns at once where the customer's set and units of the quota are held.
   * @throws AppError `invalid_request` for what cannot be counted; as `Decisions.later`.
   */
  consume(use: Use, deadlineMs: number, signal: AbortSignal): Consumed | Promise<Consumed>
}

/** As many repeats are known as fit; an hour is longer than anybody repeats a call. About 300 bytes each. */
const MAX_REMEMBERED = 500_000

export const createConsuming = ({ decisions, meters }: { decisions: Decisions; meters: Meters }): Consuming => {
  const remembered = new LRUCache<string, { amount: number; answer: Consumed }>({ max: MAX_REMEMBERED, ttl: HOUR_MS })
  const underWay = new Map<string, { amount: number; answer: Promise<Consumed> }>()

  const mustCount = (entitlement: string, { kind }: Decision): void => {
    if (kind === 'quota' || kind === undefined) return
    const instead = kind === 'capacity' ? 'report what is occupied by POST /v1/usage' : 'use CheckEntitlement'
    throw fieldError('invalid_request', 'entitlement', `${entitlement} is a ${kind}, and only quotas are consumed; ${instead}`)
  }

  const answer = (use: Use, basis: TimedBasis, decision: Decision, outcome: Outcome): Consumed => {
    const { entitlement, amount } = use.check
    if (outcome === 'unavailable') {
      const instead: Decision = { ...decision, allowed: false, reason: 'fallback' }
      return { ...decisions.tell(use, basis, instead), counted: false }
    }
    const reading = basis.set ? meters.reading(basis.set, entitlement, basis.nowMs) : undefined
    const read = reading ? withReading(decision, amount, reading) : decision
    const allowed = outcome === 'allowed'
    return { ...decisions.tell(use, basis, { ...read, allowed, reason: allowed ? 'granted' : 'limit_exceeded' }), counted: allowed }
  }

  const count = (use: Use, basis: TimedBasis, deadlineMs: number, signal: AbortSignal): Consumed | Promise<Consumed> => {
    const { entitlement, amount } = use.check
    const decision = basis.set ? decide(basis.set, entitlement, amount, basis.nowMs) : customerUnknown
    // What the set says of usage may be old: the ledger decides about the limit.
    if (!basis.set || (decision.reason !== 'granted' && decision.reason !== 'limit_exceeded' && decision.reason !== 'disabled'))
      return { ...decisions.tell(use, basis, decision), counted: false }
    mustCount(entitlement, decision)
    const outcome = meters.consume(basis.set, { entitlement, amount, nowMs: basis.nowMs, untilMs: deadlineMs, signal })
    return typeof outcome === 'string' ? answer(use, basis, decision, outcome) : outcome.then((late) => answer(use, basis, decision, late))
  }

  const consume = (use: Use, deadlineMs: number, signal: AbortSignal): Consumed | Promise<Consumed> => {
    const basis = decisions.basisNow(use.check)
    if (basis) return count(use, basis, deadlineMs, signal)
    return decisions.basisLater(use.check, deadlineMs, signal).then((late) => count(use, late, deadlineMs, signal))
  }

  const consumeOnce = (use: Use, deadlineMs: number, signal: AbortSignal): Consumed | Promise<Consumed> => {
    const { customer, entitlement, amount } = use.check
    const key = JSON.stringify([customer.tenantId, customer.storefrontId, customer.customerId, entitlement, use.idempotencyKey])
    const [first, before] = [underWay.get(key), remembered.get(key)]
    const known = first ?? before
    if (known && known.amount !== amount)
      throw new AppError('invalid_request', `idempotency_key: it was used before with the amount ${known.amount}; use another key for another use`)
    if (before) return before.answer
    // The caller of the first may have hung up: then nothing was counted, and this one is the first.
    if (first) return first.answer.catch(() => consumeOnce(use, deadlineMs, signal))
    const made = consume(use, deadlineMs, signal)
    if (!(made instanceof Promise)) {
      // Only what was counted is not to be counted again.
      if (made.counted) remembered.set(key, { amount, answer: made })
      return made
    }
    const answer = made
      .then((late) => {
        if (late.counted) remembered.set(key, { amount, answer: late })
        return late
      })
      .finally(() => underWay.delete(key))
    underWay.set(key, { amount, answer })
    return answer
  }

  return { consume: (use, deadlineMs, signal) => (use.idempotencyKey === '' ? consume(use, deadlineMs, signal) : consumeOnce(use, deadlineMs, signal)) }
}
