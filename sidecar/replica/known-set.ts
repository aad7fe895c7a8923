/** What answers are made from, wherever it is kept. */
import type { EntitlementSet } from '../../common/entitlements/model.ts'

/** What is known of a customer: its set, or (null) that the feed has none. */
export interface KnownSet {
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
