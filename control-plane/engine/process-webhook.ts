/** A webhook from its inbox to the end of what follows from it: its payment, and the subscription that owes it. */
import { applyEvent, markApplied, markFailed } from '../payments/webhooks/apply-event.ts'
import { eraseIfErased } from '../payments/webhooks/erase-event.ts'
import type { WebhookEvent } from '../schemas/webhook-event.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { advancePayment } from './advance-payment.ts'

/** Applies a stored event and takes its payment and subscription further. */
export const processWebhook = async (of: TenantScope, event: WebhookEvent): Promise<void> => {
  if (event.appliedAt) return
  try {
    const applied = await applyEvent(of, event)
    if (applied.payment) await advancePayment(of, applied.payment)
    await eraseIfErased(of, await markApplied(of, event, applied))
  } catch (error) {
    await markFailed(of, event, 'the provider could not be asked, or Tollgate failed; it will be retried')
    throw error
  }
}

/** So many senders wait for their events to be applied; in a burst the worker applies the others, and they are answered at once. */
const MAX_IN_HAND = 4

/**
 * Processes a stored event, which will be applied whatever happens now. A sandbox's simulator is always waited for, since its
 * time stands still meanwhile.
 */
export const processWhileWaiting = async (of: TenantScope, event: WebhookEvent): Promise<void> => {
  const { webhooksInHand, log } = of
  if (webhooksInHand.count >= MAX_IN_HAND && of.tenant.mode === 'live') return
  webhooksInHand.count += 1
  try {
    await processWebhook(of, event)
  } catch (error) {
    if (of.tenant.mode === 'sandbox') throw error
    log.warn({ err: error, event: event._id }, 'a webhook could not be applied; the worker will try it again')
  } finally {
    webhooksInHand.count -= 1
  }
}
