import type { Feed } from '../../common/feed/feed.ts'
import { MAX_PAGE, type Storage } from '../storage/storage.ts'
import { toEntitlementSet } from './publish-entitlements.ts'

const everyPage = async function* <D>(page: (cursor: string | undefined) => Promise<{ data: D[]; nextCursor?: string }>) {
  let cursor: string | undefined
  do {
    const { data, nextCursor } = await page(cursor)
    yield data
    cursor = nextCursor
  } while (cursor)
}

/** Sets travel in parallel within a page; the page bounds how many. Harmless beside running control planes: the feed keeps the higher revision. */
export const republish = async (storage: Storage, feed: Feed): Promise<{ sets: number; clocks: number }> => {
  let sets = 0
  let clocks = 0
  for await (const tenants of everyPage((cursor) => storage.tenants.page({ where: {}, limit: MAX_PAGE, cursor }))) {
    for (const { tenantId, revision, testNow } of tenants) {
      if (!testNow) continue
      await feed.putClock({ tenantId, revision, nowMs: testNow.getTime() })
      clocks += 1
    }
  }
  for await (const stored of everyPage((cursor) => storage.entitlementSets.page({ where: {}, limit: MAX_PAGE, cursor }))) {
    await Promise.all(stored.map((set) => feed.putSet(toEntitlementSet(set))))
    sets += stored.length
  }
  return { sets, clocks }
}
