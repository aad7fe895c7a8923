/** A test double: what customers hold is said by the test, and decided by the rules of the sidecar. It connects to nothing. */
import { systemClock } from '../common/clock.ts'
import type { Grant, GrantTerms, Usage } from '../common/entitlements/model.ts'
import { quotaWindow } from '../common/entitlements/quota-window.ts'
import { type Committed, type Decided, dateOf, type Reservation, type Reserved } from './answer.ts'
import { answerFrom, holdingsFrom, type Knowledge } from './decide-from.ts'
import { TollgateError, type TollgateErrorCode } from './errors.ts'
import { createFakeCounts, type FakeCounts, type FakeUse } from './fake-counts.ts'
import { checkCount, checkId, checkUse } from './question.ts'
import type { GivenBack, Question, Tollgate, Use } from './tollgate.ts'
import { type OnUnknown, unlessKnown } from './unless-known.ts'

/**
 * What a customer holds of one entitlement: a flag, a value, or a count. With `per` it is a quota, else a capacity; a `limit` of null is
 * unlimited, and with `overage` it is soft. `until` ends it, and `inactive` is a subscription that gives nothing at present.
 */
export type FakeGrant =
  | boolean
  | string
  | {
      enabled?: boolean
      value?: string
      limit?: number | null
      per?: 'day' | 'week' | 'month' | 'quarter' | 'year'
      used?: number
      overage?: 'allow'
      from?: Date
      until?: Date
      inactive?: boolean
    }

export type FakeGrants = Record<string, FakeGrant>

export interface FakeTollgateOptions {
  /** By customer, and then by the entitlement's key. */
  grants?: Record<string, FakeGrants>
  /** The time that decides; the system's without. */
  now?: () => Date
  onUnknown?: OnUnknown
}

export interface FakeTollgate extends Tollgate {
  /** The customer holds these, besides what it holds already. */
  grant(customer: string, grants: FakeGrants): void
  /** The customer holds this no more; without a key, nobody knows the customer any more. */
  revoke(customer: string, entitlement?: string): void
  /** From now on no question can be answered; undefined ends that. */
  fail(code: TollgateErrorCode | undefined): void
}

interface Customer {
  grants: Map<string, FakeGrant>
  /** What was counted, beside what the test says is used. */
  counts: Map<string, FakeCounts>
  revision: number
}

/** The start of the years that everything counts from, so that a month is one of the calendar. */
const ANCHOR_MS = Date.UTC(2000, 0, 1)
const BUNDLE = 'fake'
/** A sidecar's, without a `ttlMs`. */
const RESERVATION_MS = 60_000

const termsOf = (grant: FakeGrant): GrantTerms => {
  if (typeof grant === 'boolean') return { kind: 'flag', enabled: grant }
  if (typeof grant === 'string') return { kind: 'value', value: grant }
  const { enabled = true, value, limit, per, overage } = grant
  if (value !== undefined) return { kind: 'value', value }
  if (limit === undefined) return { kind: 'flag', enabled }
  const soft = overage ? { overage } : {}
  return per === undefined ? { kind: 'capacity', limit, ...soft } : { kind: 'quota', limit, per, anchorMs: ANCHOR_MS, timeZone: 'UTC', ...soft }
}

const setOf = ({ grants, counts }: Customer, nowMs: number): { grants: Grant[]; usage: Usage[] } => {
  const all = [...grants].map(([key, grant]) => ({ key, terms: termsOf(grant), ...(typeof grant === 'object' ? grant : {}) }))
  return {
    grants: all.map(({ key, terms, from, until, inactive = false }) => ({
      key,
      terms,
      subscriptionId: BUNDLE,
      bundleId: BUNDLE,
      fromMs: from?.getTime() ?? 0,
      untilMs: until?.getTime(),
      inactive,
    })),
    // Used in whatever period it is: the test says what is used now.
    usage: all.flatMap(({ key, terms, used: before = 0 }) => {
      const used = before + (counts.get(key)?.used(nowMs) ?? 0)
      return [terms.kind === 'quota' ? { key, used, subscriptionId: BUNDLE, untilMs: quotaWindow(terms, nowMs).endMs } : { key, used }]
    }),
  }
}

export const createFakeTollgate = ({ grants = {}, now = () => systemClock.now(), onUnknown = 'throw' }: FakeTollgateOptions = {}): FakeTollgate => {
  const customers = new Map<string, Customer>()
  const watchers = new Set<() => void>()
  let failure: TollgateErrorCode | undefined
  let revision = 0
  let closed = false

  const changed = () => {
    for (const watcher of watchers) watcher()
  }
  const grant: FakeTollgate['grant'] = (customer, more) => {
    revision += 1
    const held = customers.get(customer)
    customers.set(customer, { grants: new Map([...(held?.grants ?? []), ...Object.entries(more)]), counts: held?.counts ?? new Map(), revision })
    changed()
  }
  for (const [customer, held] of Object.entries(grants)) grant(customer, held)

  const knowledgeOf = (customer: string, signal: AbortSignal | undefined): Knowledge => {
    checkId('customer', customer)
    signal?.throwIfAborted()
    if (closed) throw new TollgateError('closed', 'this client has been closed')
    if (failure) throw new TollgateError(failure, 'the test makes this question fail')
    const held = customers.get(customer)
    const nowMs = now().getTime()
    return { set: held ? setOf(held, nowMs) : null, customerKnown: held !== undefined, revision: held?.revision ?? 0, asOfMs: nowMs, nowMs }
  }
  const check = async ({ customer, entitlement, amount = 1 }: Question, signal: AbortSignal | undefined): Promise<Decided> => {
    checkId('entitlement', entitlement)
    checkCount('amount', amount)
    return answerFrom(knowledgeOf(customer, signal), entitlement, amount)
  }

  const countsOf = (customer: string, entitlement: string): FakeCounts => {
    const counts = customers.get(customer)?.counts ?? new Map<string, FakeCounts>()
    const known = counts.get(entitlement) ?? createFakeCounts()
    counts.set(entitlement, known)
    return known
  }
  /** Answers by key, of calls that counted: a repeat gets the same. A denial is not kept. */
  const answered = new Map<string, unknown>()
  const once = async <Result extends object>(
    call: string,
    { customer, entitlement, idempotencyKey }: GivenBack,
    act: () => Promise<Result>,
  ): Promise<Result> => {
    const key = JSON.stringify([call, customer, entitlement, idempotencyKey])
    if (idempotencyKey !== undefined && answered.has(key)) return answered.get(key) as Result
    const result = await act()
    if (idempotencyKey !== undefined && !('allowed' in result && !result.allowed)) answered.set(key, result)
    return result
  }

  const invalid = (message: string) => new TollgateError('invalid_request', message)

  /** Counts a use, or keeps it, if it is allowed. @returns what was decided, what the customer has then, and whether it had that before. */
  const take = async (use: Use, signal: AbortSignal | undefined, isReserved: boolean): Promise<{ answer: Decided; taken?: FakeUse; isRepeat?: boolean }> => {
    checkUse(use)
    const { customer, entitlement, holder, ttlMs } = use
    const amount = use.amount || 1
    const answer = await check(use, signal)
    if (answer.reason !== 'granted' && answer.reason !== 'limit_exceeded') return { answer }
    if (answer.kind !== 'quota' && answer.kind !== 'capacity')
      throw invalid(`entitlement: ${entitlement} is a ${answer.kind}, and only quotas and capacities are counted; use check`)
    if (answer.kind === 'quota' && holder !== undefined) throw invalid('holder: only capacities have holders')
    if (ttlMs !== undefined && holder === undefined && !isReserved) throw invalid('ttlMs: only holders end by themselves')
    const nowMs = now().getTime()
    const counts = countsOf(customer, entitlement)
    const before = counts.current(nowMs).find((one) => holder !== undefined && one.holder === holder)
    if (before && before.amount !== amount) throw invalid(`amount: ${holder} has ${before.amount}; release it first`)
    const endsAtMs = ttlMs === undefined ? undefined : nowMs + ttlMs
    // A holder never ends earlier than it would have.
    if (before?.untilMs !== undefined && !isReserved) before.untilMs = endsAtMs && Math.max(before.untilMs, endsAtMs)
    const granted = async () => ({ ...(await check(use, signal)), allowed: true, reason: 'granted' }) as Decided
    if (before) return { answer: await granted(), taken: before, isRepeat: true }
    const grant = customers.get(customer)?.grants.get(entitlement)
    const isSoft = typeof grant === 'object' && grant.overage === 'allow'
    if (!isSoft && answer.remaining !== null && amount > answer.remaining - counts.reserved(nowMs))
      return { answer: { ...answer, allowed: false, reason: 'limit_exceeded' } as Decided }
    const periodEndMs = answer.kind === 'quota' ? answer.resetsAt.getTime() : undefined
    const untilMs = isReserved ? nowMs + (ttlMs ?? RESERVATION_MS) : (periodEndMs ?? endsAtMs)
    const taken: FakeUse = { amount, holder, untilMs, periodEndMs, isReserved }
    counts.add(taken)
    return { answer: await granted(), taken }
  }

  const reservationOf = (use: Use, kept: FakeUse, isRepeat: boolean | undefined): Reservation & AsyncDisposable => {
    const counts = countsOf(use.customer, use.entitlement)
    let state: Committed | 'released' | undefined
    const release = async () => {
      if (typeof state === 'object') throw invalid('the reservation is committed')
      state = 'released'
      if (!isRepeat) counts.remove([kept])
    }
    return {
      expiresAt: dateOf(kept.untilMs),
      commit: async (amount = kept.amount, { signal } = {}) => {
        checkCount('amount', amount)
        if (state === 'released') throw new TollgateError('not_found', 'the reservation was released')
        if (state && state.used !== amount) throw invalid(`amount: ${state.used} was committed before`)
        if (state) return state
        if (!isRepeat) counts.remove([kept])
        if (!isRepeat) counts.add({ ...kept, amount, untilMs: kept.periodEndMs, isReserved: false })
        const after = await check(use, signal)
        state = { used: amount, overLimit: 'limit' in after && 'used' in after && after.limit !== null && after.used > after.limit }
        return state
      },
      release,
      [Symbol.asyncDispose]: async () => {
        if (!state) await release()
      },
    }
  }

  return {
    check: (question, { signal } = {}) => unlessKnown(onUnknown, () => check(question, signal)),
    consume: (use, { signal } = {}) =>
      unlessKnown(onUnknown, () =>
        once('consume', use, async () => {
          const { answer, taken, isRepeat = false } = await take(use, signal, false)
          return {
            ...answer,
            counted: taken !== undefined && !isRepeat,
            overLimit: 'remaining' in answer && answer.limit !== null && answer.used > answer.limit && answer.allowed,
          }
        }),
      ),
    reserve: (use, { signal } = {}) =>
      once('reserve', use, async () => {
        const { answer, taken, isRepeat } = await take(use, signal, true)
        const more = taken ? reservationOf(use, taken, isRepeat) : { allowed: false, [Symbol.asyncDispose]: async () => {} }
        return { ...answer, ...more } as Reserved
      }),
    release: (places, { signal } = {}) =>
      once('release', places, async () => {
        checkUse(places)
        const { customer, entitlement, amount = 0, holder } = places
        const { nowMs } = knowledgeOf(customer, signal)
        const counts = countsOf(customer, entitlement)
        const occupied = async () => {
          const answer = await check({ customer, entitlement }, signal)
          return 'used' in answer ? answer.used : 0
        }
        const held = counts.current(nowMs).find((one) => holder !== undefined && one.holder === holder)
        if (held && amount > 0 && amount < held.amount) held.amount -= amount
        else if (held) counts.remove([held])
        else if (holder === undefined)
          counts.add({ amount: -Math.min(amount || 1, await occupied()), holder, untilMs: undefined, periodEndMs: undefined, isReserved: false })
        return { used: await occupied() }
      }),
    list: async ({ customer }, { signal } = {}) => holdingsFrom(knowledgeOf(customer, signal)),
    watch: async function* ({ customer }, { signal } = {}) {
      let wake = () => {}
      const listener = () => wake()
      watchers.add(listener)
      signal?.addEventListener('abort', listener)
      try {
        for (;;) {
          const changes = new Promise<void>((resolve) => {
            wake = resolve
          })
          yield holdingsFrom(knowledgeOf(customer, signal))
          await changes
        }
      } finally {
        watchers.delete(listener)
        signal?.removeEventListener('abort', listener)
      }
    },
    grant,
    revoke: (customer, entitlement) => {
      revision += 1
      const held = customers.get(customer)
      if (entitlement === undefined) customers.delete(customer)
      else if (held) {
        held.grants.delete(entitlement)
        held.revision = revision
      }
      changed()
    },
    fail: (code) => {
      failure = code
      changed()
    },
    close: () => {
      closed = true
      changed()
    },
  }
}
