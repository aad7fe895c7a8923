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
import type { CollectionName } from '../../schemas/index.ts'
import type { DocumentMigration } from '../../schemas/migrations.ts'
import { createCollection, type Rows } from '../collection.ts'
import { collectionNames } from '../documents.ts'
import type { PageQuery, Storage } from '../storage.ts'
import { connectMongo, type Database, databaseOf } from './connect.ts'
import { isDuplicateKey, orMongoUnavailable } from './errors.ts'
import { buildWhereEmpty } from './indexes.ts'
import { watchPool } from './pool.ts'

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
  const pool = watchPool(connection)
  try {
    const missing = await orMongoUnavailable(() => buildWhereEmpty(database))
    if (missing.length > 0) throw new ConfigError(`MONGODB_URL: indexes are missing; run "npm run migrate", which builds them:\n  ${missing.join('\n  ')}`)
    await orMongoUnavailable(() => warnOfKnownFaults(database, options.log))
  } catch (error) {
    await connection.close()
    throw error
  }
  const collections = Object.fromEntries(
    collectionNames.map((name) => [name, createCollection(name, options, ({ version, duplicate }) => rowsIn(database, name, version, duplicate))]),
  ) as unknown as Omit<Storage, 'ping' | 'serverTime' | 'pool' | 'close'>

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
    pool,
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

const rowsIn = (database: Database, name: CollectionName, version: number, duplicate: () => Error): Rows => {
  const collection = database.collection<{ _id: string; tenantId: string; revision?: number }>(name)
  /** It names no version, or one that we know. */
  const isKnown = { schemaVersion: { $not: { $gt: version } } }
  /** The filter of an id with its shard key, so that a cluster asks one shard. These ids are hashes, and spread by themselves. */
  const byId = (id: string) => (name === 'idempotencyRecords' ? { _id: id } : { _id: id, tenantId: tenantOf(id) })
  const orDuplicate = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await orMongoUnavailable(work)
    } catch (error) {
      throw isDuplicateKey(error) ? duplicate() : error
    }
  }

  return {
    insert: async (_, row) => {
      await orDuplicate(() => collection.insertOne(row as { _id: string; tenantId: string }))
    },
    find: (id) => orMongoUnavailable(async () => (await collection.findOne(byId(id))) ?? undefined),
    findUnique: (field, value) => orMongoUnavailable(async () => (await collection.findOne({ [field]: value })) ?? undefined),
    replace: async (id, revision, row) => {
      const { matchedCount } = await orDuplicate(() => collection.replaceOne({ ...byId(id), revision }, row as { tenantId: string }))
      return matchedCount === 1
    },
    remove: async (id, revision) => {
      const { deletedCount } = await orMongoUnavailable(() => collection.deleteOne({ ...byId(id), revision }))
      return deletedCount === 1
    },
    page: ({ where, leaveOutNewer }, _, after, limit) => {
      // The bound beside the alternatives is what an index can be entered by.
      const keyset = after
        ? { createdAt: { $gte: after.createdAt }, $or: [{ createdAt: { $gt: after.createdAt } }, { createdAt: after.createdAt, _id: { $gt: after.id } }] }
        : {}
      return orMongoUnavailable(() =>
        collection
          .find({ ...whereIn(where), ...keyset, ...(leaveOutNewer ? isKnown : {}) })
          .sort({ createdAt: 1, _id: 1 })
          .limit(limit)
          .toArray(),
      )
    },
    due: ({ by, where = {}, until, limit, after }) =>
      orMongoUnavailable(() =>
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
      ),
    after: ({ where, above, limit }) =>
      orMongoUnavailable(() =>
        collection
          .find({ ...where, ...isKnown, position: { $gt: above } })
          .sort({ position: 1, _id: 1 })
          .limit(limit)
          .toArray(),
      ),
    clearOutbox: async (id, revision) => {
      const { matchedCount } = await orMongoUnavailable(() =>
        collection.updateOne({ ...byId(id), revision, outboxAt: { $exists: true } }, { $unset: { outbox: 1, outboxAt: 1 } }),
      )
      return matchedCount === 1
    },
    scan: (after, limit) =>
      orMongoUnavailable(() =>
        collection
          .find({ ...isKnown, ...(after === undefined ? {} : { _id: { $gt: after } }) })
          .sort({ _id: 1 })
          .limit(limit)
          .toArray(),
      ),
  }
}
