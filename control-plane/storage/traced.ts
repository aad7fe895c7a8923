/** Storage whose every operation is a span, within a trace. The spans say what was done in which collection, and no value. */
import { currentTracer, tracedPart } from '../../common/tracing.ts'
import { collectionNames } from './documents.ts'
import type { Collection, Storage, StoredDocument } from './storage.ts'

const operations = [
  'insert',
  'get',
  'find',
  'findUnique',
  'replace',
  'remove',
  'page',
  'due',
  'after',
  'clearOutbox',
  'scan',
] as const satisfies readonly (keyof Collection<StoredDocument>)[]

type Operation = (...args: unknown[]) => Promise<unknown>

const tracedCollection = (collection: object, name: string, system: string): object =>
  Object.fromEntries(
    operations.map((operation) => {
      const run = (collection as Record<string, Operation>)[operation] as Operation
      const attributes = { 'db.system.name': system, 'db.collection.name': name, 'db.operation.name': operation }
      const start = { name: `${operation} ${name}`, kind: 'client', attributes } as const
      return [operation, (...args: unknown[]) => tracedPart(start, () => run(...args))]
    }),
  )

/** The same storage, if nothing is traced. */
export const tracedStorage = (storage: Storage, system: 'mongodb' | 'sqlite'): Storage =>
  currentTracer() ? { ...storage, ...Object.fromEntries(collectionNames.map((name) => [name, tracedCollection(storage[name], name, system)])) } : storage
