/**
 * The feed: how entitlement sets and test clocks travel from control planes to sidecars. A last-value store with
 * change notification: level-triggered, so a missed or repeated message is repaired by the next look.
 * It holds nothing that storage does not: it can be rebuilt from storage at any time (`npm run republish`).
 *
 * Every adapter passes `test/contract/feed.ts`.
 */
import type { CustomerKey, CustomerUsage, EntitlementSet, TestClock } from '../entitlements/model.ts'
import { AppError } from '../errors.ts'

/**
 * A set has at most so many bytes, encoded, in every adapter: what is sold on one feed can be moved to another. A
 * nats-server takes messages of 1 MiB unless it is told otherwise, headers and all; eight KiB are far more than those
 * headers take. It is some ten thousand grants.
 */
export const MAX_SET_BYTES = (1024 - 8) * 1024

/** Word of a set that is not there to be read. */
export interface MissingSet extends CustomerKey {
  /** The revision of the missing set; undefined if not even that can be read. */
  revision: number | undefined
}

/** The customer has a set, and nobody can read it here: not "none", and not "the feed is away". */
export class MissingSetError extends AppError {
  readonly missing: MissingSet

  constructor(missing: MissingSet, options?: ErrorOptions) {
    super('unavailable', "the customer's entitlements cannot be read from the feed; the log of the control plane or the sidecar says why", [], options)
    this.missing = missing
  }
}

/** Identifies the storage that the feed is filled from, with a count that grows while control planes run on it. */
export interface StorageMark {
  id: string
  count: number
}

/** The filling of a feed, which one process has claimed for itself. */
export interface Filling {
  readonly epoch: string
  /** To be called at least every few seconds. @throws Error when another process has taken over. */
  renew(): Promise<void>
  /** Everything is in the feed: readers may believe that what is not there does not exist. @throws as `renew`. */
  complete(): Promise<void>
}

/** How control planes keep a feed that can be lost. All methods reject with AppError `unavailable`. */
export interface FeedKeeper {
  /** Reads whether the feed is complete, its epoch, the storage that it was last kept from, and the sequence of the last beat (0: none). */
  look(): Promise<{ isComplete: boolean; epoch: string | undefined; storage: StorageMark | undefined; sequence: number }>
  /**
   * To be called every second: whoever is delivered it has been delivered everything stored before.
   * @returns a sequence that grows from beat to beat, unless the feed has lost what was stored last.
   */
  beat(storage: StorageMark): Promise<number>
  /** Makes the feed if it is gone. */
  remake(): Promise<void>
  /**
   * Claims the filling of the feed; readers know from then on that it is not complete.
   * @param how.anew what is there is wrong, and is taken out first.
   * @returns undefined while another process is at it.
   */
  claim(how: { anew: boolean }): Promise<Filling | undefined>
}

export interface Feed {
  /**
   * Stores the set unless the feed already has this revision or a higher one of the same customer; then it does
   * nothing. When it resolves, every later `getSet`, from any process, answers this revision or a higher one.
   * One that is `removed` takes the customer away: `getSet` answers undefined from then on, watches deliver it as it is,
   * and it goes on keeping lower revisions out.
   * @throws AppError `unavailable` when it cannot be known that the set was stored; `set_too_large` when it has more
   * than `MAX_SET_BYTES`, or more than the feed's server takes; `internal` when it is not one that readers can use.
   * After the last two another try is of no use: `putMissing` tells readers.
   */
  putSet(set: EntitlementSet): Promise<void>

  /**
   * The feed's server is one on which, of two writers at the same moment, the one with the lower revision may win: who has
   * put a set looks afterwards whether storage has a newer one, and puts that.
   */
  mayReorder(): boolean

  /**
   * Stores, in place of a set that cannot be put, that there is one, unless the feed already has this revision or a
   * higher one. Readers know from then on that what they hold is old; a whole set of this revision or a higher one
   * mends it.
   * @returns whether the feed did not say so yet. @throws AppError `unavailable`.
   */
  putMissing(customer: CustomerKey, revision: number): Promise<boolean>

  /**
   * The customer's latest set, or undefined when the feed has none.
   * @throws AppError `unavailable` when the feed cannot be asked. Never undefined for that. It is a `MissingSetError`
   * when the feed was asked, and has a set that cannot be read.
   */
  getSet(customer: CustomerKey): Promise<EntitlementSet | undefined>

  /**
   * Takes away what a removed set has left, the customer's name included. Of any other customer it takes nothing.
   * A watch that was away from before the removal until after this is told to forget everything (`onReset`).
   * @throws AppError `unavailable`.
   */
  forgetSet(customer: CustomerKey): Promise<void>

  /** Like `putSet`, for a tenant's test clock. @throws AppError `unavailable`. */
  putClock(clock: TestClock): Promise<void>

  /** Like `getSet`, for a tenant's test clock. @throws AppError `unavailable`. */
  getClock(tenantId: string): Promise<TestClock | undefined>

  /**
   * Delivers every change that is stored after this resolves, in the order of storing, at least once; a set that
   * changes several times in quick succession may be delivered once, with the last value. After an interruption it
   * resumes where it was.
   * @throws AppError `unavailable` when it cannot start.
   */
  watch(listener: FeedListener): Promise<FeedWatch>

  /**
   * Asks whoever answers such questions what the feed does not hold: a control plane. Never on the path of a check.
   * @param question a message whose meaning is not the feed's: `control-plane/questions.ts` reads it.
   * @param tenantId whom the question is about: the feed's server knows by it who may ask what.
   * @throws AppError `unavailable` when nobody answers in time.
   */
  ask(tenantId: string, question: Uint8Array, timeoutMs: number): Promise<Uint8Array>

  /**
   * Answers what is asked; of several that do, one gets each question.
   * @param handler is told of which tenant the feed's server let it be asked; undefined: of any. It must answer of no other.
   * @param onTold hears what processes `tell`; of several that answer, each does. It is told of which tenant the feed's server let the
   *   process speak; undefined: of any.
   * @returns what ends it.
   */
  answer(
    handler: (question: Uint8Array, tenantId: string | undefined) => Promise<Uint8Array>,
    onTold?: (message: Uint8Array, tenantId: string | undefined) => void,
  ): Promise<() => void>

  /**
   * Tells all control planes something that nobody answers. One that is away, or of a version that does not know of it, does not
   * hear it.
   * @param tenantId a tenant that this process may ask about; undefined: it may ask about all.
   * @throws AppError `unavailable`.
   */
  tell(tenantId: string | undefined, message: Uint8Array): Promise<void>

  /**
   * Tells whoever follows the customer just now; nobody else ever hears of it. When it resolves, the word is on its way to them.
   * @throws AppError `unavailable`.
   */
  sayUsage(usage: CustomerUsage): Promise<void>

  /**
   * Hears what customers have used: of those that are followed, from when `follow` has reached the feed's server on, and at most
   * once. More may be told than is followed.
   * @param onUsage answers whether the customer is still of interest; otherwise it need not be followed any more.
   */
  followUsage(onUsage: (usage: CustomerUsage) => boolean): UsageFollowing

  /** Resolves when the feed can be reached, and is there. @throws AppError `unavailable`. */
  ping(): Promise<void>

  /** The keeper of a control plane's feed; undefined for readers, and for a feed that needs no keeping. */
  readonly keeper: FeedKeeper | undefined

  /** Ends all watches. Idempotent. */
  close(): Promise<void>
}

export interface UsageFollowing {
  follow(customer: CustomerKey): void
  stop(): void
}

/** An error that a listener throws is logged. It reaches neither the publisher nor the next delivery. */
export interface FeedListener {
  onSet(set: EntitlementSet): void
  /** Says whether anybody here asks about the customer, so that other sets may be left out. Without it, every set is wanted. */
  isWanted?(customer: CustomerKey, key: string): boolean
  /** The customer has a newer set that cannot be read: what is held of it is old from now on. */
  onMissing(missing: MissingSet): void
  onClock(clock: TestClock): void
  /** Tells the reader to drop everything that it holds: the feed may have lost it, or have gone back. */
  onReset(): void
}

export interface FeedWatch {
  /** True while changes arrive as they are stored. */
  isLive(): boolean
  /**
   * The feed has lost what it held and is not filled yet, or is being filled anew: what was read before is all that there
   * is, and may be old, however young.
   */
  isDoubtful(): boolean
  /** The last instant, in epoch milliseconds, at which everything stored by then is known to have been delivered. */
  currentAsOfMs(): number
  /** How often it was interrupted and went on. */
  reconnects(): number
  stop(): Promise<void>
}
