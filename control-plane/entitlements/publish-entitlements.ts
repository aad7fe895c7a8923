/**
 * Publishing is level-triggered: a customer's set is derived from stored state, compared with the stored set, and
 * stored and published under the next revision only if it differs. Running it again is always harmless.
 *
 * What makes it safe against other processes is the order of reading: the stored set first, what it is derived from
 * second. Whoever wrote a newer set in between makes the compare-and-set fail.
 */
import { isDeepStrictEqual } from 'node:util'
import { deriveGrants } from '../../common/entitlements/derive.ts'
import type { CustomerKey, EntitlementSet, Grant, Usage } from '../../common/entitlements/model.ts'
import { isAppError } from '../../common/errors.ts'
import type { Feed } from '../../common/feed/feed.ts'
import type { Log } from '../../common/log.ts'
import { keys } from '../keys.ts'
import type { StoredEntitlementSet } from '../schemas/entitlement-set.ts'
import type { Subscription } from '../schemas/subscription.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { Services } from '../services.ts'
import { MAX_PAGE } from '../storage/storage.ts'
import { accessOfSubscription } from './subscription-access.ts'

/** Each lost race means that another process published; this many in a row is a fault. */
const MAX_TRIES = 50

export const subscriptionsOf = async (services: Pick<Services, 'storage'>, customer: CustomerKey): Promise<Subscription[]> => {
  const where = { tenantId: customer.tenantId, storefrontId: customer.storefrontId, customerId: customer.customerId }
  const all: Subscription[] = []
  let cursor: string | undefined
  do {
    const page = await services.storage.subscriptions.page({ where, limit: MAX_PAGE, ...(cursor ? { cursor } : {}) })
    all.push(...page.data)
    cursor = page.nextCursor
  } while (cursor)
  return all
}

/** What the customer's set has to be, from what is stored now. */
const deriveSet = async (services: Services, customer: CustomerKey): Promise<{ grants: Grant[]; usage: Usage[] }> => {
  const subscriptions = await subscriptionsOf(services, customer)
  const counters = await services.storage.usageCounters.find(keys.customer(customer.tenantId, customer.storefrontId, customer.customerId))
  const grants = deriveGrants(subscriptions.map(accessOfSubscription))
  const known = new Set(grants.map((grant) => grant.key))
  const usage = (counters?.entries ?? [])
    .filter((entry) => known.has(entry.key))
    .map(({ key, used, until }): Usage => ({ key, used, ...(until ? { untilMs: until.getTime() } : {}) }))
  return { grants, usage }
}

export const toEntitlementSet = (stored: StoredEntitlementSet): EntitlementSet => ({
  tenantId: stored.tenantId,
  storefrontId: stored.storefrontId,
  customerId: stored.customerId,
  revision: stored.revision,
  sandbox: stored.sandbox,
  grants: stored.grants as Grant[],
  usage: stored.usage as Usage[],
})

/** Derives and stores; no I/O to the feed. @returns the set as it is stored now. */
const refreshStoredSet = async (services: Services, tenant: Tenant, customer: CustomerKey): Promise<EntitlementSet> => {
  const { entitlementSets } = services.storage
  const id = keys.customer(customer.tenantId, customer.storefrontId, customer.customerId)
  for (let tries = 1; ; tries += 1) {
    const stored = await entitlementSets.find(id)
    const { grants, usage } = await deriveSet(services, customer)
    if (stored && isDeepStrictEqual(stored.grants, grants) && isDeepStrictEqual(stored.usage, usage)) return toEntitlementSet(stored)
    try {
      if (stored) return toEntitlementSet(await entitlementSets.replace({ ...stored, grants, usage }))
      const { tenantId, storefrontId, customerId } = customer
      const sandbox = tenant.mode === 'sandbox'
      return toEntitlementSet(
        await entitlementSets.insert({ _id: id, tenantId, storefrontId, customerId, sandbox, grants, usage, createdAt: services.clock.now() }),
      )
    } catch (error) {
      if (!isAppError(error, 'revision_conflict', 'already_exists') || tries === MAX_TRIES) throw error
    }
  }
}

/**
 * Puts a set into the feed; in place of one that cannot be put, word that it is missing, so that sidecars know that what
 * they hold is old. Such a set is not tried again by itself: its next revision is, and `npm run republish` does.
 * @returns whether the set itself was put. @throws AppError `unavailable` when neither could be.
 */
export const putSetOrSay = async (feed: Feed, set: EntitlementSet, log: Log): Promise<boolean> => {
  try {
    await feed.putSet(set)
    return true
  } catch (error) {
    if (!isAppError(error, 'set_too_large', 'internal')) throw error
    const isNews = await feed.putMissing(set, set.revision)
    const { tenantId, storefrontId, customerId, revision } = set
    if (isNews)
      log.error(
        { err: error, tenantId, storefrontId, customerId, revision },
        "a customer's entitlements cannot be published: its sidecars answer from what they had, marked as stale",
      )
    return false
  }
}

/**
 * @returns the revision that shows everything stored before the call, and whether the feed has it, or has word that it
 * cannot have it. When the feed is away the caller leaves its `repairAt` mark standing, and a sweeper publishes later.
 */
export const publishEntitlements = async (services: Services, tenant: Tenant, customer: CustomerKey): Promise<{ revision: number; published: boolean }> => {
  const set = await refreshStoredSet(services, tenant, customer)
  try {
    await putSetOrSay(services.feed, set, services.log)
    return { revision: set.revision, published: true }
  } catch (error) {
    if (!isAppError(error, 'unavailable')) throw error
    services.log.warn({ err: error, tenantId: customer.tenantId }, 'an entitlement set could not be published yet')
    return { revision: set.revision, published: false }
  }
}
