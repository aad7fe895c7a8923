/**
 * `npm run backup -- FILE` copies storage on SQLite while it is in use; `npm run restore -- FILE` puts a copy in its place while
 * nothing runs. Both name what they did, and leave storage as it is when they fail.
 */
import { existsSync, linkSync, renameSync, rmSync } from 'node:fs'
import { backup, DatabaseSync } from 'node:sqlite'
import { ConfigError, readConfig, sqliteFileOf } from '../common/config.ts'
import { runCommand } from '../common/process.ts'

const say = (line: string) => process.stdout.write(`${line}\n`)

/** @throws ConfigError when it is not a whole database of ours. */
const check = (file: string): void => {
  if (!existsSync(file)) throw new ConfigError(`there is no file ${file}`)
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(file, { readOnly: true })
    const result = database.prepare('PRAGMA integrity_check').get() as { integrity_check: string }
    if (result.integrity_check !== 'ok') throw new ConfigError(`${file} is damaged: ${result.integrity_check}`)
    if (!database.prepare("SELECT name FROM sqlite_master WHERE name = 'tenants'").get())
      throw new ConfigError(`${file} is not a Tollgate database: it has no tenants`)
  } catch (error) {
    throw error instanceof ConfigError ? error : new ConfigError(`${file} cannot be read as a database: ${(error as Error).message}`)
  } finally {
    database?.close()
  }
}

/** Brings what a crash left in the files beside it into the file. @throws ConfigError when another process has it open. */
const recoverJournal = (file: string): void => {
  const database = new DatabaseSync(file, { timeout: 0 })
  try {
    // Only whoever is alone may change it.
    const { journal_mode: mode } = database.prepare('PRAGMA journal_mode = DELETE').get() as { journal_mode: string }
    if (mode !== 'delete') throw new Error('another process has it open')
  } catch (error) {
    throw new ConfigError(`${file} is in use: stop every control plane on it first (${(error as Error).message})`)
  } finally {
    database.close()
  }
}

const run = async (): Promise<void> => {
  const [what, file] = process.argv.slice(2)
  const config = readConfig()
  if (config.MONGODB_URL) throw new ConfigError("MONGODB_URL is set: use MongoDB's own tools instead (docs/operating.md)")
  if ((what !== 'backup' && what !== 'restore') || !file) throw new ConfigError('name the file: npm run backup -- FILE, or npm run restore -- FILE')
  const storage = sqliteFileOf(config)
  if (what === 'backup') {
    if (existsSync(file)) throw new ConfigError(`${file} already exists: choose another name for the copy`)
    check(storage)
    const database = new DatabaseSync(storage, { readOnly: true })
    await backup(database, file).finally(() => database.close())
    check(file)
    say(`${storage} was copied to ${file}`)
    return
  }
  check(file)
  const before = `${storage}.before-restore`
  if (existsSync(before)) throw new ConfigError(`${before} already exists, from an earlier restore: move it away first`)
  if (existsSync(storage)) recoverJournal(storage)
  const next = `${storage}.restoring`
  rmSync(next, { force: true })
  // With what may lie beside it.
  const copy = new DatabaseSync(file)
  await backup(copy, next).finally(() => copy.close())
  check(next)
  // There is one under the name at every moment.
  if (existsSync(storage)) linkSync(storage, before)
  for (const part of ['-wal', '-shm']) rmSync(`${storage}${part}`, { force: true })
  renameSync(next, storage)
  say(`${storage} was restored from ${file}; the previous data is in ${before}`)
}

process.umask(0o077)
await runCommand(run)
