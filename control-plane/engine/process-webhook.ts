/** A webhook from its inbox to the end of what follows from it: its payment, and the subscription that owes it. */
import { applyEvent, markApplied, markFailed } from '../payments/webhooks/apply-event.ts'
import { eraseIfErased } from '../payments/webhooks/erase-event.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { WebhookEvent } from '../schemas/webhook-event.ts'
import type { Services } from '../services.ts'
import { advancePayment } from './advance-payment.ts'

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
