import type { Feed } from '../../common/feed/feed.ts'
import type { Log } from '../../common/log.ts'
import { MAX_PAGE, type Storage } from '../storage/storage.ts'
import { putSetOrSay, toEntitlementSet } from './publish-entitlements.ts'

const everyPage = async function* <D>(page: (cursor: string | undefined) => Promise<{ data: D[]; nextCursor?: string }>) {
  let cursor: string | undefined
  do {
    const { data, nextCursor } = await page(cursor)
    yield data
    cursor = nextCursor
  } while (cursor)
}

/**
 * Sets travel in parallel within a page; the page bounds how many. Harmless beside running control planes: the feed keeps
 * the higher revision. @returns what it put, and how many sets cannot be put: each is named in the log.
 */
export const republish = async (storage: Storage, feed: Feed, log: Log): Promise<{ sets: number; clocks: number; unpublishable: number }> => {
  let [sets, unpublishable] = [0, 0]
  let clocks = 0
  for await (const tenants of everyPage((cursor) => storage.tenants.page({ where: {}, limit: MAX_PAGE, cursor }))) {
    for (const { tenantId, revision, testNow } of tenants) {
      if (!testNow) continue
      await feed.putClock({ tenantId, revision, nowMs: testNow.getTime() })
      clocks += 1
    }
  }
  for await (const stored of everyPage((cursor) => storage.entitlementSets.page({ where: {}, limit: MAX_PAGE, cursor }))) {
    const put = await Promise.all(stored.map((set) => putSetOrSay(feed, toEntitlementSet(set), log)))
    const done = put.filter((isPut) => isPut).length
    sets += done
    unpublishable += put.length - done
  }
  return { sets, clocks, unpublishable }
}
