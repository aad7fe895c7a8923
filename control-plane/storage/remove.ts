/** Removes documents that others may change, or remove, at the same moment. */
import { isAppError } from '../../common/errors.ts'
import type { Collection, StoredDocument } from './storage.ts'

/** @returns false where somebody else was first: it has been changed, or is gone. */
export const removeIfSame = async <D extends StoredDocument>(collection: Pick<Collection<D>, 'remove'>, document: D): Promise<boolean> => {
  try {
    await collection.remove(document)
    return true
  } catch (error) {
    if (!isAppError(error, 'revision_conflict', 'not_found')) throw error
    return false
  }
}

/** Removes a document, whoever changes it meanwhile. */
export const removeForGood = async <D extends StoredDocument>(collection: Pick<Collection<D>, 'find' | 'remove'>, id: string): Promise<void> => {
  for (let document = await collection.find(id); document; document = await collection.find(id)) await removeIfSame(collection, document)
}
