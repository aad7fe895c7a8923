/** Uses of quotas and capacities, decided and counted in one step or in two. Knows nothing of messages. */
import { randomUUID } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../../common/clock.ts'
import { HOUR_MS } from '../../common/durations.ts'
import { type AwayPolicy, whenAwayOf } from '../../common/entitlements/away-policy.ts'
import { customerUnknown, type Decision, decide } from '../../common/entitlements/decide.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { AppError, fieldError, isAppError } from '../../common/errors.ts'
import type { HolderAnswer, HolderQuestion } from '../../common/metering/holder-words.ts'
import type { DecidedCheck } from '../check.ts'
import type { Outcome } from '../metering/meter.ts'
import type { MeteredKey, Meters } from '../metering/meters.ts'
import { hardRemaining, isOverLimit, withReading } from '../metering/reading.ts'
import type { CheckCall, Decisions, TimedBasis } from './decisions.ts'

export interface Use extends CheckCall {
  /** Empty: it has none. */
  idempotencyKey: string
  /** Of a capacity: who occupies it. Empty: nobody is named. */
  holder: string
  /** After so long it is released. Undefined: a holder stays, and a reservation has the usual time. */
  ttlMs: number | undefined
}

export interface Consumed extends DecidedCheck {
  counted: boolean
  /** It was counted beyond the limit. */
  overLimit: boolean
}

export interface Reserved extends DecidedCheck {
  /** Undefined where it was denied. */
  reservation: { id: string; expiresAtMs: number } | undefined
}

export interface Commit {
  reservationId: string
  /** Undefined: all of it. */
  amount: number | undefined
}

export interface Committed {
  used: number
  overLimit: boolean
}

export interface Release {
  customer: CustomerKey
  entitlement: string
  holder: string
  /** 0: all that the holder has, or one place where nobody is named. */
  amount: number
  idempotencyKey: string
}

/** Whoever names a reservation says who it is: reservations of tenants that it may not ask about are not there for it. */
export type Authorization = string | undefined

export interface Consuming {
  /**
   * @returns at once where the customer's set and units of the quota are held.
   * @throws AppError `invalid_request` for what cannot be counted; as `Decisions.later`.
   */
  consume(use: Use, deadlineMs: number, signal: AbortSignal): Consumed | Promise<Consumed>
  /** @throws as `consume`. */
  reserve(use: Use, deadlineMs: number, signal: AbortSignal): Promise<Reserved>
  /** @throws AppError `not_found`; `invalid_request` for a repeat with another amount. */
  commit(commit: Commit, authorization: Authorization, deadlineMs: number): Promise<Committed>
  /** @throws AppError `not_found`; `invalid_request` when it is committed. */
  release(reservationId: string, authorization: Authorization, deadlineMs: number): Promise<void>
  /** @returns what is occupied then. @throws AppError `unavailable`, `invalid_request`. */
  giveBack(release: Release, deadlineMs: number): Promise<number>
}

export interface ConsumingOptions {
  decisions: Decisions
  meters: Meters
  /** @throws AppError `unavailable`. */
  askHolder(question: HolderQuestion, timeoutMs: number): Promise<HolderAnswer>
  policy: AwayPolicy
  clock: Clock
}

/** As many repeats are known as fit; an hour is longer than anybody repeats a call. About 300 bytes each. */
const MAX_REMEMBERED = 500_000
const RESERVED_FOR_MS = 60_000
/** What is committed late is counted, too. */
const REMEMBERED_FOR_MS = 2 * HOUR_MS
const MAX_RESERVATIONS = 200_000

interface Reservation extends MeteredKey {
  amount: number
  expiresAtMs: number
  /** Of a capacity: the holder that has the places; it had them before where `isRepeat`. */
  held: { holder: string; name: string; isRepeat: boolean } | undefined
  /** How it ended. */
  end: { committed: number; answer: Promise<Committed> } | 'released' | undefined
}

export const createConsuming = ({ decisions, meters, askHolder, policy, clock }: ConsumingOptions): Consuming => {
  const remembered = new LRUCache<string, { asked: string; answer: Consumed | Reserved }>({ max: MAX_REMEMBERED, ttl: HOUR_MS })
  const underWay = new Map<string, { asked: string; answer: Promise<Consumed | Reserved> }>()
  const reservations = new LRUCache<string, Reservation>({ max: MAX_RESERVATIONS, ttl: REMEMBERED_FOR_MS })
  /** Apart from the others: those that are over may not displace any that are still to be committed. */
  const ended = new LRUCache<string, Reservation>({ max: MAX_RESERVATIONS, ttl: REMEMBERED_FOR_MS })
  for (const { id, amount, expiresAtMs, ...of } of meters.found) reservations.set(id, { ...of, amount, expiresAtMs, held: undefined, end: undefined })

  const kindOf = ({ check: { entitlement }, holder, ttlMs }: Use, { kind }: Decision, isReservation: boolean): 'quota' | 'capacity' => {
    if (kind === 'flag' || kind === 'value')
      throw fieldError('invalid_request', 'entitlement', `${entitlement} is a ${kind}, and only quotas and capacities are counted; use CheckEntitlement`)
    if (kind === 'capacity') {
      if (ttlMs !== undefined && holder === '' && !isReservation) throw fieldError('invalid_request', 'ttl', 'needs a holder: only holders end by themselves')
      return kind
    }
    if (holder !== '') throw fieldError('invalid_request', 'holder', `must be empty: ${entitlement} is a quota, and only capacities have holders`)
    if (ttlMs !== undefined && !isReservation) throw fieldError('invalid_request', 'ttl', 'is for holders of capacities and for ReserveEntitlement')
    return 'quota'
  }

  const decidedOf = (use: Use, { set, nowMs }: TimedBasis): Decision => {
    const { entitlement, amount } = use.check
    return set ? decide(set, entitlement, amount, nowMs) : customerUnknown
  }

  /** What the set says of usage may be old: the ledger decides about the limit. */
  const isForLedger = ({ reason }: Decision): boolean => reason === 'granted' || reason === 'limit_exceeded' || reason === 'disabled'

  interface Counted extends DecidedCheck {
    outcome: Outcome | 'repeat'
    overLimit: boolean
  }

  const told = (use: Use, basis: TimedBasis, decision: Decision, outcome: Counted['outcome'], overLimit: boolean): Counted => ({
    ...decisions.tell(use, basis, decision),
    outcome,
    overLimit,
  })

  const unavailable = (use: Use, basis: TimedBasis, decision: Decision): Counted =>
    told(use, basis, { ...decision, allowed: false, reason: 'fallback' }, 'unavailable', false)

  const answerQuota = (use: Use, basis: TimedBasis, decision: Decision, outcome: Outcome): Counted => {
    if (outcome === 'unavailable') return unavailable(use, basis, decision)
    const { entitlement, amount } = use.check
    const reading = basis.set ? meters.reading(basis.set, entitlement, basis.nowMs) : undefined
    const read = reading ? withReading(decision, amount, reading, basis.set?.usageSeq ?? 0) : decision
    const allowed = outcome === 'allowed'
    return told(use, basis, { ...read, allowed, reason: allowed ? 'granted' : 'limit_exceeded' }, outcome, allowed && isOverLimit(read))
  }

  const countQuota = (
    use: Use,
    basis: TimedBasis,
    decision: Decision,
    deadlineMs: number,
    signal: AbortSignal,
    reservation: { id: string; expiresAtMs: number } | undefined,
  ): Counted | Promise<Counted> => {
    const { entitlement, amount } = use.check
    const { set, nowMs } = basis
    if (!set) return told(use, basis, decision, 'refused', false)
    const whenAway = whenAwayOf(policy, entitlement, decision.overLimit !== undefined)
    const outcome = meters.consume(set, {
      entitlement,
      amount,
      remaining: hardRemaining(decision),
      nowMs,
      untilMs: deadlineMs,
      signal,
      whenAway,
      ...(reservation ? { reservation } : {}),
    })
    return typeof outcome === 'string' ? answerQuota(use, basis, decision, outcome) : outcome.then((late) => answerQuota(use, basis, decision, late))
  }

  const countCapacity = async (use: Use, basis: TimedBasis, decision: Decision, deadlineMs: number, holder: string, ttlMs: number): Promise<Counted> => {
    const { customer, entitlement, amount } = use.check
    let answer: HolderAnswer
    try {
      answer = await askHolder(
        { customer, entitlement, id: use.idempotencyKey === '' ? randomUUID() : `use:${use.idempotencyKey}`, act: 'acquire', holder, amount, ttlMs },
        deadlineMs - clock.nowMs(),
      )
    } catch (error) {
      if (!isAppError(error, 'unavailable')) throw error
      return unavailable(use, basis, decision)
    }
    const { outcome, used, limit } = answer
    if (outcome === 'other_amount')
      throw fieldError('invalid_request', 'amount', `${JSON.stringify(holder)} occupies another amount; release it first to change how much it occupies`)
    if (outcome === 'too_many') throw fieldError('invalid_request', 'holder', 'the customer has as many holders as can be kept; release some')
    const allowed = outcome !== 'refused'
    const known = limit === null ? { unlimited: true } : { limit, remaining: Math.max(0, limit - used) }
    const read: Decision = { ...decision, used, ...known, allowed, reason: allowed ? 'granted' : 'limit_exceeded' }
    const overLimit = limit !== null && used > limit
    return told(use, basis, read, outcome === 'refused' ? 'refused' : outcome === 'repeat' ? 'repeat' : 'allowed', overLimit)
  }

  const withBasis = <T>(use: Use, deadlineMs: number, signal: AbortSignal, then: (basis: TimedBasis) => T | Promise<T>): T | Promise<T> => {
    const basis = decisions.basisNow(use.check)
    if (basis) return then(basis)
    return decisions.basisLater(use.check, deadlineMs, signal).then(then)
  }

  const consumedOf = ({ outcome, overLimit, ...decided }: Counted): Consumed => ({ ...decided, counted: outcome === 'allowed', overLimit })

  const consume = (use: Use, deadlineMs: number, signal: AbortSignal): Consumed | Promise<Consumed> =>
    withBasis(use, deadlineMs, signal, (basis): Consumed | Promise<Consumed> => {
      const decision = decidedOf(use, basis)
      if (!isForLedger(decision)) return consumedOf(told(use, basis, decision, 'refused', false))
      const counted =
        kindOf(use, decision, false) === 'quota'
          ? countQuota(use, basis, decision, deadlineMs, signal, undefined)
          : countCapacity(use, basis, decision, deadlineMs, use.holder, use.ttlMs ?? 0)
      return counted instanceof Promise ? counted.then(consumedOf) : consumedOf(counted)
    })

  const reserve = async (use: Use, deadlineMs: number, signal: AbortSignal): Promise<Reserved> =>
    withBasis(use, deadlineMs, signal, async (basis): Promise<Reserved> => {
      const decision = decidedOf(use, basis)
      if (!isForLedger(decision)) return { ...decisions.tell(use, basis, decision), reservation: undefined }
      const ttlMs = use.ttlMs ?? RESERVED_FOR_MS
      const reservation = { id: randomUUID(), expiresAtMs: clock.nowMs() + ttlMs }
      const isQuota = kindOf(use, decision, true) === 'quota'
      const holder = use.holder === '' ? `reservation:${reservation.id}` : use.holder
      const {
        outcome,
        overLimit: _,
        ...decided
      } = isQuota
        ? await countQuota(use, basis, decision, deadlineMs, signal, reservation)
        : await countCapacity(use, basis, decision, deadlineMs, holder, ttlMs)
      if (outcome !== 'allowed' && outcome !== 'repeat') return { ...decided, reservation: undefined }
      const { customer, entitlement, amount } = use.check
      reservations.set(reservation.id, {
        ...{ customer, entitlement, sandbox: basis.set?.sandbox ?? false, amount, expiresAtMs: reservation.expiresAtMs },
        held: isQuota ? undefined : { holder, name: use.holder, isRepeat: outcome === 'repeat' },
        end: undefined,
      })
      return { ...decided, reservation }
    })

  /** A repeat is answered as the first was. Only what took effect is remembered. */
  const once = <Answer extends Consumed | Reserved>(
    act: string,
    use: Use,
    isToRemember: (answer: Answer) => boolean,
    first: () => Answer | Promise<Answer>,
  ): Answer | Promise<Answer> => {
    const { customer, entitlement, amount } = use.check
    const key = JSON.stringify([act, customer.tenantId, customer.storefrontId, customer.customerId, entitlement, use.idempotencyKey])
    const asked = use.holder === '' ? `the amount ${amount}` : `the amount ${amount} and the holder ${JSON.stringify(use.holder)}`
    const [running, before] = [underWay.get(key), remembered.get(key)]
    const known = running ?? before
    if (known && known.asked !== asked)
      throw new AppError('invalid_request', `idempotency_key: it was used before with ${known.asked}; use another key for another use`)
    if (before) return before.answer as Answer
    // The caller of the first may have hung up: then nothing was counted, and this one is the first.
    if (running) return (running.answer as Promise<Answer>).catch(() => once(act, use, isToRemember, first))
    const made = first()
    if (!(made instanceof Promise)) {
      if (isToRemember(made)) remembered.set(key, { asked, answer: made })
      return made
    }
    const answer = made
      .then((late) => {
        if (isToRemember(late)) remembered.set(key, { asked, answer: late })
        return late
      })
      .finally(() => underWay.delete(key))
    underWay.set(key, { asked, answer })
    return answer
  }

  const noteEnd = (id: string, reservation: Reservation): void => {
    reservations.delete(id)
    ended.set(id, reservation)
  }

  const find = (id: string, authorization: Authorization): Reservation => {
    const unknown = () =>
      new AppError('not_found', 'reservation_id: there is no such reservation at this sidecar; it was released, or made at another sidecar or hours ago')
    const found = reservations.get(id) ?? ended.get(id)
    if (!found || found.end === 'released') throw unknown()
    try {
      decisions.mayAsk(authorization, found.customer.tenantId)
    } catch (error) {
      throw isAppError(error, 'forbidden') ? unknown() : error
    }
    return found
  }

  const settle = async (id: string, reservation: Reservation, amount: number, deadlineMs: number): Promise<Committed> => {
    const { customer, entitlement, held } = reservation
    if (!held) return { used: amount, ...(await meters.commit(reservation, id, amount, deadlineMs)) }
    const question = { customer, entitlement, id: `commit:${id}`, act: 'settle', holder: held.holder, heir: held.name, amount, ttlMs: 0 } as const
    const { used, limit } = await askHolder(question, deadlineMs - clock.nowMs())
    return { used: amount, overLimit: limit !== null && used > limit }
  }

  return {
    consume: (use, deadlineMs, signal) =>
      use.idempotencyKey === ''
        ? consume(use, deadlineMs, signal)
        : once<Consumed>(
            'consume',
            use,
            ({ counted }) => counted,
            () => consume(use, deadlineMs, signal),
          ),
    reserve: async (use, deadlineMs, signal) =>
      use.idempotencyKey === ''
        ? reserve(use, deadlineMs, signal)
        : once<Reserved>(
            'reserve',
            use,
            ({ reservation }) => reservation !== undefined,
            () => reserve(use, deadlineMs, signal),
          ),
    commit: async ({ reservationId, amount }, authorization, deadlineMs) => {
      const found = find(reservationId, authorization)
      const units = amount ?? found.amount
      if (typeof found.end === 'object') {
        if (found.end.committed !== units) throw fieldError('invalid_request', 'amount', `the reservation is committed already, with ${found.end.committed}`)
        return found.end.answer
      }
      const answer = settle(reservationId, found, units, deadlineMs)
      found.end = { committed: units, answer }
      try {
        const committed = await answer
        noteEnd(reservationId, found)
        return committed
      } catch (error) {
        // Of a capacity: the ledger did not hear of it, or did; asking again is one commit.
        found.end = undefined
        throw error
      }
    },
    release: async (reservationId, authorization, deadlineMs) => {
      if (ended.get(reservationId)?.end === 'released') return
      const found = find(reservationId, authorization)
      if (found.end) throw fieldError('invalid_request', 'reservation_id', 'the reservation is committed, and cannot be released any more')
      const { customer, entitlement, held } = found
      if (!held) meters.release(found, reservationId)
      else if (!held.isRepeat) {
        const question = { customer, entitlement, id: `release:${reservationId}`, act: 'release', holder: held.holder, amount: 0, ttlMs: 0 } as const
        await askHolder(question, deadlineMs - clock.nowMs())
      }
      found.end = 'released'
      noteEnd(reservationId, found)
    },
    giveBack: async ({ customer, entitlement, holder, amount, idempotencyKey }, deadlineMs) => {
      const id = idempotencyKey === '' ? randomUUID() : `give:${idempotencyKey}`
      const units = amount === 0 && holder === '' ? 1 : amount
      const { used } = await askHolder({ customer, entitlement, id, act: 'release', holder, amount: units, ttlMs: 0 }, deadlineMs - clock.nowMs())
      return used
    },
  }
}
