/**
 * A MongoDB connection string, read by the driver's own parser: a replica set's names several hosts, which no URL may.
 * https://www.mongodb.com/docs/manual/reference/connection-string/
 */
import { ConnectionString } from 'mongodb-connection-string-url'

const DEFAULT_DATABASE = 'tollgate'

/**
 * Options that would weaken what the code promises: that every read is the primary's and of a majority, that every
 * write is on one when it is answered, and that each ends.
 */
const OURS = [
  'readPreference',
  'readPreferenceTags',
  'maxStalenessSeconds',
  'readConcernLevel',
  'w',
  'journal',
  'j',
  'wtimeout',
  'wtimeoutMS',
  'socketTimeoutMS',
]

export interface MongodbUrl {
  url: string
  /** The database that the URL's path names; `tollgate` if it names none. */
  database: string
  /** The options that were left out of `url`, by name. */
  ignored: string[]
}

export const isMongodbUrl = (text: string): boolean => {
  try {
    new ConnectionString(text)
    return true
  } catch {
    return false
  }
}

/** @throws Error for what is not one. It may show the text: secrets and all. */
export const parseMongodbUrl = (text: string): MongodbUrl => {
  const parsed = new ConnectionString(text)
  const ignored = OURS.filter((name) => parsed.searchParams.has(name))
  for (const name of ignored) parsed.searchParams.delete(name)
  return { url: parsed.href, database: decodeURIComponent(parsed.pathname.slice(1)) || DEFAULT_DATABASE, ignored }
}

/** The same server, with another database. */
export const withDatabase = (text: string, database: string): string => {
  const parsed = new ConnectionString(text)
  parsed.pathname = `/${encodeURIComponent(database)}`
  return parsed.href
}
