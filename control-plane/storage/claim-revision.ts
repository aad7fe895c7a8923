import { AppError, isAppError } from '../../common/errors.ts'
import type { Collection, StoredDocument } from './storage.ts'

/** @throws AppError `precondition_failed` for a document at another revision. */
export const mustBeAt = (expected: number, { revision }: { revision: number }): void => {
  if (revision !== expected) throw new AppError('precondition_failed', `the document is now at revision ${revision}; read it again`)
}

/**
 * For what is done in several writes: the document is written as it is, at the revision that the caller names, so that of
 * several who name it one gets through.
 * @param revision undefined: any, and nothing is written.
 * @throws AppError `precondition_failed` or `not_found`.
 */
export const claimRevision = async <D extends StoredDocument>(
  collection: Pick<Collection<D>, 'get' | 'replace'>,
  id: string,
  revision: number | undefined,
): Promise<D> => {
  const document = await collection.get(id)
  if (revision === undefined) return document
  mustBeAt(revision, document)
  return collection.replace(document).catch((error: unknown) => {
    if (!isAppError(error, 'revision_conflict')) throw error
    throw new AppError('precondition_failed', 'somebody else changed it first; read it again')
  })
}
