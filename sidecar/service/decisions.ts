/**
 * Decisions as every interface of the sidecar makes them: who may ask, what is known, what the policy says when that is
 * too old, and what is told of it. Knows nothing of messages.
 */
import type { Clock } from '../../common/clock.ts'
import { type Decision, decide, decideAll } from '../../common/entitlements/decide.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { answerWhenStale, type StalenessPolicy } from '../../common/entitlements/staleness-policy.ts'
import { isAppError } from '../../common/errors.ts'
import type { Observer } from '../observe/observer.ts'
import type { Callers } from '../policy/callers.ts'
import type { Known, Replica } from '../replica/known.ts'
import type { Answered, Freshness, Holdings } from './answered.ts'
import type { Check } from './requests.ts'

/** One question, and how it came. */
export interface Ask {
  /** For the metrics. */
  method: string
  check: Check
  traceparent: string | undefined
}

export interface Decisions {
  /** @throws AppError `unauthenticated` or `forbidden`. */
  mayAsk(authorization: string | undefined, tenantId: string): void
  /** Undefined when something has to be fetched or waited for. */
  now(ask: Ask): Answered | undefined
  /** As `now`, all of them or none: undefined, and nothing told, when one has to be fetched or waited for. */
  allNow(asks: readonly Ask[]): Answered[] | undefined
  /** @throws AppError `unavailable` or `revision_not_reached`; the signal's own reason when it aborts a wait for a revision. */
  later(ask: Ask, deadlineMs: number, signal?: AbortSignal): Promise<Answered>
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
}

/** What is known, and the time that governs it. */
interface Held {
  known: Known
  nowMs: number
}

const customerUnknown: Decision = { allowed: false, reason: 'customer_unknown', unlimited: false }

export const createDecisions = ({ replica, clock, maxStalenessMs, policy, callers, observer }: DecisionsOptions): Decisions => {
  const freshnessOf = (known: Known, asOfMs: number): Freshness => {
    return { revision: known.set?.revision ?? 0, asOfMs, stale: known.behind === true || replica.isDoubtful() || clock.nowMs() - asOfMs > maxStalenessMs }
  }
  const told = ({ method, check, traceparent }: Ask, decision: Decision, freshness: Freshness, nowMs: number): Answered => {
    observer.count(method, decision.reason)
    if (observer.wants(decision)) observer.tell({ check, decision, freshness, nowMs, traceparent })
    return { decision, freshness }
  }
  const answer = (ask: Ask, known: Known, nowMs: number, asOfMs: number): Answered => {
    const freshness = freshnessOf(known, asOfMs)
    const { entitlement, amount } = ask.check
    const instead = freshness.stale ? answerWhenStale(policy, entitlement) : undefined
    return told(ask, instead ?? (known.set ? decide(known.set, entitlement, amount, nowMs) : customerUnknown), freshness, nowMs)
  }
  const find = (customer: CustomerKey, minRevision: number, deadlineMs: number, signal?: AbortSignal): Promise<Known> =>
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
  const heldNow = ({ customer, minRevision }: Check): Held | undefined => {
    const known = replica.peek(customer)
    if (!known || (known.set?.revision ?? 0) < minRevision) return undefined
    const nowMs = replica.peekNowMs(known)
    return nowMs === undefined ? undefined : { known, nowMs }
  }
  const answerHeld = (ask: Ask, { known, nowMs }: Held): Answered => answer(ask, known, nowMs, replica.asOfMs(known))

  return {
    mayAsk: (authorization, tenantId) => {
      if (callers.areKnown) callers.check(authorization, tenantId)
    },
    now: (ask) => {
      const held = heldNow(ask.check)
      return held && answerHeld(ask, held)
    },
    allNow: (asks) => {
      const found: { ask: Ask; held: Held }[] = []
      for (const ask of asks) {
        const held = heldNow(ask.check)
        if (!held) return undefined
        found.push({ ask, held })
      }
      // From what was found: another thread may write meanwhile, and a second look might find nothing.
      return found.map(({ ask, held }) => answerHeld(ask, held))
    },
    later: async (ask, deadlineMs, signal) => {
      const { customer, minRevision, entitlement } = ask.check
      try {
        const { known, nowMs, asOfMs } = await lookUp(customer, minRevision, deadlineMs, signal)
        return answer(ask, known, nowMs, asOfMs)
      } catch (error) {
        // The feed cannot be asked: a configured answer is better than none.
        const instead = isAppError(error, 'unavailable') ? answerWhenStale(policy, entitlement) : undefined
        if (!instead) throw error
        return told(ask, instead, { revision: 0, asOfMs: replica.currentAsOfMs(), stale: true }, clock.nowMs())
      }
    },
    everything: async (customer, minRevision, deadlineMs, signal) => {
      const { known, nowMs, asOfMs } = await lookUp(customer, minRevision, deadlineMs, signal)
      const freshness = freshnessOf(known, asOfMs)
      const decided = (known.set ? decideAll(known.set, nowMs) : []).map(({ key, decision }) => ({
        key,
        decision: (freshness.stale ? answerWhenStale(policy, key) : undefined) ?? decision,
      }))
      return { decided, freshness, customerKnown: known.set !== null }
    },
  }
}
