/**
 * The work on a document that is due, for each collection that can be. All of it may be done twice, by several processes at
 * once, or again after a crash.
 */

import { isAppError } from '../../common/errors.ts'
import { finishEnding } from '../catalog/end-tenant.ts'
import { finishTenant } from '../catalog/tenants.ts'
import { finishCustomer } from '../customers/finish-customer.ts'
import { resumePayment } from '../engine/advance-payment.ts'
import { advanceSubscription } from '../engine/advance-subscription.ts'
import { processWebhook } from '../engine/process-webhook.ts'
import { announceGrants } from '../entitlements/give-grants.ts'
import { forgetInFeed } from '../entitlements/remove-set.ts'
import { tendCounters } from '../entitlements/report-usage.ts'
import { keys } from '../keys.ts'
import type { Services } from '../ports.ts'
import type { Documents } from '../schemas/index.ts'
import type { Subscription } from '../schemas/subscription.ts'
import { afterTime } from '../subscriptions/machine/after-time.ts'
import { rollOutBundle } from '../subscriptions/roll-out-bundle.ts'
import { type TenantScope, tenantScope } from '../tenant-scope.ts'

/**
 * The first step that time asks for is also the claim: it is stored by compare-and-set, it takes the subscription off
 * the list of those that are due, and it leaves a lease (`repairAt`) after which a sweeper takes over. A worker that
 * is second leaves the subscription to the first.
 */
const advanceIfFirst = async (of: TenantScope, subscription: Subscription): Promise<unknown> => {
  const moved = afterTime(subscription, of.moment())
  if (!moved) return advanceSubscription(of, subscription.id)
  try {
    const claimed = await of.storage.subscriptions.replace(moved)
    return advanceSubscription(of, subscription.id, { known: claimed, firstNewBill: subscription.billsMade })
  } catch (error) {
    if (!isAppError(error, 'revision_conflict')) throw error
    return undefined
  }
}

/** Collections whose documents carry `repairAt`, in the order in which repairing them makes least double work. */
export const repairable = [
  'tenants',
  'webhookEvents',
  'payments',
  'subscriptions',
  'customers',
  'usageCounters',
  'customerGrants',
  'bundles',
  'tombstones',
  'eventLogs',
] as const
export type Repairable = (typeof repairable)[number]

const work: { [K in Repairable]: (of: TenantScope, document: Documents[K]) => Promise<unknown> } = {
  tenants: (of) => (of.tenant.ending ? finishEnding(of) : finishTenant(of)),
  webhookEvents: processWebhook,
  // Read anew: what was listed may be minutes old, and a provider is asked by what is in it before anything is written.
  payments: (of, payment) => resumePayment(of, payment.id),
  subscriptions: advanceIfFirst,
  customers: finishCustomer,
  usageCounters: tendCounters,
  customerGrants: announceGrants,
  bundles: rollOutBundle,
  tombstones: (of, tombstone) => forgetInFeed(of, tombstone),
  eventLogs: (of) => of.events.logs.rouse(of.tenantId),
}

/** Does what is due of one document. @throws whatever the work throws; a sweeper then tries again. */
export const doWork = async <K extends Repairable>(of: TenantScope, collection: K, document: Documents[K]): Promise<void> => {
  await work[collection](of, document)
}

/** The same for a document of any tenant. */
export const doWorkOfAny = async <K extends Repairable>(services: Services, collection: K, document: Documents[K]): Promise<void> =>
  doWork(tenantScope(services, await services.storage.tenants.get(keys.tenant(document.tenantId))), collection, document)
