import type { Feed } from '../../common/feed/feed.ts'
import type { Log } from '../../common/log.ts'
import { MAX_PAGE, type Storage } from '../storage/storage.ts'
import { putLatest, toEntitlementSet } from './publish-entitlements.ts'

const everyPage = async function* <D>(page: (cursor: string | undefined) => Promise<{ data: D[]; nextCursor?: string }>) {
  let cursor: string | undefined
  do {
    const { data, nextCursor } = await page(cursor)
    yield data
    cursor = nextCursor
  } while (cursor)
}

export interface Republished {
  sets: number
  clocks: number
  /** Sets that cannot be put: each is named in the log. */
  unpublishable: number
}

/**
 * Sets travel in parallel within a page; the page bounds how many. Harmless beside running control planes: the feed keeps
 * the higher revision. @param onProgress is waited for after each page. @returns what it put.
 */
export const republish = async (storage: Storage, feed: Feed, log: Log, onProgress: (sets: number) => Promise<void> = async () => {}): Promise<Republished> => {
  const done = { sets: 0, clocks: 0, unpublishable: 0 }
  for await (const tenants of everyPage((cursor) => storage.tenants.page({ where: {}, limit: MAX_PAGE, cursor }))) {
    for (const { tenantId, revision, testNow } of tenants) {
      if (!testNow) continue
      await feed.putClock({ tenantId, revision, nowMs: testNow.getTime() })
      done.clocks += 1
    }
  }
  for await (const stored of everyPage((cursor) => storage.entitlementSets.page({ where: {}, limit: MAX_PAGE, cursor }))) {
    const put = await Promise.all(stored.map((set) => putLatest({ storage, feed, log }, toEntitlementSet(set))))
    const count = put.filter((isPut) => isPut).length
    done.sets += count
    done.unpublishable += put.length - count
    await onProgress(done.sets)
  }
  return done
}
