/**
 * A data directory takes one all-in-one, and no control plane beside it. Its feed is in its own memory: it would not hear of what
 * another process publishes, and would answer from what it last knew. Control planes with a feed of their own share one.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { ConfigError } from '../../common/config.ts'
import { orCannotStart, toCannotStart } from './sqlite-faults.ts'

/** https://www.sqlite.org/rescode.html#busy */
const BUSY = 5

interface DataDirLock {
  release(): void
}

/** The operating system lets go of the lock when the process ends, however it ends. @throws ConfigError when another has it. */
const lock = (dataDir: string, statement: string, refusal: string): DataDirLock => {
  const path = join(dataDir, 'all-in-one.lock')
  const file = orCannotStart(path, () => {
    mkdirSync(dataDir, { recursive: true })
    return new DatabaseSync(path, { timeout: 0 })
  })
  try {
    file.exec(`PRAGMA locking_mode = EXCLUSIVE; ${statement}`)
  } catch (error) {
    file.close()
    if (!(error instanceof Error && 'errcode' in error && error.errcode === BUSY)) throw toCannotStart(path, error)
    throw new ConfigError(`DATA_DIR ${dataDir} is in use by another Tollgate. ${refusal}`)
  }
  return { release: () => file.close() }
}

/** For the all-in-one without a feed of its own. @throws ConfigError when another process has the folder. */
export const lockDataDir = (dataDir: string): DataDirLock =>
  lock(dataDir, 'BEGIN EXCLUSIVE; COMMIT', 'Stop it, set another DATA_DIR for this one, or set NATS_URL to run several on the same data (docs/operating.md).')

/** For control planes, of which several may have the folder. @throws ConfigError when an all-in-one has it. */
export const shareDataDir = (dataDir: string): DataDirLock =>
  lock(
    dataDir,
    'BEGIN; SELECT count(*) FROM sqlite_schema; COMMIT',
    'It is npm start without NATS_URL, which would not hear of what this one publishes: stop it first (docs/operating.md).',
  )
