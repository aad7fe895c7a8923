/** What applications work with: the same for a sidecar, and for the test double of `testing.ts`. */
import type { Answer, Consumed, Decided, Known, Reserved } from './answer.ts'
import type { CallOptions } from './call-options.ts'

export interface Question {
  customer: string
  /** The entitlement's key, for example "analytics_dashboard". */
  entitlement: string
  /** For a quota or capacity: how much is asked for; 1 without. */
  amount?: number | undefined
  /** Wait until the customer's set has at least this revision: `entitlementRevision` of an answer of the HTTP API. */
  minRevision?: number | undefined
}

/** A use of a quota, or a place of a capacity. */
export interface Use extends Question {
  /** A repeat under the same key, at the same sidecar and within an hour, is one use. Each call has a key of its own without. At most 128 characters. */
  idempotencyKey?: string | undefined
  /** For a capacity: who occupies the place, for example "seat:ann@example.com". The same holder never occupies two. */
  holder?: string | undefined
  /** `consume`: the holder leaves after so long, unless it consumes again; never without. `reserve`: when the reservation expires; after a minute without. */
  ttlMs?: number | undefined
}

/** Places of a capacity that are given back: `amount` of them, or all that the holder occupies. */
export type GivenBack = Pick<Use, 'customer' | 'entitlement' | 'amount' | 'idempotencyKey' | 'holder'>

export interface ConsumeOptions extends CallOptions {
  /**
   * Uses of one customer and entitlement that come within so long are sent as one call. If there is not enough for all of them,
   * each is asked for by itself, in the order in which they came. Shorter than `timeoutMs`, which begins with the first of them.
   */
  batchMs?: number | undefined
}

/** Everything that a customer holds. */
export interface Holdings extends Known {
  /** False: there is no such customer, and `entitlements` is empty. */
  customerKnown: boolean
  /** By key: the answer that a check with an amount of 1 has. */
  entitlements: ReadonlyMap<string, Decided>
}

export interface Tollgate {
  /**
   * May this customer use this entitlement, now? Denied is an answer.
   * @throws TollgateError; the signal's reason.
   */
  check(question: Question, options?: CallOptions): Promise<Answer>
  /**
   * Decides and counts in one step. Denied is an answer, and counts nothing.
   * @throws TollgateError, `invalid_request` for a flag or a value; the signal's reason. After `timed_out` and an abort it may be counted: repeat
   *   it under the same `idempotencyKey` to know.
   */
  consume(use: Use, options?: ConsumeOptions): Promise<Consumed>
  /**
   * Decides now, and counts when the work is done: `await using reserved = await tollgate.reserve(…)`. Nobody else is given what
   * is reserved. Without `commit`, it is given back at the end of the block, or when it expires.
   * @throws as `consume`, whatever `onUnknown` says.
   */
  reserve(use: Use, options?: CallOptions): Promise<Reserved>
  /** Gives back places of a capacity. A holder that gives back twice gives back once. @throws as `reserve`. */
  release(places: GivenBack, options?: CallOptions): Promise<{ /** What is occupied now. */ used: number }>
  /** Everything that a customer holds. @throws as `check`, whatever `onUnknown` says. */
  list(question: Pick<Question, 'customer' | 'minRevision'>, options?: CallOptions): Promise<Holdings>
  /**
   * Everything that a customer holds, now and at every change: by a stream of its own that is opened again if it is cut. It does not tell when
   * time alone ends a grant. @throws TollgateError if the sidecar refuses; the signal's reason.
   */
  watch(question: Pick<Question, 'customer'>, options?: Pick<CallOptions, 'signal'>): AsyncIterable<Holdings>
  /** Ends connections and streams. Calls that are under way, and later ones, fail with the code `closed`. */
  close(): void
}
