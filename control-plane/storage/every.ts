/** Every document that a filter finds, read a page at a time. */
import { type Collection, MAX_PAGE, type PageQuery, type StoredDocument } from './storage.ts'

type Pages<D extends StoredDocument> = Pick<Collection<D>, 'page'>

type Options = Pick<PageQuery, 'from' | 'leaveOutNewer'>

/** Whole pages, for whoever works on many at once. What is written meanwhile may be missed, or seen. */
export async function* pages<D extends StoredDocument>(
  collection: Pages<D>,
  where: PageQuery['where'],
  { from, ...options }: Options = {},
): AsyncGenerator<D[], undefined> {
  let cursor: string | undefined
  do {
    const page = await collection.page({ where, limit: MAX_PAGE, ...options, ...(cursor === undefined ? { ...(from ? { from } : {}) } : { cursor }) })
    yield page.data
    cursor = page.nextCursor
  } while (cursor)
}

/** Like `pages`, one document at a time. */
export async function* every<D extends StoredDocument>(collection: Pages<D>, where: PageQuery['where'], options?: Options): AsyncGenerator<D, undefined> {
  for await (const page of pages(collection, where, options)) yield* page
}

/** All at once, where there are not many. */
export const all = async <D extends StoredDocument>(collection: Pages<D>, where: PageQuery['where']): Promise<D[]> => {
  const found: D[] = []
  for await (const document of every(collection, where)) found.push(document)
  return found
}
