/**
 * What to do with a document that is due, for each collection that can be. All of it may be done twice, by several
 * processes at once, or again after a crash.
 */
import { isAppError } from '../../common/errors.ts'
import { finishEnding } from '../catalog/end-tenant.ts'
import { finishTenant } from '../catalog/tenants.ts'
import { finishCustomer } from '../customers/finish-customer.ts'
import { forgetInFeed } from '../entitlements/remove-set.ts'
import { announceUsage } from '../entitlements/report-usage.ts'
import { keys } from '../keys.ts'
import { applyEvent, markApplied, markFailed } from '../payments/webhooks/apply-event.ts'
import { eraseIfErased } from '../payments/webhooks/erase-event.ts'
import type { Documents } from '../schemas/index.ts'
import type { Subscription } from '../schemas/subscription.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { WebhookEvent } from '../schemas/webhook-event.ts'
import type { Services } from '../services.ts'
import { advanceSubscription, momentOf } from '../subscriptions/advance-subscription.ts'
import { afterTime } from '../subscriptions/machine/after-time.ts'
import { advancePayment } from '../subscriptions/resume-payment.ts'
import { rollOutBundle } from '../subscriptions/roll-out-bundle.ts'

/** Applies a stored event and takes its payment and subscription further. */
export const processWebhook = async (services: Services, tenant: Tenant, event: WebhookEvent): Promise<void> => {
  if (event.appliedAt) return
  try {
    const applied = await applyEvent(services, tenant, event)
    if (applied.payment) await advancePayment(services, tenant, applied.payment)
    await eraseIfErased(services, await markApplied(services, event, applied))
  } catch (error) {
    await markFailed(services, event, 'the provider could not be asked, or Tollgate failed; it will be retried')
    throw error
  }
}

/** So many senders wait for their events to be applied; in a burst the worker applies the others, and they are answered at once. */
const MAX_IN_HAND = 4

/**
 * Of an event that is stored: whatever happens now, it will be applied. A sandbox's simulator is always waited for,
 * since its time stands still meanwhile.
 */
export const processWhileWaiting = async (services: Services, tenant: Tenant, event: WebhookEvent): Promise<void> => {
  const { webhooksInHand, log } = services
  if (webhooksInHand.count >= MAX_IN_HAND && tenant.mode === 'live') return
  webhooksInHand.count += 1
  try {
    await processWebhook(services, tenant, event)
  } catch (error) {
    if (tenant.mode === 'sandbox') throw error
    log.warn({ err: error, event: event._id }, 'a webhook could not be applied; the worker will try it again')
  } finally {
    webhooksInHand.count -= 1
  }
}

/**
 * The first step that time asks for is also the claim: it is stored by compare-and-set, it takes the subscription off
 * the list of those that are due, and it leaves a lease (`repairAt`) after which a sweeper takes over. A worker that
 * is second leaves the subscription to the first.
 */
const advanceIfFirst = async (services: Services, tenant: Tenant, subscription: Subscription): Promise<unknown> => {
  const moved = afterTime(subscription, momentOf(services, tenant))
  if (!moved) return advanceSubscription(services, tenant, subscription.id)
  try {
    const claimed = await services.storage.subscriptions.replace(moved)
    return advanceSubscription(services, tenant, subscription.id, { known: claimed, firstNewBill: subscription.billsMade })
  } catch (error) {
    if (!isAppError(error, 'revision_conflict')) throw error
    return undefined
  }
}

/** Collections whose documents carry `repairAt`, in the order in which repairing them makes least double work. */
export const repairable = ['tenants', 'webhookEvents', 'payments', 'subscriptions', 'customers', 'usageCounters', 'bundles', 'tombstones'] as const
export type Repairable = (typeof repairable)[number]

const work: { [K in Repairable]: (services: Services, tenant: Tenant, document: Documents[K]) => Promise<unknown> } = {
  tenants: (services, tenant) => (tenant.ending ? finishEnding(services, tenant) : finishTenant(services, tenant)),
  webhookEvents: processWebhook,
  payments: advancePayment,
  subscriptions: advanceIfFirst,
  customers: finishCustomer,
  usageCounters: announceUsage,
  bundles: rollOutBundle,
  tombstones: (services, _, tombstone) => forgetInFeed(services, tombstone),
}

/** @param tenant as the caller knows it; read when it does not. */
export const doWork = async <K extends Repairable>(services: Services, collection: K, document: Documents[K], tenant?: Tenant): Promise<void> => {
  await work[collection](services, tenant ?? (await services.storage.tenants.get(keys.tenant(document.tenantId))), document)
}
