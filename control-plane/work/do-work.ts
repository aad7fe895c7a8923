/**
 * What to do with a document that is due, for each collection that can be. All of it may be done twice, by several
 * processes at once, or again after a crash.
 */
import { isAppError } from '../../common/errors.ts'
import { finishEnding } from '../catalog/end-tenant.ts'
import { finishTenant } from '../catalog/tenants.ts'
import { finishCustomer } from '../customers/finish-customer.ts'
import { resumePayment } from '../engine/advance-payment.ts'
import { advanceSubscription } from '../engine/advance-subscription.ts'
import { momentOf } from '../engine/moment.ts'
import { processWebhook } from '../engine/process-webhook.ts'
import { forgetInFeed } from '../entitlements/remove-set.ts'
import { announceUsage } from '../entitlements/report-usage.ts'
import { keys } from '../keys.ts'
import type { Documents } from '../schemas/index.ts'
import type { Subscription } from '../schemas/subscription.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { Services } from '../services.ts'
import { afterTime } from '../subscriptions/machine/after-time.ts'
import { rollOutBundle } from '../subscriptions/roll-out-bundle.ts'

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
  // Read anew: what was listed may be minutes old, and a provider is asked by what is in it before anything is written.
  payments: (services, tenant, payment) => resumePayment(services, tenant, payment.id),
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
