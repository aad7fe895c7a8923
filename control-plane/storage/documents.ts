/** The steps that both adapters take with documents before and after the store: indexes, cursors, errors. */
import type mongoose from 'mongoose'
import { AppError, fieldError } from '../../common/errors.ts'
import { type CollectionName, type Documents, schemas } from '../schemas/index.ts'
import { type DocumentMigration, documentMigrations, schemaVersionOf } from '../schemas/migrations.ts'
import { paymentFromStored } from '../schemas/payment.ts'
import { subscriptionFromStored } from '../schemas/subscription.ts'
import { createCodec, type DocumentCodec } from './document-codec.ts'
import { MAX_PAGE, type PageQuery } from './storage.ts'

export const collectionNames = Object.keys(schemas) as CollectionName[]

const nouns: Record<CollectionName, string> = {
  installations: 'installation',
  tenants: 'tenant',
  apiKeys: 'API key',
  roles: 'role',
  users: 'user',
  sessions: 'session',
  identityProviders: 'identity provider',
  auditBlocks: 'block of the audit log',
  storefronts: 'storefront',
  pspAccounts: 'PSP account',
  bundles: 'bundle',
  bundleVersions: 'bundle version',
  entitlementKinds: 'kind of an entitlement',
  customers: 'customer',
  subscriptions: 'subscription',
  eventChunks: 'timeline chunk',
  payments: 'payment',
  entitlementSets: 'entitlement set',
  usageCounters: 'usage',
  usageMonths: 'month of usage',
  countedReports: 'report that was counted',
  customerGrants: 'grant',
  tombstones: 'erased customer',
  idempotencyRecords: 'idempotency record',
  webhookEvents: 'webhook event',
  settlementReports: 'settlement report',
  settlementDifferences: 'settlement difference',
  migrationRecords: 'record of a migration',
  webhookEndpoints: 'webhook endpoint',
  loggedEvents: 'event',
  eventLogs: 'log of events',
  eventCursors: 'places in the log of events',
  webhookDeliveries: 'delivery',
}

export const notFound = (name: CollectionName) => new AppError('not_found', `no such ${nouns[name]}`)
export const alreadyExists = (name: CollectionName) => new AppError('already_exists', `this ${nouns[name]} already exists`)
export const revisionConflict = (name: CollectionName) =>
  new AppError('revision_conflict', `the ${nouns[name]} has been changed by someone else; read it again`)

/** The functions that complete a document that was read, where its type says more than its schema. */
const refine: { [K in CollectionName]?: (stored: never) => Documents[K] } = {
  subscriptions: subscriptionFromStored,
  payments: paymentFromStored,
}

export const codecFor = (name: CollectionName, migrations: readonly DocumentMigration[] = documentMigrations): DocumentCodec =>
  createCodec(
    schemas[name] as mongoose.Schema,
    name,
    nouns[name],
    { version: schemaVersionOf(name, migrations), migrations: migrations.filter(({ collection }) => collection === name) },
    refine[name],
  )

export interface DeclaredIndex {
  name: string
  fields: string[]
  unique: boolean
  /** It holds the documents that have this field, and no others. */
  only: (typeof workMarks)[number] | undefined
}

/** Hardly any document has work to do now: of those that have none nothing is kept in an index. */
const workMarks = ['dueAt', 'repairAt', 'outboxAt', 'noticeAt'] as const
const whereWork = (fields: string[]): DeclaredIndex['only'] => workMarks.find((field) => fields.includes(field))

const indexes = Object.fromEntries(
  collectionNames.map((name) => [
    name,
    schemas[name].indexes().map(([spec, options]): DeclaredIndex => {
      const fields = Object.keys(spec)
      const only = whereWork(fields)
      return { name: `${fields.join('_')}${only ? '_only' : ''}`, fields, unique: options.unique === true, only }
    }),
  ]),
) as Record<CollectionName, DeclaredIndex[]>

export const declaredIndexes = (name: CollectionName): DeclaredIndex[] => indexes[name]

/**
 * The index that serves a query, and its equality fields in the index's order.
 * @throws Error when none is declared.
 */
export const servedBy = (name: CollectionName, equality: string[], order: string[]): { index: DeclaredIndex; fields: string[] } => {
  const index = declaredIndexes(name).find(({ fields }) => {
    const head = fields.slice(0, equality.length)
    return (
      equality.every((field) => head.includes(field)) &&
      fields.length === equality.length + order.length &&
      order.every((field, n) => fields[equality.length + n] === field)
    )
  })
  if (!index) throw new Error(`${name}: no declared index serves { ${equality.join(', ')} } in order of ${order.join(', ')}`)
  return { index, fields: index.fields.slice(0, equality.length) }
}

/** @throws Error, a fault of ours, unless an index on this field alone is declared unique. */
export const servedByUnique = (name: CollectionName, field: string): void => {
  const served = declaredIndexes(name).some(({ fields, unique }) => unique && fields.length === 1 && fields[0] === field)
  if (!served) throw new Error(`${name}: ${field} is not declared unique`)
}

/** @throws AppError `invalid_request` unless it is a whole number from 1 to `MAX_PAGE`. */
export const checkLimit = (limit: number): void => {
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PAGE) throw fieldError('invalid_request', 'limit', `must be a whole number from 1 to ${MAX_PAGE}`)
}

export interface CursorPosition {
  createdAt: Date
  id: string
}

const fingerprint = (query: PageQuery): string => JSON.stringify(Object.entries(query.where).toSorted(([a], [b]) => (a < b ? -1 : 1)))

const encodeCursor = (query: PageQuery, place: CursorPosition): string =>
  Buffer.from(JSON.stringify([place.createdAt.getTime(), place.id, fingerprint(query)])).toString('base64url')

/** Greater than every id. */
const AFTER_EVERY_ID = '\uffff'

/** @throws AppError `invalid_request` for a cursor that this query did not give. */
export const decodeCursor = (query: PageQuery): CursorPosition | undefined => {
  if (query.cursor === undefined) return query.from && { createdAt: new Date(query.from.getTime() - 1), id: AFTER_EVERY_ID }
  const bad = fieldError('invalid_request', 'cursor', 'is not a cursor of this list; use the nextCursor of its last page, with the same filters')
  let parsed: unknown
  try {
    parsed = JSON.parse(Buffer.from(query.cursor, 'base64url').toString())
  } catch {
    throw bad
  }
  if (!Array.isArray(parsed)) throw bad
  const [createdAtMs, id, of] = parsed as unknown[]
  if (typeof createdAtMs !== 'number' || typeof id !== 'string' || of !== fingerprint(query)) throw bad
  const createdAt = new Date(createdAtMs)
  if (Number.isNaN(createdAt.getTime())) throw bad
  return { createdAt, id }
}

/** One more than the page is read, to know whether there is a next. */
export const toPage = <D extends { _id: string; createdAt: Date }>(query: PageQuery, rows: D[]) => {
  const data = rows.slice(0, query.limit)
  const last = data.at(-1)
  return rows.length > query.limit && last ? { data, nextCursor: encodeCursor(query, { createdAt: last.createdAt, id: last._id }) } : { data }
}
