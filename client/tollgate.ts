/** What applications work with: the same for a sidecar, and for the test double of `testing.ts`. */
import type { Answer, Decided, Known } from './answer.ts'

export interface Question {
  customer: string
  /** The entitlement's key, for example "analytics_dashboard". */
  entitlement: string
  /** For a quota or capacity: how much is asked for; 1 without. */
  amount?: number | undefined
  /** Wait until the customer's set has at least this revision: `entitlementRevision` of an answer of the HTTP API. */
  minRevision?: number | undefined
}

export interface CallOptions {
  /** Ends the call. The promise rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /** How long to wait for an answer, retries included; else the client's `timeoutMs`. */
  timeoutMs?: number | undefined
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
