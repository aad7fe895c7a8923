/**
 * The storage port: one collection an entity, single-document writes only. Every state change is one
 * compare-and-set on `revision`; there are no transactions, so that MongoDB of every shape, a MongoDB-compatible
 * server and SQLite all serve alike. Whatever must follow a write is marked in the same document (`repairAt`,
 * `dueAt`) or has an id derived from it.
 *
 * Two versions of Tollgate may work on one store. Fields that this one does not know survive a `replace`. A document of a
 * `schemaVersion` that it does not know is neither read, nor changed, nor due: every method that meets one rejects with
 * AppError `newer_version`, but for `due` and `scan`, which leave it out.
 *
 * Every adapter passes `test/contract/storage.ts`. All methods reject with AppError `unavailable` when the store
 * cannot be reached; what else they reject with is said at each.
 */
import type { CollectionName, Documents } from '../schemas/index.ts'

export interface StoredDocument {
  _id: string
  revision: number
  /** The form that it was read in. Absent: the first one. */
  schemaVersion?: number
  createdAt: Date
  updatedAt: Date
}

/** A document as a caller makes it: storage adds `revision` and `updatedAt`. */
export type NewDocument<D extends StoredDocument> = Omit<D, 'revision' | 'schemaVersion' | 'updatedAt'>

export interface Page<D> {
  data: D[]
  /** Present when there is more; opaque, and valid only for the same query. */
  nextCursor?: string
}

export interface PageQuery {
  /** Every field of a declared index that comes before `createdAt`, with its value, or several of which any will do. */
  where: Record<string, string | readonly string[]>
  /** Leaves out what was created before; counts for the first page, from which on the cursor says it. */
  from?: Date
  /** 1 to 500. */
  limit: number
  cursor?: string | undefined
  /** Documents of a newer version are left out, where each stands for itself. Without, the page is refused. */
  leaveOutNewer?: boolean | undefined
}

export interface DueQuery {
  by: 'dueAt' | 'repairAt' | 'expiresAt' | 'outboxAt' | 'noticeAt'
  /** Equality on the fields that come before `by` in its index. */
  where?: Record<string, string>
  /** Documents whose `by` is present and not after this. */
  until: Date
  limit: number
  /** Only what comes after this place: how a caller looks past documents that stay due. */
  after?: { at: Date; id: string } | undefined
}

export interface AfterQuery {
  /** Every field of a declared index that comes before `position`, with its value. */
  where: Record<string, string>
  /** Documents of a higher `position`. */
  above: number
  /** 1 to 500. */
  limit: number
}

export interface Collection<D extends StoredDocument> {
  /**
   * Stores a new document at revision 1, with the schema's defaults, and answers it as stored.
   * @throws AppError `already_exists` when its `_id`, or another unique key, is taken.
   * @throws Error (a fault of ours) when the document does not satisfy its schema; nothing is stored.
   */
  insert(document: NewDocument<D>): Promise<D>

  /** @throws AppError `not_found` when there is none. */
  get(id: string): Promise<D>

  /** Like `get`, but undefined when there is none. */
  find(id: string): Promise<D | undefined>

  /** The document with this value in a field that a declared index makes unique. Undefined when there is none. */
  findUnique(field: keyof D & string, value: string): Promise<D | undefined>

  /**
   * Compare-and-set: replaces the document if its stored revision is still `document.revision`, and answers it with
   * the next revision. Of several writers that read the same revision exactly one succeeds.
   * @throws AppError `revision_conflict` when another was first; `not_found` when the document is gone.
   * @throws Error when the document does not satisfy its schema; nothing is stored.
   */
  replace(document: D): Promise<D>

  /** @throws AppError `revision_conflict` or `not_found`, as `replace`. */
  remove(document: Pick<D, '_id' | 'revision'>): Promise<void>

  /**
   * Documents in order of `createdAt`, then `_id`. A page continues after its cursor's place, so documents that come
   * and go meanwhile cause neither repeats nor gaps.
   * @throws AppError `invalid_request` on `cursor` when it is not one of this query's.
   * @throws Error when no declared index serves the query: a scan is never made in silence.
   */
  page(query: PageQuery): Promise<Page<D>>

  /** Documents with work due, the longest overdue first. @throws Error when no declared index serves the query. */
  due(query: DueQuery): Promise<D[]>

  /** Documents in order of `position`. @throws Error when no declared index serves the query. */
  after(query: AfterQuery): Promise<D[]>

  /**
   * Takes the events out of a document (`outbox`, `outboxAt`) that is still of this revision, which stays the same: nobody who
   * has read the document need read it again. Whoever writes it from what they read before puts them back, which is harmless.
   * @returns whether it was.
   */
  clearOutbox(document: Pick<D, '_id' | 'revision'>): Promise<boolean>

  /** Documents in order of `_id`, those after `after`: for a task that goes over all there is, and goes on where it stopped. */
  scan(query: { after?: string | undefined; limit: number }): Promise<D[]>
}

export type Collections = { readonly [K in CollectionName]: Collection<Documents[K]> }

/** The connections that commands of one process share, as a measurement sees them. */
export interface ConnectionPool {
  /** Commands that wait for a connection now. */
  waiting(): number
  inUse(): number
  /** @param listener is called with how long each command has waited, with or without success. */
  onWait(listener: (waitedMs: number) => void): void
}

export interface Storage extends Collections {
  /** Undefined where there are no connections to wait for. */
  readonly pool: ConnectionPool | undefined
  /** Resolves when the store answers. @throws AppError `unavailable`. */
  ping(): Promise<void>
  /** The time of the store's own server; undefined where it has no other clock than this machine's. @throws AppError `unavailable`. */
  serverTime(): Promise<Date | undefined>
  close(): Promise<void>
}

export const MAX_PAGE = 500
