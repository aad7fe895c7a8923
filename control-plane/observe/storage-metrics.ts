/** How long storage takes, and how long commands wait for a connection to it. */
import { isAppError } from '../../common/errors.ts'
import { collectionNames } from '../storage/documents.ts'
import type { Storage } from '../storage/storage.ts'
import type { Instruments } from './instruments.ts'

const BUCKETS = [0.000_1, 0.000_5, 0.002, 0.01, 0.05, 0.25, 1, 5]

/** @returns the storage, with every operation timed. */
export const measuredStorage = (storage: Storage, { counter, histogram, read }: Instruments): Storage => {
  const seconds = histogram('tollgate_storage_seconds', 'Time that an operation on one collection took, whatever came of it.', ['operation'], BUCKETS)
  const unavailable = counter('tollgate_storage_unavailable_total', 'Operations that failed because storage could not be reached, or not in time.', [])
  const timed = (operation: string, run: (...args: unknown[]) => Promise<unknown>): typeof run => {
    const ofOperation = seconds.labels({ operation })
    return async (...args) => {
      const begun = performance.now()
      try {
        return await run(...args)
      } catch (error) {
        if (isAppError(error, 'unavailable')) unavailable.inc()
        throw error
      } finally {
        ofOperation.observe((performance.now() - begun) / 1000)
      }
    }
  }
  const measured = (collection: object): object => Object.fromEntries(Object.entries(collection).map(([operation, run]) => [operation, timed(operation, run)]))
  const { pool } = storage
  if (pool) {
    const waits = histogram('tollgate_storage_pool_wait_seconds', 'Time that commands waited for a connection of the pool.', [], BUCKETS)
    pool.onWait((waitedMs) => waits.observe(waitedMs / 1000))
    read('tollgate_storage_pool_waiting', 'Commands that are waiting for a connection of the pool.', pool.waiting)
    read('tollgate_storage_pool_in_use', 'Connections of the pool that are in use.', pool.inUse)
  }
  const collections = Object.fromEntries(collectionNames.map((name) => [name, measured(storage[name])]))
  return { ...storage, ...collections }
}
