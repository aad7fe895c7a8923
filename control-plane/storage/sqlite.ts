/**
 * Storage in one SQLite file, through Node's own driver: the embedded default. A table a collection, with the
 * document as JSON; every index that a schema declares is an index on the JSON's fields. Several processes may have
 * the file open.
 *
 * Dates are stored as ISO 8601 strings with milliseconds in UTC, which sort as the instants do.
 */
import { chmodSync, existsSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import type { Clock } from '../../common/clock.ts'
import { AppError } from '../../common/errors.ts'
import type { CollectionName } from '../schemas/index.ts'
import type { DocumentMigration } from '../schemas/migrations.ts'
import { createCollection, type Rows } from './collection.ts'
import { collectionNames, type DeclaredIndex, declaredIndexes } from './documents.ts'
import { createFileCheck, orCannotStart, orSqliteUnavailable } from './sqlite-faults.ts'
import type { Storage } from './storage.ts'
import { createWriteQueue, type WriteQueue, writeAtOnce } from './write-together.ts'

/** Another process may hold the write lock for the length of one write, never for long. */
const BUSY_TIMEOUT_MS = 5_000

/** https://www.sqlite.org/rescode.html: constraint (primary key, unique). */
const UNIQUE_VIOLATIONS = [1555, 2067]

export interface SqliteStorageOptions {
  path: string
  clock: Clock
  /** Other than those of this version: for tests. */
  migrations?: readonly DocumentMigration[]
}

/** Opens the file, or makes it. @throws ConfigError when it cannot be opened or written to. */
export const createSqliteStorage = (options: SqliteStorageOptions): Storage => {
  const { database, check } = orCannotStart(options.path, () => {
    mkdirSync(dirname(options.path), { recursive: true })
    const opened = new DatabaseSync(options.path, { timeout: BUSY_TIMEOUT_MS })
    // Made by an earlier version, or by hand: what is in it is nobody else's to read.
    if (existsSync(options.path)) chmodSync(options.path, 0o600)
    // FULL: an answered write survives a power cut, not only a crash of the process.
    opened.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;')
    opened.exec('CREATE TABLE IF NOT EXISTS health (id INTEGER PRIMARY KEY, at TEXT)')
    return { database: opened, check: createFileCheck(options.path) }
  })
  // In memory there is no disk to wait for.
  const writes = options.path === ':memory:' ? writeAtOnce : createWriteQueue(database, check)
  const collections = Object.fromEntries(
    collectionNames.map((name) => [
      name,
      orCannotStart(options.path, () => createCollection(name, options, ({ version, duplicate }) => rowsIn(database, name, writes.write, version, duplicate))),
    ]),
  ) as unknown as Omit<Storage, 'ping' | 'serverTime' | 'pool' | 'close'>

  return {
    ...collections,
    ping: async () => {
      if (!database.isOpen) throw new AppError('unavailable', 'storage (SQLite) is closed')
      // Whether it can be read does not say whether it can be written.
      await writes.write(() =>
        database.prepare('INSERT INTO health (id, at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at').run(options.clock.now().toISOString()),
      )
    },
    serverTime: async () => undefined,
    pool: undefined,
    close: async () => {
      if (!database.isOpen) return
      writes.flush()
      database.close()
    },
  }
}

/** `_id` is a column; every other field is inside the document. Field names come from schemas, never from input. */
const expression = (field: string): string => (field === '_id' ? 'id' : `json_extract(document, '$.${field}')`)

const indexName = (name: CollectionName, index: DeclaredIndex): string => `${name}_${index.name}`

const createTable = (database: DatabaseSync, name: CollectionName): void => {
  database.exec(`CREATE TABLE IF NOT EXISTS ${name} (id TEXT PRIMARY KEY, revision INTEGER NOT NULL, document TEXT NOT NULL) WITHOUT ROWID`)
  for (const index of declaredIndexes(name)) {
    const where = index.only ? ` WHERE ${expression(index.only)} IS NOT NULL` : ''
    // Those of earlier versions held every document.
    if (index.only) database.exec(`DROP INDEX IF EXISTS ${[name, ...index.fields].join('_')}`)
    const fields = index.fields.map(expression).join(', ')
    database.exec(`CREATE ${index.unique ? 'UNIQUE ' : ''}INDEX IF NOT EXISTS ${indexName(name, index)} ON ${name} (${fields})${where}`)
  }
}

const rowsIn = (database: DatabaseSync, name: CollectionName, write: WriteQueue['write'], version: number, duplicate: () => Error): Rows => {
  createTable(database, name)
  const isKnown = `COALESCE(${expression('schemaVersion')}, 1) <= ${version}`
  const insertRow = database.prepare(`INSERT INTO ${name} (id, revision, document) VALUES (?, ?, ?)`)
  const selectRow = database.prepare(`SELECT document FROM ${name} WHERE id = ?`)
  const updateRow = database.prepare(`UPDATE ${name} SET revision = ?, document = ? WHERE id = ? AND revision = ?`)
  const deleteRow = database.prepare(`DELETE FROM ${name} WHERE id = ? AND revision = ?`)
  const unsetOutbox = database.prepare(
    `UPDATE ${name} SET document = json_remove(document, '$.outbox', '$.outboxAt') WHERE id = ? AND revision = ? AND ${expression('outboxAt')} IS NOT NULL`,
  )
  /** Queries are few in kind, so each is prepared once. */
  const queries = new Map<string, ReturnType<DatabaseSync['prepare']>>()
  const query = (sql: string, values: SQLInputValue[]): object[] => {
    let statement = queries.get(sql)
    if (!statement) {
      statement = database.prepare(sql)
      queries.set(sql, statement)
    }
    const prepared = statement
    return orSqliteUnavailable(() => prepared.all(...values)).map(parse)
  }
  const orDuplicate = <T>(run: () => T): T => {
    try {
      return run()
    } catch (error) {
      throw isUniqueViolation(error) ? duplicate() : error
    }
  }

  return {
    insert: async (id, row) => {
      const text = JSON.stringify(row)
      await write(() => orDuplicate(() => insertRow.run(id, 1, text)))
    },
    find: async (id) => {
      const row = orSqliteUnavailable(() => selectRow.get(id))
      return row && parse(row)
    },
    findUnique: async (field, value) => query(`SELECT document FROM ${name} WHERE ${expression(field)} = ?`, [value])[0],
    replace: async (id, revision, row) => {
      const text = JSON.stringify(row)
      return write(() => orDuplicate(() => updateRow.run(revision + 1, text, id, revision)).changes === 1)
    },
    remove: (id, revision) => write(() => deleteRow.run(id, revision).changes === 1),
    page: async (page, { index, fields }, after, limit) => {
      const wanted = fields.map((field) => [page.where[field] ?? []].flat())
      const conditions = fields.map((field, n) => `${expression(field)} IN (${wanted[n]?.map(() => '?').join(', ')})`)
      const values: SQLInputValue[] = wanted.flat()
      if (after) {
        conditions.push(`(${expression('createdAt')}, id) > (?, ?)`)
        values.push(after.createdAt.toISOString(), after.id)
      }
      if (page.leaveOutNewer) conditions.push(isKnown)
      const where = conditions.length > 0 ? `WHERE ${conditions.join(' AND ')}` : ''
      // By name: where several values will do, the planner takes an index that it need not sort after, and reads all that is in it.
      const from = `${name} INDEXED BY ${indexName(name, index)}`
      return query(`SELECT document FROM ${from} ${where} ORDER BY ${expression('createdAt')}, id LIMIT ?`, [...values, limit])
    },
    due: async ({ by, where = {}, until, limit, after }, { fields }) => {
      const conditions = [...fields.map((field) => `${expression(field)} = ?`), `${expression(by)} <= ?`, isKnown]
      if (after) conditions.push(`(${expression(by)}, id) > (?, ?)`)
      return query(`SELECT document FROM ${name} WHERE ${conditions.join(' AND ')} ORDER BY ${expression(by)}, id LIMIT ?`, [
        ...fields.map((field) => where[field] as string),
        until.toISOString(),
        ...(after ? [after.at.toISOString(), after.id] : []),
        limit,
      ])
    },
    after: async ({ where, above, limit }, { fields }) => {
      const conditions = [...fields.map((field) => `${expression(field)} = ?`), `${expression('position')} > ?`, isKnown]
      return query(`SELECT document FROM ${name} WHERE ${conditions.join(' AND ')} ORDER BY ${expression('position')}, id LIMIT ?`, [
        ...fields.map((field) => where[field] as string),
        above,
        limit,
      ])
    },
    clearOutbox: (id, revision) => write(() => unsetOutbox.run(id, revision).changes === 1),
    scan: async (after = '', limit) => query(`SELECT document FROM ${name} WHERE id > ? AND ${isKnown} ORDER BY id LIMIT ?`, [after, limit]),
  }
}

const parse = ({ document }: Record<string, unknown>): object => JSON.parse(document as string) as object

const isUniqueViolation = (error: unknown): boolean => error instanceof Error && 'errcode' in error && UNIQUE_VIOLATIONS.includes(error.errcode as number)
