/** Publications: what this process puts into the feed. */
import { isAppError } from '../../common/errors.ts'
import type { Feed } from '../../common/feed/feed.ts'
import type { Instruments } from './instruments.ts'

const BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 5]

/** @returns the feed, with every set that is put counted. */
export const measuredFeed = (feed: Feed, { counter, histogram }: Instruments): Feed => {
  const puts = counter('tollgate_feed_puts_total', 'Sets that were put into the feed. unavailable: they are put later; refused: the feed cannot carry them.', [
    'outcome',
  ])
  const seconds = histogram('tollgate_feed_put_seconds', 'Time that the feed took to store a set, or to refuse it.', [], BUCKETS)
  for (const outcome of ['put', 'unavailable', 'refused']) puts.inc({ outcome }, 0)
  return {
    ...feed,
    putSet: async (set) => {
      const begun = performance.now()
      let outcome = 'put'
      try {
        await feed.putSet(set)
      } catch (error) {
        outcome = isAppError(error, 'unavailable') ? 'unavailable' : 'refused'
        throw error
      } finally {
        puts.inc({ outcome })
        seconds.observe((performance.now() - begun) / 1000)
      }
    },
  }
}
