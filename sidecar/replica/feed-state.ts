/** The state of the feed, and how current its sets are. */
import type { FeedWatch } from '../../common/feed/feed.ts'
import type { KnownSet } from './known-set.ts'

export interface FeedState {
  /** The time when the known set was last known to be current. */
  asOfMs(known: KnownSet): number
  /** Everything that was stored by then is applied. */
  currentAsOfMs(): number
  /** As `currentAsOfMs`, once the listeners of this thread have been told of all that was stored by then. */
  settledAsOfMs(): Promise<number>
  isLive(): boolean
  /** The feed has been lost, or is being filled anew: what is held may be old, however young. */
  isDoubtful(): boolean
}

export const feedStateOf = (watch: Pick<FeedWatch, 'currentAsOfMs' | 'isLive' | 'isDoubtful'>): FeedState => ({
  asOfMs: ({ restored, behind, readAtMs }) => (restored || behind ? readAtMs : Math.max(readAtMs, watch.currentAsOfMs())),
  currentAsOfMs: () => watch.currentAsOfMs(),
  settledAsOfMs: async () => watch.currentAsOfMs(),
  isLive: () => watch.isLive(),
  isDoubtful: () => watch.isDoubtful(),
})
