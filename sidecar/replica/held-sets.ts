/**
 * The knowledge that is held about customers' sets: sets, that there is none, and that the newest cannot be read. It never
 * goes back to an older set than it has held before.
 */
import { LRUCache } from 'lru-cache'
import type { CustomerKey, CustomerUsage, EntitlementSet } from '../../common/entitlements/model.ts'
import { type MissingSet, MissingSetError } from '../../common/feed/feed.ts'
import { setKey } from '../../common/feed/keys.ts'
import { SetCache } from './cache/set-cache.ts'
import type { FeedState } from './feed-state.ts'
import type { KnownSet } from './known-set.ts'

/** Customers that the feed has no set of. Apart from the others, so that asking for many of them displaces nobody. */
const MAX_ABSENT = 20_000
/** Customers whose sets are known to be missing: hardly any, unless something is very wrong. */
const MAX_MISSING = 20_000

/** A set may have been made before usage that is known already; one that does not say of which count it is was made by an older control plane. */
const withLaterUsage = (set: EntitlementSet, { usage, usageSeq = 0 }: EntitlementSet): EntitlementSet =>
  set.usageSeq !== undefined && usageSeq > set.usageSeq ? { ...set, usage, usageSeq } : set

export class HeldSets {
  readonly cache: SetCache
  readonly #state: FeedState
  /** The time when the feed said so, and the revision at which it was removed, if it was: anything older has only been late. */
  readonly #absent = new LRUCache<string, { readAtMs: number; removedAt: number }>({ max: MAX_ABSENT })
  /** The revision that is missing; infinite when it is not known. What is older than it is behind. */
  readonly #missing = new LRUCache<string, number>({ max: MAX_MISSING })

  constructor(maxBytes: number, state: FeedState) {
    this.cache = new SetCache(maxBytes)
    this.#state = state
  }

  /** The set that may be answered from without asking the feed. */
  current(customer: CustomerKey): KnownSet | undefined {
    const known = this.cache.get(customer)
    // What a snapshot says is confirmed as soon as somebody can.
    if (known?.restored && this.#state.isLive()) return undefined
    if (known) return known
    const gone = this.#absent.size === 0 ? undefined : this.#absent.get(setKey(customer))
    // That a customer does not exist is true only for as long as we would hear of its making.
    return gone === undefined || !this.#state.isLive() ? undefined : { set: null, readAtMs: gone.readAtMs }
  }

  /** The feed has answered, or brought, this. @returns what is held from now on: it may be newer. @throws MissingSetError. */
  take(customer: CustomerKey, { set, readAtMs }: KnownSet): KnownSet {
    const key = setKey(customer)
    const known = this.#absent.get(key)
    const missingRevision = this.missingRevision(key)
    if (!set || (set.removed && missingRevision > set.revision)) {
      // It has come to be since the feed said that there is none.
      if (missingRevision > 0) throw new MissingSetError({ ...customer, revision: missingRevision })
      return this.#forget(customer, readAtMs, known?.removedAt ?? 0)
    }
    if (known && known.removedAt >= set.revision) return { set: null, readAtMs: known.readAtMs }
    if (set.removed) {
      // Made anew by now, under a higher revision.
      const anew = this.cache.revisionOf(customer) > set.revision ? this.cache.get(customer) : undefined
      if (anew && !anew.restored) return anew
      this.#missing.delete(key)
      return this.#forget(customer, readAtMs, set.revision)
    }
    this.#absent.delete(key)
    return this.#hold(customer, key, set, readAtMs, missingRevision > set.revision)
  }

  #hold(customer: CustomerKey, key: string, set: EntitlementSet, readAtMs: number, behind: boolean): KnownSet {
    const held = this.cache.revisionOf(customer) > 0 ? this.cache.get(customer) : undefined
    if (!behind) this.#missing.delete(key)
    // Of one that is behind, when it was current for the last time is known already.
    const isNewer = held !== undefined && held.set.revision >= set.revision
    if (isNewer && !held.restored && (held.set.revision > set.revision || (behind && held.behind))) return held
    const latest = held ? withLaterUsage(set, held.set) : set
    this.cache.set(latest, readAtMs, false, behind)
    return { set: latest, readAtMs, behind }
  }

  /** What a customer has used, told apart from its set. @returns what is held of the customer, and whether that is news to it. */
  takeUsage({ usageSeq, usage, recalled: _, ...customer }: CustomerUsage): { known: (KnownSet & { set: EntitlementSet }) | undefined; isNews: boolean } {
    const held = this.cache.revisionOf(customer) > 0 ? this.cache.get(customer) : undefined
    if (!held || (held.set.usageSeq ?? 0) >= usageSeq) return { known: held, isNews: false }
    const known = { ...held, set: { ...held.set, usage, usageSeq } }
    this.cache.set(known.set, held.readAtMs, held.restored, held.behind)
    return { known, isNews: true }
  }

  /** A set has come that is not to be held. Of which revision is missing is not always known; then whatever comes later mends it. */
  mend(key: string, revision: number): void {
    const missing = this.#missing.get(key)
    if (missing !== undefined && (missing === Number.POSITIVE_INFINITY || missing <= revision)) this.#missing.delete(key)
  }

  /**
   * The customer's newest set cannot be read.
   * @returns whether it is news, as what is held is older than what is missing, and the set that has become old by it.
   */
  setBehind(missing: MissingSet): { isNews: boolean; aged: EntitlementSet | undefined } {
    const key = setKey(missing)
    const revision = missing.revision ?? Number.POSITIVE_INFINITY
    const held = this.cache.revisionOf(missing) > 0 ? this.cache.get(missing) : undefined
    if (held && held.set.revision >= revision) return { isNews: false, aged: undefined }
    this.#missing.set(key, Math.max(revision, this.missingRevision(key)))
    this.#absent.delete(key)
    if (!held || (held.behind && !held.restored)) return { isNews: true, aged: undefined }
    this.cache.markBehind(missing, this.#state.asOfMs(held))
    return { isNews: true, aged: held.set }
  }

  /** The revision at which a key of `setKey` is missing; 0 when none is known to be missing. */
  missingRevision(key: string): number {
    return this.#missing.get(key) ?? 0
  }

  /** True if anything is held of the customer, be it that there is nothing. */
  isHeld(customer: CustomerKey, key: string): boolean {
    return this.cache.revisionOf(customer) > 0 || this.#absent.has(key)
  }

  /** Customers whose newest sets are known to be missing. */
  get missingCount(): number {
    return this.#missing.size
  }

  clear(): void {
    this.cache.clear()
    this.#absent.clear()
    this.#missing.clear()
  }

  #forget(customer: CustomerKey, readAtMs: number, removedAt: number): KnownSet {
    this.#absent.set(setKey(customer), { readAtMs, removedAt })
    this.cache.delete(customer)
    return { set: null, readAtMs }
  }
}
