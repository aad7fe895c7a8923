/** A connection on which every command ends, every write is on a majority and every read sees one. */
import mongoose, { type Connection, type ConnectOptions } from 'mongoose'
import type { Log } from '../../../common/log.ts'
import { parseMongodbUrl } from '../../../common/mongodb-url.ts'
import type { Secret } from '../../../common/secret.ts'

/** A request waits this long for a primary, or for a free connection, before it is answered `unavailable`. */
const SELECTION_MS = 5_000
/** A write waits this long for its majority. */
const MAJORITY_MS = 10_000
/** A socket without a byte for longer is given up: above what a majority may take. */
const SOCKET_MS = 15_000

/** @param endless for commands that may take hours: building indexes. */
export const connectMongo = async (text: Secret, log: Log, { endless = false } = {}): Promise<Connection> => {
  const { url, database, ignored } = parseMongodbUrl(text.reveal())
  if (ignored.length > 0) log.warn({ ignored }, 'MONGODB_URL: these options are ignored; Tollgate reads from the primary, and writes to a majority')
  const options: ConnectOptions = {
    dbName: database,
    bufferCommands: false,
    autoCreate: false,
    autoIndex: false,
    serverSelectionTimeoutMS: SELECTION_MS,
    waitQueueTimeoutMS: SELECTION_MS,
    socketTimeoutMS: endless ? 0 : SOCKET_MS,
    // An answered write is on a majority, and a read sees it: a fail-over loses nothing.
    writeConcern: { w: 'majority', wtimeoutMS: MAJORITY_MS },
    readConcern: { level: 'majority' },
    readPreference: 'primary',
  }
  const connection = mongoose.createConnection(url, options)
  try {
    return await connection.asPromise()
  } catch (error) {
    await connection.close().catch(() => undefined)
    throw error
  }
}

export type Database = NonNullable<Connection['db']>

export const databaseOf = (connection: Connection): Database => {
  if (!connection.db) throw new Error('not connected')
  return connection.db
}
