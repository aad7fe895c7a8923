/** The errors of SQLite that mean that storage is away: https://www.sqlite.org/rescode.html. */
import { statSync } from 'node:fs'
import { ConfigError } from '../../common/config.ts'
import { AppError } from '../../common/errors.ts'

const words: Readonly<Record<number, string>> = {
  5: 'another process has locked it',
  6: 'another process has locked it',
  8: 'its file, or the folder of it, cannot be written',
  10: 'its disk cannot be read or written',
  11: 'its file is damaged',
  13: 'its disk is full',
  14: 'its file cannot be opened',
  26: 'its file is damaged',
}
const DAMAGED = [11, 26]

const sqliteCodeOf = (error: unknown): number | undefined => (error instanceof Error && 'errcode' in error ? Number(error.errcode) & 0xff : undefined)

const away = (why: string, cause?: unknown): AppError => new AppError('unavailable', `storage (SQLite): ${why}`, [], { cause })

/** An error of the file or its disk as `unavailable`; any other as it is. */
export const toUnavailable = (error: unknown): unknown => {
  const why = words[sqliteCodeOf(error) ?? 0]
  return why === undefined ? error : away(why, error)
}

/** @throws AppError `unavailable`; what `run` throws otherwise. */
export const orSqliteUnavailable = <T>(run: () => T): T => {
  try {
    return run()
  } catch (error) {
    throw toUnavailable(error)
  }
}

/** An error of the file or its disk, at a start, as a ConfigError that names the variable and the way out; any other as it is. */
export const toCannotStart = (path: string, error: unknown): unknown => {
  const code = sqliteCodeOf(error)
  const system = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (code !== undefined && DAMAGED.includes(code))
    return new ConfigError(
      `DATA_DIR: ${path} is damaged, or is not an SQLite file. Restore a backup (docs/operating.md), or move the file away to start with an empty database.`,
    )
  const why =
    code === undefined ? { EACCES: words[8], EPERM: words[8], EROFS: words[8], ENOENT: words[8], ENOTDIR: words[14], ENOSPC: words[13] }[system] : words[code]
  if (why === undefined) return error
  return new ConfigError(`DATA_DIR: ${path} cannot be used: ${why}. Make room on the disk, or set DATA_DIR to a folder that this user can write to.`)
}

/** @throws ConfigError; what `run` throws otherwise. */
export const orCannotStart = <T>(path: string, run: () => T): T => {
  try {
    return run()
  } catch (error) {
    throw toCannotStart(path, error)
  }
}

/** Makes a check that a path still leads to the file that was opened: a file that was removed is still written to, and is lost with the process. */
export const createFileCheck = (path: string): (() => void) => {
  const identify = () => {
    const { dev, ino } = statSync(path)
    return `${dev}:${ino}`
  }
  if (path === ':memory:') return () => {}
  const opened = identify()
  return () => {
    let now: string | undefined
    try {
      now = identify()
    } catch {
      now = undefined
    }
    if (now !== opened) throw away('its file was removed or replaced while it was open; restart with the right file')
  }
}
