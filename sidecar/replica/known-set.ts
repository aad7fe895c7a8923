/** The sets that answers are made from, wherever they are kept. */
import type { EntitlementSet } from '../../common/entitlements/model.ts'

/** The knowledge about a customer: its set, or (null) that the feed has none. */
export interface KnownSet {
  /** The time until which it is known to be current, where that may not be asked later: another thread goes on meanwhile. */
  asOfMs?: number | undefined
  /** From a snapshot: the feed has not confirmed it. */
  restored?: boolean | undefined
  /** A newer set is there, and could not be read: this one is old, however young. */
  behind?: boolean | undefined
  set: EntitlementSet | null
  /** The time when the feed answered this; the watch keeps it current from then on. */
  readAtMs: number
}
