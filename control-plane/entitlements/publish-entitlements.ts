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
import { keys } from '../keys.ts'
import type { StoredEntitlementSet } from '../schemas/entitlement-set.ts'
import type { Subscription } from '../schemas/subscription.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { Services } from '../services.ts'
import { MAX_PAGE } from '../storage/storage.ts'
import { usageOf } from './allowances.ts'
import { accessOfSubscription } from './subscription-access.ts'

/** Each lost race means that another process published; this many in a row is a fault. */
const MAX_TRIES = 50

/** All of a customer, ended ones too. */
export const subscriptionsOf = async (services: Services, customer: CustomerKey): Promise<Subscription[]> => {
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
  const isHeld = (key: string, subscriptionId?: string): boolean =>
    grants.some((grant) => grant.key === key && (subscriptionId === undefined || grant.subscriptionId === subscriptionId))
  return { grants, usage: usageOf(counters?.entries ?? [], subscriptions, isHeld) }
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
 * @returns the revision that shows everything stored before the call, and whether the feed has it. When the feed is
 * away the caller leaves its `repairAt` mark standing, and a sweeper publishes later.
 */
export const publishEntitlements = async (services: Services, tenant: Tenant, customer: CustomerKey): Promise<{ revision: number; published: boolean }> => {
  const set = await refreshStoredSet(services, tenant, customer)
  try {
    await services.feed.putSet(set)
    return { revision: set.revision, published: true }
  } catch (error) {
    if (!isAppError(error, 'unavailable')) throw error
    services.log.warn({ err: error, tenantId: customer.tenantId }, 'an entitlement set could not be published yet')
    return { revision: set.revision, published: false }
  }
}
