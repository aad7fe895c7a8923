/**
 * Storage in MongoDB, through mongoose. Single-document commands only, each of which a standalone server, a replica
 * set, a sharded cluster and MongoDB-compatible servers have. Validation, casting and indexes come from the same
 * schemas as everywhere.
 */
import mongoose, { type Connection } from 'mongoose'
import type { Clock } from '../../common/clock.ts'
import { AppError } from '../../common/errors.ts'
import type { Log } from '../../common/log.ts'
import type { CollectionName, Documents } from '../schemas/index.ts'
import {
  alreadyExists,
  checkLimit,
  collectionNames,
  declaredIndexes,
  decodeCursor,
  notFound,
  revisionConflict,
  servedBy,
  servedByUnique,
  toPage,
  validatorFor,
} from './documents.ts'
import type { Collection, Storage } from './storage.ts'

/** A request waits this long for a primary before it is answered `unavailable`. */
const SERVER_SELECTION_TIMEOUT_MS = 5_000
/** https://www.mongodb.com/docs/manual/reference/error-codes/ */
const DUPLICATE_KEY = 11000

export interface MongoStorageOptions {
  /** A connection string; its path names the database, `tollgate` when it names none. */
  url: string
  clock: Clock
  log: Log
}

/** Connects and makes sure that every declared index exists. @throws AppError `unavailable`. */
export const createMongoStorage = async (options: MongoStorageOptions): Promise<Storage> => {
  const connection = mongoose.createConnection(options.url, {
    dbName: new URL(options.url).pathname.slice(1) || 'tollgate',
    bufferCommands: false,
    autoCreate: false,
    autoIndex: false,
    serverSelectionTimeoutMS: SERVER_SELECTION_TIMEOUT_MS,
    // An answered write is on a majority, and a read sees it: a fail-over loses nothing.
    writeConcern: { w: 'majority' },
    readConcern: { level: 'majority' },
  })
  const { database } = await orUnavailable(async () => {
    await connection.asPromise()
    const db = connection.db
    if (!db) throw new Error('not connected')
    for (const name of collectionNames) {
      for (const { fields, unique } of declaredIndexes(name)) {
        await db.collection(name).createIndex(Object.fromEntries(fields.map((field) => [field, 1])), { unique, name: fields.join('_') })
      }
    }
    await warnOfKnownFaults(db, options.log)
    return { database: db }
  })
  const collections = Object.fromEntries(collectionNames.map((name) => [name, createCollection(database, name, options.clock)])) as unknown as Omit<
    Storage,
    'ping' | 'close'
  >

  return {
    ...collections,
    ping: () =>
      orUnavailable(async () => {
        await database.command({ ping: 1 })
      }),
    close: () => connection.close(),
  }
}

/** Compare-and-set is what everything here rests on, and this server is known not to keep it. */
const warnOfKnownFaults = async (database: NonNullable<Connection['db']>, log: Log): Promise<void> => {
  const { ferretdbVersion } = await database.command({ buildInfo: 1 })
  if (typeof ferretdbVersion !== 'string' || !/^v?[01]\./.test(ferretdbVersion)) return
  log.warn({ ferretdbVersion }, 'FerretDB 1 does not update atomically: two writers of one document may both be told that they won; not for production')
}

const orUnavailable = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work()
  } catch (error) {
    if (isUnreachable(error)) {
      throw new AppError('unavailable', 'storage (MongoDB) cannot be reached', [], { cause: error })
    }
    throw error
  }
}

/** Besides a lost network: a fail-over in progress, which the driver marks as worth another try. */
const isUnreachable = (error: unknown): boolean =>
  error instanceof mongoose.Error.MongooseServerSelectionError ||
  error instanceof mongoose.mongo.MongoServerSelectionError ||
  error instanceof mongoose.mongo.MongoNotConnectedError ||
  (error instanceof mongoose.mongo.MongoError && (error instanceof mongoose.mongo.MongoNetworkError || error.hasErrorLabel('RetryableWriteError')))

const isDuplicateKey = (error: unknown): boolean => error instanceof mongoose.mongo.MongoServerError && error.code === DUPLICATE_KEY

const createCollection = <K extends CollectionName>(database: NonNullable<Connection['db']>, name: K, clock: Clock): Collection<Documents[K]> => {
  type D = Documents[K]
  const validated = validatorFor(name)
  const collection = database.collection<{ _id: string }>(name)
  const read = (document: unknown): D => document as D
  const find = (id: string) => orUnavailable(async () => read((await collection.findOne({ _id: id })) ?? undefined) as D | undefined)
  const missed = async (id: string) => ((await find(id)) ? revisionConflict(name) : notFound(name))
  const rejectDuplicate = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await orUnavailable(work)
    } catch (error) {
      throw isDuplicateKey(error) ? alreadyExists(name) : error
    }
  }

  return {
    insert: async (document) => {
      const stored = validated({ ...document, revision: 1, updatedAt: clock.now() })
      await rejectDuplicate(() => collection.insertOne(stored as { _id: string }))
      return read(stored)
    },
    get: async (id) => {
      const document = await find(id)
      if (!document) throw notFound(name)
      return document
    },
    find,
    findUnique: async (field, value) => {
      servedByUnique(name, field)
      return orUnavailable(async () => read((await collection.findOne({ [field]: value })) ?? undefined) as D | undefined)
    },
    replace: async (document) => {
      const revision = document.revision + 1
      const stored = validated({ ...document, revision, updatedAt: clock.now() })
      const filter = { _id: document._id, revision: document.revision }
      const { matchedCount } = await rejectDuplicate(() => collection.replaceOne(filter, stored))
      if (matchedCount !== 1) throw await missed(document._id)
      return read(stored)
    },
    remove: async ({ _id, revision }) => {
      const { deletedCount } = await orUnavailable(() => collection.deleteOne({ _id, revision } as { _id: string }))
      if (deletedCount !== 1) throw await missed(_id)
    },
    page: async (page) => {
      checkLimit(page.limit)
      servedBy(name, Object.keys(page.where), ['createdAt', '_id'])
      const after = decodeCursor(page)
      const keyset = after ? { $or: [{ createdAt: { $gt: after.createdAt } }, { createdAt: after.createdAt, _id: { $gt: after.id } }] } : {}
      const rows = await orUnavailable(() =>
        collection
          .find({ ...page.where, ...keyset })
          .sort({ createdAt: 1, _id: 1 })
          .limit(page.limit + 1)
          .toArray(),
      )
      return toPage(page, rows as unknown as D[])
    },
    due: async ({ by, where = {}, until, limit, after }) => {
      checkLimit(limit)
      servedBy(name, Object.keys(where), [by, '_id'])
      const rows = await orUnavailable(() =>
        collection
          .find({
            ...where,
            [by]: { $lte: until, ...(after ? { $gte: after.at } : {}) },
            ...(after ? { $or: [{ [by]: { $gt: after.at } }, { _id: { $gt: after.id } }] } : {}),
          })
          .sort({ [by]: 1, _id: 1 })
          .limit(limit)
          .toArray(),
      )
      return rows as unknown as D[]
    },
  }
}
