/**
 * Ends a tenant: everything of it goes, but the books of who did what (the audit log, until it is past its time), and an empty
 * document that keeps its id from being used again.
 *
 * The first write marks the tenant: from then on no call about it begins (`tenantOfCall`). What follows is the worker's, may be
 * done twice, and ends with the tenant's document: subscriptions end at once, and what still arrives goes back; when no money is
 * under way any more, or after `GIVEN_UP_AFTER_MS`, every document is removed.
 */

import { DAY_MS, HOUR_MS } from '../../common/durations.ts'
import { AppError, isAppError } from '../../common/errors.ts'
import { removeSet } from '../entitlements/remove-set.ts'
import { removeEvents } from '../events/erase.ts'
import { movesMoney } from '../payments/erase-payment.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { every } from '../storage/every.ts'
import type { OwnCollection } from '../storage/own-collections.ts'
import { removeForGood, removeIfSame } from '../storage/remove.ts'
import { MAX_PAGE, type PageQuery, type StoredDocument } from '../storage/storage.ts'
import { update } from '../storage/update.ts'
import { cancelSubscription } from '../subscriptions/change-subscription.ts'
import { livingStatuses } from '../subscriptions/machine/transitions.ts'
import type { TenantScope } from '../tenant-scope.ts'

/** Longer than any call that had begun by the mark. */
const QUIET_AFTER_MS = 2 * 60_000
const LOOK_AGAIN_MS = HOUR_MS
/** A provider that has not said by then what became of a payment is not waited for. */
const GIVEN_UP_AFTER_MS = 30 * DAY_MS

/** @throws AppError `not_allowed_in_state`. */
const refuseWhileAlive = async ({ storage, tenantId }: TenantScope): Promise<void> => {
  for (const status of livingStatuses) {
    const { data } = await storage.subscriptions.page({ where: { tenantId, status }, limit: 1 })
    if (data[0])
      throw new AppError(
        'not_allowed_in_state',
        `the subscription ${data[0].id} has not ended: end them all, or DELETE with ?cancel=now, which ends them at once`,
      )
  }
}

/**
 * Harmless to repeat.
 * @param cancel ends subscriptions; without, one that lives is a reason to refuse.
 * @throws AppError `not_found` or `not_allowed_in_state`; what `check` throws.
 */
export const endTenant = async (of: TenantScope, check: (tenant: Tenant) => void, cancel: boolean): Promise<Tenant & { ending: Date }> => {
  const { clock, storage } = of
  const ended = await update(storage.tenants, of.keys.tenant(), async (tenant) => {
    if (tenant.ended) throw new AppError('not_found', 'no such tenant')
    if (tenant.ending) return undefined
    check(tenant)
    if (!cancel) await refuseWhileAlive(of)
    return { ...tenant, ending: clock.now(), repairAt: clock.now() }
  })
  return { ...ended, ending: ended.ending ?? clock.now() }
}

const endSubscriptions = async (of: TenantScope): Promise<void> => {
  const { tenantId } = of
  for (const status of livingStatuses)
    for await (const { id } of every(of.storage.subscriptions, { tenantId, status }))
      await cancelSubscription(of, { id: 'tenant_ended', subscriptionId: id, check: () => {} }, 'now').catch((error: unknown) => {
        // It has ended by itself meanwhile.
        if (!isAppError(error, 'not_allowed_in_state')) throw error
      })
}

const removeSets = async (of: TenantScope): Promise<void> => {
  for await (const { tenantId, storefrontId, customerId } of every(of.storage.entitlementSets, { tenantId: of.tenantId }))
    await removeSet(of, { tenantId, storefrontId, customerId })
}

const hasMoneyUnderWay = async ({ storage, tenantId, tenant: { mode } }: TenantScope): Promise<boolean> => {
  // Of a sandbox no money is real, and its time stands still.
  if (mode === 'sandbox') return false
  for await (const payment of every(storage.payments, { tenantId })) if (movesMoney(payment)) return true
  return false
}

/** A page at a time, until there are none. @param first what goes before each of them. */
const removeAll = async <D extends StoredDocument>(
  collection: OwnCollection<D>,
  where: PageQuery['where'],
  first: (document: D) => Promise<unknown> = async () => {},
): Promise<void> => {
  for (;;) {
    const { data } = await collection.page({ where, limit: MAX_PAGE })
    if (data.length === 0) return
    for (const document of data) {
      await first(document)
      // Where somebody wrote to it, the next page has it again.
      await removeIfSame(collection, document)
    }
  }
}

const removeCatalog = async ({ storage, tenantId }: TenantScope, storefrontId: string): Promise<void> => {
  await removeAll(storage.bundles, { tenantId, storefrontId }, ({ id }) => removeAll(storage.bundleVersions, { tenantId, storefrontId, id }))
  await removeAll(storage.entitlementKinds, { tenantId, storefrontId })
}

const removeEverything = async (of: TenantScope): Promise<void> => {
  const { storage, tenantId } = of
  await removeSets(of)
  await removeForGood(storage.identityProviders, of.keys.identityProvider())
  await removeAll(storage.settlementReports, { tenantId }, ({ id }) => removeAll(storage.settlementDifferences, { tenantId, reportId: id }))
  await removeAll(storage.webhookEvents, { tenantId })
  await removeAll(storage.payments, { tenantId })
  await removeAll(storage.subscriptions, { tenantId }, ({ id }) => removeAll(storage.eventChunks, { tenantId, subscriptionId: id }))
  for await (const { id } of every(storage.storefronts, { tenantId })) {
    await removeAll(storage.customers, { tenantId, storefrontId: id }, async ({ _id }) => {
      await removeForGood(storage.usageCounters, _id)
      await removeForGood(storage.customerGrants, _id)
    })
    await removeCatalog(of, id)
  }
  for (const collection of [
    storage.usageMonths,
    storage.countedReports,
    storage.pspAccounts,
    storage.storefronts,
    storage.roles,
    storage.sessions,
    storage.users,
    storage.apiKeys,
  ] as OwnCollection<StoredDocument>[])
    await removeAll(collection, { tenantId })
  await removeAll(storage.webhookEndpoints, { tenantId }, ({ id }) => removeAll(storage.webhookDeliveries, { tenantId, endpointId: id }))
  await removeEvents(of)
}

/** Does the work that the mark asks for, as far as it can be done now. */
export const finishEnding = async (of: TenantScope): Promise<Tenant> => {
  const { clock, storage, log } = of
  const { _id, tenantId, ending, ended } = of.tenant
  if (!ending) return of.tenant
  if (ended) {
    // What a long call wrote that had begun before.
    await removeEverything(of)
    return update(storage.tenants, _id, ({ repairAt: _, ...kept }) => kept)
  }
  const again = (ms: number) => update(storage.tenants, _id, (latest) => (latest.ended ? undefined : { ...latest, repairAt: new Date(clock.nowMs() + ms) }))
  await endSubscriptions(of)
  await removeSets(of)
  const passedMs = clock.nowMs() - ending.getTime()
  if (passedMs < QUIET_AFTER_MS) return again(QUIET_AFTER_MS - passedMs)
  if (passedMs < GIVEN_UP_AFTER_MS && (await hasMoneyUnderWay(of))) return again(LOOK_AGAIN_MS)
  await removeEverything(of)
  log.info({ tenantId }, 'a tenant has ended: only its audit log is kept')
  const now = clock.now()
  return update(storage.tenants, _id, ({ testNow: _, setup: __, ...kept }) => ({
    ...kept,
    name: 'ended',
    ended: now,
    repairAt: new Date(now.getTime() + LOOK_AGAIN_MS),
  }))
}
