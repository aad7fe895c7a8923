/** A test double: what customers hold is said by the test, and decided by the rules of the sidecar. It connects to nothing. */
import { systemClock } from '../common/clock.ts'
import type { Grant, GrantTerms, Usage } from '../common/entitlements/model.ts'
import { quotaWindow } from '../common/entitlements/quota-window.ts'
import type { Decided } from './answer.ts'
import { answerFrom, holdingsFrom, type Knowledge } from './decide-from.ts'
import { TollgateError, type TollgateErrorCode } from './errors.ts'
import { checkCount, checkId } from './question.ts'
import type { Question, Tollgate } from './tollgate.ts'
import { type OnUnknown, unlessKnown } from './unless-known.ts'

/**
 * What a customer holds of one entitlement: a flag, a value, or a count. With `per` it is a quota, else a capacity; a `limit` of null is
 * unlimited. `until` ends it, and `inactive` is a subscription that gives nothing at present.
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
  revision: number
}

/** The start of the years that everything counts from, so that a month is one of the calendar. */
const ANCHOR_MS = Date.UTC(2000, 0, 1)
const BUNDLE = 'fake'

const termsOf = (grant: FakeGrant): GrantTerms => {
  if (typeof grant === 'boolean') return { kind: 'flag', enabled: grant }
  if (typeof grant === 'string') return { kind: 'value', value: grant }
  const { enabled = true, value, limit, per } = grant
  if (value !== undefined) return { kind: 'value', value }
  if (limit === undefined) return { kind: 'flag', enabled }
  return per === undefined ? { kind: 'capacity', limit } : { kind: 'quota', limit, per, anchorMs: ANCHOR_MS, timeZone: 'UTC' }
}

const setOf = ({ grants }: Customer, nowMs: number): { grants: Grant[]; usage: Usage[] } => {
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
    usage: all.flatMap(({ key, terms, used }) => {
      if (used === undefined) return []
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
    customers.set(customer, { grants: new Map([...(customers.get(customer)?.grants ?? []), ...Object.entries(more)]), revision })
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

  return {
    check: (question, { signal } = {}) => unlessKnown(onUnknown, () => check(question, signal)),
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
