import type { Feed } from '../../common/feed/feed.ts'
import type { Log } from '../../common/log.ts'
import { every, pages } from '../storage/every.ts'
import type { Storage } from '../storage/storage.ts'
import { putLatest, toEntitlementSet } from './publish-entitlements.ts'

export interface RepublishResult {
  sets: number
  clocks: number
  /** Sets that cannot be put: each is named in the log. */
  unpublishable: number
}

/**
 * Sets travel in parallel within a page; the page bounds how many. Harmless beside running control planes: the feed keeps
 * the higher revision. @param onProgress is waited for after each page. @returns what it put.
 */
export const republish = async (
  storage: Storage,
  feed: Feed,
  log: Log,
  onProgress: (sets: number) => Promise<void> = async () => {},
): Promise<RepublishResult> => {
  const done = { sets: 0, clocks: 0, unpublishable: 0 }
  for await (const { tenantId, revision, testNow } of every(storage.tenants, {})) {
    if (!testNow) continue
    await feed.putClock({ tenantId, revision, nowMs: testNow.getTime() })
    done.clocks += 1
  }
  for await (const stored of pages(storage.entitlementSets, {})) {
    const put = await Promise.all(stored.map((set) => putLatest({ storage, feed, log }, toEntitlementSet(set))))
    const count = put.filter((isPut) => isPut).length
    done.sets += count
    done.unpublishable += put.length - count
    await onProgress(done.sets)
  }
  return done
}
