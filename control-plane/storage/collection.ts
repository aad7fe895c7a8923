/** The obligations of the storage port, once for every adapter: an adapter reads and writes rows, and knows no rule. */
import type { Clock } from '../../common/clock.ts'
import type { CollectionName, Documents } from '../schemas/index.ts'
import type { DocumentMigration } from '../schemas/migrations.ts'
import {
  alreadyExists,
  type CursorPosition,
  checkLimit,
  codecFor,
  type DeclaredIndex,
  decodeCursor,
  notFound,
  revisionConflict,
  servedBy,
  servedByUnique,
  toPage,
} from './documents.ts'
import type { AfterQuery, Collection, DueQuery, PageQuery } from './storage.ts'

/** An index that serves a query, and the fields of it that the query fixes. */
interface Served {
  index: DeclaredIndex
  fields: string[]
}

/** Rows of one collection as a store has them. All methods reject with AppError `unavailable` when it cannot be reached. */
export interface Rows {
  /** @throws `duplicate()` when the id, or another unique key, is taken. */
  insert(id: string, row: object): Promise<void>
  find(id: string): Promise<object | undefined>
  findUnique(field: string, value: string): Promise<object | undefined>
  /** @returns whether there was a row of this id and revision. @throws `duplicate()`, as `insert`. */
  replace(id: string, revision: number, row: object): Promise<boolean>
  /** @returns as `replace`. */
  remove(id: string, revision: number): Promise<boolean>
  /** In order of `createdAt`, then id, those after a position; at most `limit`. */
  page(query: PageQuery, served: Served, after: CursorPosition | undefined, limit: number): Promise<object[]>
  /** Only those of a version that is known. */
  due(query: DueQuery, served: Served): Promise<object[]>
  /** Only those of a version that is known. */
  after(query: AfterQuery, served: Served): Promise<object[]>
  /** @returns as `replace`. */
  clearOutbox(id: string, revision: number): Promise<boolean>
  /** Only those of a version that is known. */
  scan(after: string | undefined, limit: number): Promise<object[]>
}

export interface CollectionOptions {
  clock: Clock
  /** Other than those of this version: for tests. */
  migrations?: readonly DocumentMigration[] | undefined
}

/** @param rowsOf what the rows need to know: the highest version that is known, and the error for a key that is taken. */
export const createCollection = <K extends CollectionName>(
  name: K,
  { clock, migrations }: CollectionOptions,
  rowsOf: (known: { version: number; duplicate: () => Error }) => Rows,
): Collection<Documents[K]> => {
  type D = Documents[K]
  const { version, write, fromStored } = codecFor(name, migrations)
  const rows = rowsOf({ version, duplicate: () => alreadyExists(name) })
  const read = (row: object): D => fromStored(row) as D
  const readIfFound = (row: object | undefined): D | undefined => row && read(row)
  const find = async (id: string): Promise<D | undefined> => readIfFound(await rows.find(id))
  const missed = async (id: string): Promise<Error> => ((await find(id)) ? revisionConflict(name) : notFound(name))

  return {
    insert: async (document) => {
      const { stored, known } = write({ ...document, revision: 1, updatedAt: clock.now() })
      await rows.insert(document._id, stored)
      return known() as D
    },
    get: async (id) => {
      const document = await find(id)
      if (!document) throw notFound(name)
      return document
    },
    find,
    findUnique: async (field, value) => {
      servedByUnique(name, field)
      return readIfFound(await rows.findUnique(field, value))
    },
    replace: async (document) => {
      const { stored, known } = write({ ...document, revision: document.revision + 1, updatedAt: clock.now() })
      if (!(await rows.replace(document._id, document.revision, stored))) throw await missed(document._id)
      return known() as D
    },
    remove: async ({ _id, revision }) => {
      if (!(await rows.remove(_id, revision))) throw await missed(_id)
    },
    page: async (query) => {
      checkLimit(query.limit)
      const served = servedBy(name, Object.keys(query.where), ['createdAt', '_id'])
      const found = await rows.page(query, served, decodeCursor(query), query.limit + 1)
      return toPage(query, found.map(read))
    },
    due: async (query) => {
      checkLimit(query.limit)
      const served = servedBy(name, Object.keys(query.where ?? {}), [query.by, '_id'])
      return (await rows.due(query, served)).map(read)
    },
    after: async (query) => {
      checkLimit(query.limit)
      return (await rows.after(query, servedBy(name, Object.keys(query.where), ['position', '_id']))).map(read)
    },
    clearOutbox: ({ _id, revision }) => rows.clearOutbox(_id, revision),
    scan: async ({ after, limit }) => {
      checkLimit(limit)
      return (await rows.scan(after, limit)).map(read)
    },
  }
}
