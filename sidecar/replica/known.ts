/** What answers are made from, wherever it is kept. */
import type { CustomerKey, EntitlementSet } from '../../common/entitlements/model.ts'
import type { SetReader } from './cache/set-reader.ts'

/** What is known of a customer: its set, or (null) that the feed has none. */
export interface Known {
  /** Until when it is known to be current, where that may not be asked later: another thread goes on meanwhile. */
  asOfMs?: number | undefined
  /** From a snapshot: the feed has not confirmed it. */
  restored?: boolean | undefined
  /** A newer set is there, and could not be read: this one is old, however young. */
  behind?: boolean | undefined
  set: EntitlementSet | null
  /** When the feed answered this; the watch keeps it current from then on. */
  readAtMs: number
}

export interface Replica {
  /** What is held, for whoever answers from its bytes. */
  readonly cache: SetReader
  /** What is held, the feed's word or a snapshot's. It counts as no hit. */
  held(customer: CustomerKey): Known | undefined
  /** What is known without asking the feed; undefined when the feed has to be asked. */
  peek(customer: CustomerKey): Known | undefined
  /** As `peek`, asking the feed if need be: once, however many callers wait. @throws AppError `unavailable`, also when nothing is held and the set is missing. */
  load(customer: CustomerKey): Promise<Known>
  /**
   * Waits until the customer's set has at least this revision.
   * @throws AppError `revision_not_reached` when it has not by `deadlineMs`, `unavailable` when the replica is closed
   * before or that revision is known to be missing, and the signal's own reason when it aborts.
   */
  waitFor(customer: CustomerKey, revision: number, deadlineMs: number, signal?: AbortSignal): Promise<Known>
  /** Calls back whenever the customer's set changes. @returns what ends that. */
  onChange(customer: CustomerKey, listener: () => void): () => void
  /** Calls back with every set that the feed brings, and with each that is found to be behind. @returns what ends that. */
  onAnyChange(listener: (set: EntitlementSet) => void): () => void
  /** The time that governs the set: the system's, or a sandbox tenant's own. Undefined when the feed has to be asked for it. */
  peekNowMs(known: Known): number | undefined
  /** As `peekNowMs`, asking the feed if need be. @throws AppError `unavailable`. */
  loadNowMs(known: Known): Promise<number>
  /** When what is known was last known to be current. */
  asOfMs(known: Known): number
  /** Questions that were answered from memory by `peek`, and those that the feed was asked. */
  lookups(): { hits: number; misses: number }
  /** So many were answered from memory without `peek`. */
  countHits(count: number): void
  /** Everything that was stored by then is applied. */
  currentAsOfMs(): number
  isLive(): boolean
  /** The feed has been lost, or is being filled anew: what is held may be old, however young. */
  isDoubtful(): boolean
  /** Times that the feed was lost and found again. */
  reconnects(): number
  close(): Promise<void>
}
