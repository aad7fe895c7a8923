/**
 * What to do with a document that is due, for each collection that can be. All of it may be done twice, by several
 * processes at once, or again after a crash.
 */
import { finishTenant } from '../catalog/tenants.ts'
import { announceCustomer } from '../customers/customers.ts'
import { announceUsage } from '../entitlements/report-usage.ts'
import { keys } from '../keys.ts'
import { applyWebhook, markApplied } from '../payments/receive-webhook.ts'
import type { Documents } from '../schemas/index.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { WebhookEvent } from '../schemas/webhook-event.ts'
import type { Services } from '../services.ts'
import { advanceSubscription } from '../subscriptions/advance-subscription.ts'
import { resumePayment } from '../subscriptions/resume-payment.ts'

const tenantOf = (services: Services, tenantId: string): Promise<Tenant> => services.storage.tenants.get(keys.tenant(tenantId))

/** Applies a stored event and takes its payment and subscription further. */
export const processWebhook = async (services: Services, tenant: Tenant, event: WebhookEvent): Promise<void> => {
  const paymentId = await applyWebhook(services, tenant, event)
  if (paymentId) await resumePayment(services, tenant, paymentId)
  await markApplied(services, event)
}

/** Collections whose documents carry `repairAt`, in the order in which repairing them makes least double work. */
export const repairable = ['tenants', 'webhookEvents', 'payments', 'subscriptions', 'customers', 'usageCounters'] as const
export type Repairable = (typeof repairable)[number]

const work: { [K in Repairable]: (services: Services, tenant: Tenant, document: Documents[K]) => Promise<unknown> } = {
  tenants: finishTenant,
  webhookEvents: processWebhook,
  payments: (services, tenant, payment) => resumePayment(services, tenant, payment.id),
  subscriptions: (services, tenant, subscription) => advanceSubscription(services, tenant, subscription.id),
  customers: announceCustomer,
  usageCounters: announceUsage,
}

export const doWork = async <K extends Repairable>(services: Services, collection: K, document: Documents[K]): Promise<void> => {
  await work[collection](services, await tenantOf(services, document.tenantId), document)
}
