/**
 * Group commit for SQLite: writes that are asked for in one turn of the event loop share one transaction, and so one
 * flush to the disk, which is most of what a write costs. Each is its own statement with its own outcome, as if it had
 * been made alone, and each is answered only when all of them are on the disk.
 */
import type { DatabaseSync } from 'node:sqlite'
import { toUnavailable } from './sqlite-faults.ts'

/** Bounds how long the event loop is held by one transaction: a few milliseconds. */
const AT_ONCE = 200

interface Waiting {
  run(): unknown
  resolve(result: unknown): void
  reject(error: unknown): void
}

export interface WriteQueue {
  /** @param run one statement; what it throws rejects its own write and no other. @throws AppError `unavailable` when the file or its disk cannot take it. */
  write<T>(run: () => T): Promise<T>
  /** Writes what is waiting. */
  flush(): void
}

/** @param check throws when nothing may be written. */
export const createWriteQueue = (database: DatabaseSync, check: () => void): WriteQueue => {
  let waiting: Waiting[] = []

  const commit = (batch: Waiting[]): void => {
    const outcomes: (() => void)[] = []
    try {
      check()
      database.exec('BEGIN IMMEDIATE')
      for (const { run, resolve, reject } of batch) {
        try {
          const result = run()
          outcomes.push(() => resolve(result))
        } catch (error) {
          // A disk that is full takes the whole transaction back: then none of the batch is written.
          if (!database.isTransaction) throw error
          outcomes.push(() => reject(toUnavailable(error)))
        }
      }
      database.exec('COMMIT')
    } catch (error) {
      try {
        if (database.isTransaction) database.exec('ROLLBACK')
      } catch {
        // What cannot even be taken back is not written: the next opening of the file sees to that.
      }
      const told = toUnavailable(error)
      for (const { reject } of batch) reject(told)
      return
    }
    for (const tell of outcomes) tell()
  }

  const flush = (): void => {
    while (waiting.length > 0) {
      const batch = waiting.slice(0, AT_ONCE)
      waiting = waiting.slice(AT_ONCE)
      commit(batch)
    }
  }

  return {
    write: (run) =>
      new Promise((resolve, reject) => {
        if (waiting.length === 0) setImmediate(flush)
        waiting.push({ run, resolve: resolve as Waiting['resolve'], reject })
      }),
    flush,
  }
}

/** Each write by itself. */
export const writeAtOnce: WriteQueue = { write: async (run) => run(), flush: () => {} }
