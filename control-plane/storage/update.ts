import { isAppError } from '../../common/errors.ts'
import type { Collection, StoredDocument } from './storage.ts'

/** The last of each document's writers here. They take turns: otherwise all but one of them would have written for nothing. */
const lastOf = new WeakMap<object, Map<string, Promise<unknown>>>()

const sources = new WeakMap<object, object>()
/** The source that all views of one collection, or of one store, share. */
export const sourceOf = (collection: object): object => sources.get(collection) ?? collection

/** @returns `view`, whose writers take turns with those of `collection`. */
export const sameTurns = <T extends object>(view: T, collection: object): T => {
  sources.set(view, sourceOf(collection))
  return view
}

const inTurn = async <T>(collection: object, id: string, work: () => Promise<T>): Promise<T> => {
  const ofCollection = lastOf.get(collection) ?? new Map<string, Promise<unknown>>()
  lastOf.set(collection, ofCollection)
  const before = ofCollection.get(id)
  const mine = before ? before.then(work, work) : work()
  ofCollection.set(id, mine)
  try {
    return await mine
  } finally {
    if (ofCollection.get(id) === mine) ofCollection.delete(id)
  }
}

/** Each conflict means that a writer of another process, or one that goes past this, got on; this many in a row is a fault. */
const MAX_TRIES = 50

/**
 * Read, decide, compare-and-set; again when someone else was first. `decide` answers the changed document, or
 * undefined to leave it as it is; it may be called several times and must only decide. It may look at other documents: what
 * it finds there holds for the write, where whoever changes them changes this document before.
 * @param known the document as the caller last saw it: saves the first read, and is checked by the compare-and-set.
 * @returns the document as it is stored now.
 * @throws AppError `not_found`; what `decide` throws.
 */
export const update = async <D extends StoredDocument>(
  collection: Pick<Collection<D>, 'get' | 'replace'>,
  id: string,
  decide: (document: D) => D | undefined | Promise<D | undefined>,
  known?: D,
): Promise<D> => {
  const source = sourceOf(collection)
  // After another's turn the document that the caller saw is old, and "nothing to do" would be decided from it unchecked.
  const waits = lastOf.get(source)?.has(id) === true
  return inTurn(source, id, () => writeUntilFirst(collection, id, decide, waits ? undefined : known))
}

const writeUntilFirst = async <D extends StoredDocument>(
  collection: Pick<Collection<D>, 'get' | 'replace'>,
  id: string,
  decide: (document: D) => D | undefined | Promise<D | undefined>,
  known: D | undefined,
): Promise<D> => {
  let document = known ?? (await collection.get(id))
  for (let tries = 1; ; tries += 1) {
    const decided = decide(document)
    const changed = decided instanceof Promise ? await decided : decided
    if (!changed) return document
    try {
      return await collection.replace(changed)
    } catch (error) {
      if (!isAppError(error, 'revision_conflict') || tries === MAX_TRIES) throw error
    }
    document = await collection.get(id)
  }
}

/** Inserts, or answers the document that is there already: for ids that whoever repeats the step computes again. */
export const insertOrGet = async <D extends StoredDocument>(
  collection: Pick<Collection<D>, 'insert' | 'get'>,
  document: Parameters<Collection<D>['insert']>[0],
): Promise<D> => {
  try {
    return await collection.insert(document)
  } catch (error) {
    if (!isAppError(error, 'already_exists')) throw error
    return collection.get(document._id)
  }
}
