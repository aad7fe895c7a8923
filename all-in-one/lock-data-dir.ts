/**
 * A data directory takes one all-in-one. Its feed is in its own memory, so a second one on the same data would not hear of
 * what the first publishes, and would answer from what it last knew.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { ConfigError } from '../common/config.ts'
import { orCannotStart, toCannotStart } from '../control-plane/storage/sqlite-faults.ts'

/** https://www.sqlite.org/rescode.html#busy */
const BUSY = 5

/** The operating system lets go of the lock when the process ends, however it ends. @throws ConfigError when another has it. */
export const lockDataDir = (dataDir: string): { release(): void } => {
  const path = join(dataDir, 'all-in-one.lock')
  const lock = orCannotStart(path, () => {
    mkdirSync(dataDir, { recursive: true })
    return new DatabaseSync(path, { timeout: 0 })
  })
  try {
    lock.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT')
  } catch (error) {
    lock.close()
    if (!(error instanceof Error && 'errcode' in error && error.errcode === BUSY)) throw toCannotStart(path, error)
    throw new ConfigError(
      `DATA_DIR ${dataDir} is in use by another Tollgate. Stop it, set another DATA_DIR for this one, or set NATS_URL to run several on the same data (docs/operating.md).`,
    )
  }
  return { release: () => lock.close() }
}
