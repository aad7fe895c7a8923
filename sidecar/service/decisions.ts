/**
 * Decisions as every interface of the sidecar makes them: who may ask, what is known, what the policy says when that is
 * too old, and what is told of it. Knows nothing of messages.
 */
import type { Clock } from '../../common/clock.ts'
import { customerUnknown, type Decision, decide, keysInSet } from '../../common/entitlements/decide.ts'
import type { CustomerKey, EntitlementSet } from '../../common/entitlements/model.ts'
import { answerWhenStale, type StalenessPolicy } from '../../common/entitlements/staleness-policy.ts'
import { isAppError } from '../../common/errors.ts'
import type { Check, DecidedCheck, Freshness } from '../check.ts'
import type { Readings } from '../metering/meters.ts'
import { withReading } from '../metering/reading.ts'
import type { Observer } from '../observe/observer.ts'
import type { Callers } from '../policy/callers.ts'
import type { KnownSet } from '../replica/known-set.ts'
import type { Replica } from '../replica/replica.ts'

/** A check, and how it came. */
export interface CheckCall {
  /** For the metrics. */
  method: string
  check: Check
  traceparent: string | undefined
}

/** Everything that a customer holds. */
export interface Holdings {
  decided: { key: string; decision: Decision }[]
  freshness: Freshness
  customerKnown: boolean
}

/** What a decision is made from. */
export interface TimedBasis {
  /** Null: the customer is known not to exist. */
  set: EntitlementSet | null
  /** The customer's time. */
  nowMs: number
  freshness: Freshness
}

export interface Decisions {
  /** @throws AppError `unauthenticated` or `forbidden`. */
  mayAsk(authorization: string | undefined, tenantId: string): void
  /** Undefined when something has to be fetched or waited for. */
  now(call: CheckCall): DecidedCheck | undefined
  /** For who decides by more than the set. Undefined when something has to be fetched or waited for. */
  basisNow(check: Check): TimedBasis | undefined
  /** @throws as `later`. */
  basisLater(check: Check, deadlineMs: number, signal?: AbortSignal): Promise<TimedBasis>
  /** Counts such a decision, and tells the logs. */
  tell(call: CheckCall, basis: TimedBasis, decision: Decision): DecidedCheck
  /** As `now`, all of them or none: undefined, and nothing told, when one has to be fetched or waited for. */
  allNow(calls: readonly CheckCall[]): DecidedCheck[] | undefined
  /** @throws AppError `unavailable` or `revision_not_reached`; the signal's own reason when it aborts a wait for a revision. */
  later(call: CheckCall, deadlineMs: number, signal?: AbortSignal): Promise<DecidedCheck>
  /** @throws as `later`. */
  everything(customer: CustomerKey, minRevision: number, deadlineMs: number, signal?: AbortSignal): Promise<Holdings>
}

export interface DecisionsOptions {
  replica: Replica
  clock: Clock
  maxStalenessMs: number
  policy: StalenessPolicy
  callers: Callers
  observer: Observer
  /** What was counted here, beside what is published. */
  meters: Pick<Readings, 'reading'>
}

/** A known set, and the time that governs it. */
interface TimedSet {
  known: KnownSet
  nowMs: number
}

export const createDecisions = ({ replica, clock, maxStalenessMs, policy, callers, observer, meters }: DecisionsOptions): Decisions => {
  const freshnessOf = (known: KnownSet, asOfMs: number): Freshness => {
    return { revision: known.set?.revision ?? 0, asOfMs, stale: known.behind === true || replica.isDoubtful() || clock.nowMs() - asOfMs > maxStalenessMs }
  }
  const decided = ({ method, check, traceparent }: CheckCall, decision: Decision, freshness: Freshness, nowMs: number): DecidedCheck => {
    observer.count(method, decision.reason)
    const notice = observer.noticeOf(decision)
    if (notice) observer.write(notice, { check, decision, freshness, nowMs, traceparent })
    return { decision, freshness }
  }
  /** With what was counted here, which is published later. */
  const decideMetered = (set: EntitlementSet, entitlement: string, amount: number, nowMs: number): Decision => {
    const decision = decide(set, entitlement, amount, nowMs)
    const reading = decision.kind === 'quota' ? meters.reading(set, entitlement, nowMs) : undefined
    return reading ? withReading(decision, amount, reading, set.usageSeq ?? 0) : decision
  }
  const answer = (call: CheckCall, known: KnownSet, nowMs: number, asOfMs: number): DecidedCheck => {
    const freshness = freshnessOf(known, asOfMs)
    const { entitlement, amount } = call.check
    const instead = freshness.stale ? answerWhenStale(policy, entitlement) : undefined
    return decided(call, instead ?? (known.set ? decideMetered(known.set, entitlement, amount, nowMs) : customerUnknown), freshness, nowMs)
  }
  const find = (customer: CustomerKey, minRevision: number, deadlineMs: number, signal?: AbortSignal): Promise<KnownSet> =>
    minRevision > 0 ? replica.waitFor(customer, minRevision, deadlineMs, signal) : replica.load(customer)
  /** While something is waited for a newer set may come, which somebody else has been answered from: it counts. */
  const lookUp = async (customer: CustomerKey, minRevision: number, deadlineMs: number, signal?: AbortSignal) => {
    let known = await find(customer, minRevision, deadlineMs, signal)
    // As of before the wait: what came since, this set does not say.
    let asOfMs = replica.asOfMs(known)
    const nowMs = await replica.loadNowMs(known)
    const latest = replica.held(customer)
    if (latest?.set && latest.set.revision > (known.set?.revision ?? 0)) {
      known = latest
      asOfMs = replica.asOfMs(latest)
    }
    return { known, nowMs, asOfMs }
  }
  const heldNow = ({ customer, minRevision }: Check): TimedSet | undefined => {
    const known = replica.current(customer)
    if (!known || (known.set?.revision ?? 0) < minRevision) return undefined
    const nowMs = replica.nowMsFor(known)
    return nowMs === undefined ? undefined : { known, nowMs }
  }
  const answerHeld = (call: CheckCall, { known, nowMs }: TimedSet): DecidedCheck => answer(call, known, nowMs, replica.asOfMs(known))

  return {
    mayAsk: (authorization, tenantId) => {
      if (callers.areKnown) callers.check(authorization, tenantId)
    },
    now: (call) => {
      const held = heldNow(call.check)
      return held && answerHeld(call, held)
    },
    basisNow: (check) => {
      const held = heldNow(check)
      return held && { set: held.known.set, nowMs: held.nowMs, freshness: freshnessOf(held.known, replica.asOfMs(held.known)) }
    },
    basisLater: async ({ customer, minRevision }, deadlineMs, signal) => {
      const { known, nowMs, asOfMs } = await lookUp(customer, minRevision, deadlineMs, signal)
      return { set: known.set, nowMs, freshness: freshnessOf(known, asOfMs) }
    },
    tell: (call, { nowMs, freshness }, decision) => decided(call, decision, freshness, nowMs),
    allNow: (calls) => {
      const found: { call: CheckCall; held: TimedSet }[] = []
      for (const call of calls) {
        const held = heldNow(call.check)
        if (!held) return undefined
        found.push({ call, held })
      }
      // From what was found: another thread may write meanwhile, and a second look might find nothing.
      return found.map(({ call, held }) => answerHeld(call, held))
    },
    later: async (call, deadlineMs, signal) => {
      const { customer, minRevision, entitlement } = call.check
      try {
        const { known, nowMs, asOfMs } = await lookUp(customer, minRevision, deadlineMs, signal)
        return answer(call, known, nowMs, asOfMs)
      } catch (error) {
        // The feed cannot be asked: a configured answer is better than none.
        const instead = isAppError(error, 'unavailable') ? answerWhenStale(policy, entitlement) : undefined
        if (!instead) throw error
        return decided(call, instead, { revision: 0, asOfMs: replica.currentAsOfMs(), stale: true }, clock.nowMs())
      }
    },
    everything: async (customer, minRevision, deadlineMs, signal) => {
      const { known, nowMs, asOfMs } = await lookUp(customer, minRevision, deadlineMs, signal)
      const freshness = freshnessOf(known, asOfMs)
      const { set } = known
      const all = (set ? keysInSet(set) : []).map((key) => ({
        key,
        decision: (freshness.stale ? answerWhenStale(policy, key) : undefined) ?? decideMetered(set as EntitlementSet, key, 1, nowMs),
      }))
      return { decided: all, freshness, customerKnown: known.set !== null }
    },
  }
}
