/**
 * Storage in MongoDB, through mongoose. Single-document commands only, each of which a standalone server, a replica
 * set, a sharded cluster and MongoDB-compatible servers have. Validation, casting and indexes come from the same
 * schemas as everywhere.
 */
import type { Clock } from '../../../common/clock.ts'
import { ConfigError } from '../../../common/config.ts'
import type { Log } from '../../../common/log.ts'
import type { Secret } from '../../../common/secret.ts'
import { tenantOf } from '../../keys.ts'
import type { CollectionName, Documents } from '../../schemas/index.ts'
import type { DocumentMigration } from '../../schemas/migrations.ts'
import {
  alreadyExists,
  checkLimit,
  codecFor,
  collectionNames,
  decodeCursor,
  notFound,
  revisionConflict,
  servedBy,
  servedByUnique,
  toPage,
} from '../documents.ts'
import type { Collection, PageQuery, Storage } from '../storage.ts'
import { connectMongo, type Database, databaseOf } from './connect.ts'
import { isDuplicateKey, orMongoUnavailable } from './errors.ts'
import { buildWhereEmpty } from './indexes.ts'

export interface MongoStorageOptions {
  /** A connection string; its path names the database, `tollgate` when it names none. */
  url: Secret
  clock: Clock
  log: Log
  /** Other than those of this version: for tests. */
  migrations?: readonly DocumentMigration[]
}

/** @throws AppError `unavailable`; ConfigError when indexes are missing that only `npm run migrate` builds. */
export const createMongoStorage = async (options: MongoStorageOptions): Promise<Storage> => {
  const connection = await orMongoUnavailable(() => connectMongo(options.url, options.log))
  const database = databaseOf(connection)
  try {
    const missing = await orMongoUnavailable(() => buildWhereEmpty(database))
    if (missing.length > 0) throw new ConfigError(`MONGODB_URL: indexes are missing; run "npm run migrate", which builds them:\n  ${missing.join('\n  ')}`)
    await orMongoUnavailable(() => warnOfKnownFaults(database, options.log))
  } catch (error) {
    await connection.close()
    throw error
  }
  const collections = Object.fromEntries(collectionNames.map((name) => [name, createCollection(database, name, options)])) as unknown as Omit<
    Storage,
    'ping' | 'serverTime' | 'close'
  >

  return {
    ...collections,
    ping: () =>
      orMongoUnavailable(async () => {
        await database.command({ ping: 1 })
      }),
    serverTime: () =>
      orMongoUnavailable(async () => {
        const { localTime } = await database.command({ hello: 1 })
        return localTime instanceof Date ? localTime : undefined
      }),
    close: () => connection.close(),
  }
}

/** Compare-and-set is what everything here rests on, and this server is known not to keep it. */
const warnOfKnownFaults = async (database: Database, log: Log): Promise<void> => {
  const { ferretdbVersion } = await database.command({ buildInfo: 1 })
  if (typeof ferretdbVersion !== 'string' || !/^v?[01]\./.test(ferretdbVersion)) return
  log.warn(
    { ferretdbVersion },
    'FerretDB 1 does not update atomically: two writers of one document may both be told that they won; do not use it in production',
  )
}

const whereIn = (where: PageQuery['where']) =>
  Object.fromEntries(Object.entries(where).map(([field, wanted]) => [field, typeof wanted === 'string' ? wanted : { $in: wanted }]))

const createCollection = <K extends CollectionName>(database: Database, name: K, { clock, migrations }: MongoStorageOptions): Collection<Documents[K]> => {
  type D = Documents[K]
  const { version, write, fromStored } = codecFor(name, migrations)
  const collection = database.collection<{ _id: string; tenantId: string; revision?: number }>(name)
  const read = (document: object): D => fromStored(document) as D
  const readIfFound = (document: object | null): D | undefined => (document === null ? undefined : read(document))
  /** It names no version, or one that we know. */
  const isKnown = { schemaVersion: { $not: { $gt: version } } }
  /** The filter of an id with its shard key, so that a cluster asks one shard. These ids are hashes, and spread by themselves. */
  const byId = (id: string) => (name === 'idempotencyRecords' ? { _id: id } : { _id: id, tenantId: tenantOf(id) })
  const find = (id: string) => orMongoUnavailable(async () => readIfFound(await collection.findOne(byId(id))))
  const missed = async (id: string) => ((await find(id)) ? revisionConflict(name) : notFound(name))
  const rejectDuplicate = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await orMongoUnavailable(work)
    } catch (error) {
      throw isDuplicateKey(error) ? alreadyExists(name) : error
    }
  }

  return {
    insert: async (document) => {
      const { stored, known } = write({ ...document, revision: 1, updatedAt: clock.now() })
      await rejectDuplicate(() => collection.insertOne(stored as { _id: string; tenantId: string }))
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
      return orMongoUnavailable(async () => readIfFound(await collection.findOne({ [field]: value })))
    },
    replace: async (document) => {
      const revision = document.revision + 1
      const { stored, known } = write({ ...document, revision, updatedAt: clock.now() })
      const filter = { ...byId(document._id), revision: document.revision }
      const { matchedCount } = await rejectDuplicate(() => collection.replaceOne(filter, stored as { tenantId: string }))
      if (matchedCount !== 1) throw await missed(document._id)
      return known() as D
    },
    remove: async ({ _id, revision }) => {
      const { deletedCount } = await orMongoUnavailable(() => collection.deleteOne({ ...byId(_id), revision }))
      if (deletedCount !== 1) throw await missed(_id)
    },
    page: async (page) => {
      checkLimit(page.limit)
      servedBy(name, Object.keys(page.where), ['createdAt', '_id'])
      const after = decodeCursor(page)
      // The bound beside the alternatives is what an index can be entered by.
      const keyset = after
        ? { createdAt: { $gte: after.createdAt }, $or: [{ createdAt: { $gt: after.createdAt } }, { createdAt: after.createdAt, _id: { $gt: after.id } }] }
        : {}
      const rows = await orMongoUnavailable(() =>
        collection
          .find({ ...whereIn(page.where), ...keyset, ...(page.leaveOutNewer ? isKnown : {}) })
          .sort({ createdAt: 1, _id: 1 })
          .limit(page.limit + 1)
          .toArray(),
      )
      return toPage(page, rows.map(read))
    },
    due: async ({ by, where = {}, until, limit, after }) => {
      checkLimit(limit)
      servedBy(name, Object.keys(where), [by, '_id'])
      const rows = await orMongoUnavailable(() =>
        collection
          .find({
            ...where,
            ...isKnown,
            // That it exists is said besides: not every planner concludes that the index of those that have it will do.
            [by]: { $exists: true, $lte: until, ...(after ? { $gte: after.at } : {}) },
            ...(after ? { $or: [{ [by]: { $gt: after.at } }, { _id: { $gt: after.id } }] } : {}),
          })
          .sort({ [by]: 1, _id: 1 })
          .limit(limit)
          .toArray(),
      )
      return rows.map(read)
    },
    scan: async ({ after, limit }) => {
      checkLimit(limit)
      const rows = await orMongoUnavailable(() =>
        collection
          .find({ ...isKnown, ...(after === undefined ? {} : { _id: { $gt: after } }) })
          .sort({ _id: 1 })
          .limit(limit)
          .toArray(),
      )
      return rows.map(read)
    },
  }
}
