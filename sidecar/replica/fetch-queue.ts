/**
 * The bounds on the questions that the feed is asked at once, and on those that wait: a flood of customers that nobody knows
 * waits its turn, and takes neither the feed nor this process down.
 */
import pLimit from 'p-limit'
import { AppError } from '../../common/errors.ts'

const MAX_RUNNING = 64
const MAX_WAITING = 10_000

export interface FetchQueue {
  /** @throws AppError `unavailable` when too many wait. */
  run<T>(fetch: () => Promise<T>): Promise<T>
}

export const createFetchQueue = (): FetchQueue => {
  const limit = pLimit(MAX_RUNNING)
  return {
    run: async (fetch) => {
      if (limit.pendingCount >= MAX_WAITING) throw new AppError('unavailable', 'too many customers are being looked up at once; try again')
      return limit(fetch)
    },
  }
}
