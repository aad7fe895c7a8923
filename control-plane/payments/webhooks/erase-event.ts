/** What is kept of a provider's events about a customer that was erased: that they came, when, and of which payment. */

import { isPseudonym } from '../../customers/pseudonym.ts'
import { keys } from '../../keys.ts'
import type { WebhookEvent } from '../../schemas/webhook-event.ts'
import type { Services } from '../../services.ts'
import { every } from '../../storage/every.ts'
import { update } from '../../storage/update.ts'

/** One that is still to be applied keeps what it says until it is. */
const eraseEvent = (services: Services, event: WebhookEvent): Promise<WebhookEvent> =>
  update(
    services.storage.webhookEvents,
    event._id,
    (latest) => {
      if (latest.erasedAt || !latest.appliedAt) return undefined
      const { rawBody: _, charge: __, refund: ___, dispute: ____, ...kept } = latest
      return { ...kept, erasedAt: services.clock.now() }
    },
    event,
  )

/** Of one request: a provider may send several events in one body, each of which was stored with all of it. */
const eraseTogether = async (services: Services, event: WebhookEvent): Promise<void> => {
  const { tenantId, account, createdAt, rawBody } = event
  const where = { tenantId, account }
  for await (const other of every(services.storage.webhookEvents, where, { from: createdAt })) {
    if (other.createdAt > createdAt) return
    if (other.rawBody === rawBody) await eraseEvent(services, other)
  }
}

/** Every event of a payment; harmless to repeat. */
export const eraseEventsOf = async (services: Services, tenantId: string, paymentId: string): Promise<void> => {
  for await (const event of every(services.storage.webhookEvents, { tenantId, paymentId })) if (!event.erasedAt) await eraseTogether(services, event)
}

/**
 * Of an event that was just applied. An erasure renames a payment before it looks for its events, and an event is stored
 * as applied before this looks at its payment: one of them sees the other.
 */
export const eraseIfErased = async (services: Services, event: WebhookEvent): Promise<void> => {
  if (!event.paymentId) return
  const payment = await services.storage.payments.find(keys.payment(event.tenantId, event.paymentId))
  if (payment && isPseudonym(payment.customerId)) await eraseTogether(services, event)
}
