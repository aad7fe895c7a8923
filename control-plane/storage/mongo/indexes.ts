/**
 * The indexes that the schemas declare. A start never builds one on documents that are there: that takes minutes or
 * hours, while whatever watches the process would kill it. `npm run migrate` does.
 */
import pMap from 'p-map'
import type { CollectionName } from '../../schemas/index.ts'
import { collectionNames, type DeclaredIndex, declaredIndexes } from '../documents.ts'
import type { Database } from './connect.ts'

/** https://www.mongodb.com/docs/manual/reference/error-codes/: NamespaceNotFound. */
const NO_SUCH_COLLECTION = 26
const AT_ONCE = 4

const keyOf = ({ fields }: DeclaredIndex) => Object.fromEntries(fields.map((field) => [field, 1]))

/**
 * The description that the driver takes. An index over a field that only a few documents have holds those alone: it is as
 * small as the work that there is.
 */
const descriptionOf = (index: DeclaredIndex) => ({
  key: keyOf(index),
  name: index.name,
  ...(index.unique ? { unique: true } : {}),
  ...(index.only ? { partialFilterExpression: { [index.only]: { $exists: true } } } : {}),
})

interface Found {
  name: string
  key: Record<string, unknown>
  unique: boolean
  isPartial: boolean
}

const foundIn = async (database: Database, name: CollectionName): Promise<Found[]> => {
  try {
    const all = await database.collection(name).listIndexes().toArray()
    return all.map((one) => ({ name: one.name, key: one.key, unique: one.unique === true, isPartial: one.partialFilterExpression !== undefined }))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === NO_SUCH_COLLECTION) return []
    throw error
  }
}

/** Whatever it is called: one that a database administrator made serves as well. A full one serves where a part would do. */
const serves = (found: Found, index: DeclaredIndex): boolean =>
  JSON.stringify(Object.entries(found.key)) === JSON.stringify(Object.entries(keyOf(index))) &&
  (!index.unique || found.unique) &&
  (!found.isPartial || index.only !== undefined)

const isOurs = ({ name }: Found): boolean => name !== '_id_'

export interface IndexReport {
  collection: CollectionName
  missing: DeclaredIndex[]
  /** There, and declared by no schema, or replaced by a smaller one: by name. */
  surplus: string[]
}

export const lookAtIndexes = (database: Database): Promise<IndexReport[]> =>
  pMap(
    collectionNames,
    async (collection) => {
      const found = await foundIn(database, collection)
      const declared = declaredIndexes(collection)
      const wanted = declared.map(({ name }) => name)
      return {
        collection,
        missing: declared.filter((index) => !found.some((one) => serves(one, index))),
        surplus: found
          .filter((one) => isOurs(one) && !wanted.includes(one.name) && !declared.some((index) => !index.only && serves(one, index)))
          .map(({ name }) => name),
      }
    },
    { concurrency: AT_ONCE },
  )

/** All that are missing in one collection with one command: it is read once for all of them. */
export const buildIndexes = async (database: Database, { collection, missing }: IndexReport): Promise<void> => {
  if (missing.length > 0) await database.command({ createIndexes: collection, indexes: missing.map(descriptionOf) })
}

const isEmpty = async (database: Database, name: CollectionName): Promise<boolean> =>
  (await database.collection(name).findOne({}, { projection: { _id: 1 } })) === null

/** Builds what is missing where there is nothing yet. @returns what is missing besides, in words: `payments: tenantId_createdAt__id`. */
export const buildWhereEmpty = async (database: Database): Promise<string[]> => {
  const missing = await pMap(
    (await lookAtIndexes(database)).filter((report) => report.missing.length > 0),
    async (report) => {
      if (!(await isEmpty(database, report.collection))) return report.missing.map((index) => `${report.collection}: ${index.name}`)
      await buildIndexes(database, report)
      return []
    },
    { concurrency: AT_ONCE },
  )
  return missing.flat()
}
