/** A customer is no more: its set goes, from storage, from the feed, and with that from every sidecar. */

import { defined } from '../../common/defined.ts'
import { DAY_MS } from '../../common/durations.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import type { Tombstone } from '../schemas/tombstone.ts'
import { removeIfSame } from '../storage/remove.ts'
import { insertOrGet, update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { removalOf, toEntitlementSet } from './publish-entitlements.ts'

/** Longer than a sidecar is away without anybody's looking: one that comes back within it hears of the removal. */
const KEPT_IN_FEED_MS = DAY_MS

/** The last revision is known to be used before anything of it is gone. */
const bury = async ({ storage, keys, clock }: TenantScope, customer: CustomerKey, lastRevision: number): Promise<void> => {
  const { tenantId, storefrontId, customerId } = customer
  const _id = keys.tombstone(storefrontId, customerId)
  const inFeed = { storefrontId, customerId }
  const repairAt = new Date(clock.nowMs() + KEPT_IN_FEED_MS)
  const made = await insertOrGet(storage.tombstones, { _id, tenantId, createdAt: clock.now(), lastRevision, inFeed, repairAt })
  await update(
    storage.tombstones,
    _id,
    (latest) =>
      latest.lastRevision >= lastRevision && latest.inFeed
        ? undefined
        : { ...latest, lastRevision: Math.max(lastRevision, latest.lastRevision), inFeed, repairAt },
    made,
  )
}

/** Harmless to repeat. @throws AppError `unavailable` when the feed cannot be told. */
export const removeSet = async (of: TenantScope, customer: CustomerKey): Promise<void> => {
  const { storage, feed } = of
  const { tenantId, storefrontId, customerId } = customer
  const id = of.keys.customer(storefrontId, customerId)
  for (let stored = await storage.entitlementSets.find(id); stored; stored = await storage.entitlementSets.find(id)) {
    // Above every revision that it has had, so that none of them comes back.
    const revision = toEntitlementSet(stored).revision + 1
    await bury(of, customer, revision)
    const sandbox = of.tenant.mode === 'sandbox'
    await feed.putSet({ tenantId, storefrontId, customerId, revision, sandbox, grants: [], usage: [], removed: true })
    await removeIfSame(storage.entitlementSets, stored)
    // Where the feed may take the older of two: whoever put one while the stored set was still there had put it by now, and
    // whoever does it later finds the stored set gone.
    const removal = feed.mayReorder() ? await removalOf(storage, { ...customer, sandbox }) : undefined
    if (removal) await feed.putSet(removal)
  }
}

/** Every sidecar has heard of it: the feed, and what is remembered, need the customer's name no more. */
export const forgetInFeed = async ({ storage, feed }: TenantScope, tombstone: Tombstone): Promise<void> => {
  const { tenantId, inFeed } = tombstone
  if (inFeed) await feed.forgetSet({ tenantId, storefrontId: inFeed.storefrontId, customerId: inFeed.customerId })
  // Buried again since it was read: that removal has a day of its own.
  await update(
    storage.tombstones,
    tombstone._id,
    (latest) => (latest.revision === tombstone.revision ? defined({ ...latest, inFeed: undefined, repairAt: undefined }) : undefined),
    tombstone,
  )
}
