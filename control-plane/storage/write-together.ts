/**
 * Group commit for SQLite: writes that are asked for in one turn of the event loop share one transaction, and so one
 * flush to the disk, which is most of what a write costs. Each is its own statement with its own outcome, as if it had
 * been made alone, and each is answered only when all of them are on the disk.
 */
import type { DatabaseSync } from 'node:sqlite'
import { AppError } from '../../common/errors.ts'

/** Bounds how long the event loop is held by one transaction: a few milliseconds. */
const AT_ONCE = 200
/** https://www.sqlite.org/rescode.html#busy */
const BUSY = 5

interface Waiting {
  run(): unknown
  resolve(result: unknown): void
  reject(error: unknown): void
}

export interface WriteQueue {
  /** @param run one statement; what it throws rejects its own write and no other. @throws AppError `unavailable` when another process holds the file. */
  write<T>(run: () => T): Promise<T>
  /** Writes what is waiting. */
  flush(): void
}

export const createWriteQueue = (database: DatabaseSync): WriteQueue => {
  let waiting: Waiting[] = []

  const commit = (batch: Waiting[]): void => {
    const outcomes: (() => void)[] = []
    try {
      database.exec('BEGIN IMMEDIATE')
      for (const { run, resolve, reject } of batch) {
        try {
          const result = run()
          outcomes.push(() => resolve(result))
        } catch (error) {
          outcomes.push(() => reject(error))
        }
      }
      database.exec('COMMIT')
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK')
      const told = isBusy(error) ? new AppError('unavailable', 'storage (SQLite) is held by another process', [], { cause: error }) : error
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

const isBusy = (error: unknown): boolean => error instanceof Error && 'errcode' in error && error.errcode === BUSY
