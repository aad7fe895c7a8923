/** The part of a provider's events about an erased customer that is kept: that they came, when, and about which payment. */

import { isPseudonym } from '../../customers/pseudonym.ts'
import type { WebhookEvent } from '../../schemas/webhook-event.ts'
import { every } from '../../storage/every.ts'
import { update } from '../../storage/update.ts'
import type { TenantScope } from '../../tenant-scope.ts'

/** An event that is still to be applied keeps its content until it is. */
const eraseEvent = (of: TenantScope, event: WebhookEvent): Promise<WebhookEvent> =>
  update(
    of.storage.webhookEvents,
    event._id,
    (latest) => {
      if (latest.erasedAt || !latest.appliedAt) return undefined
      const { rawBody: _, charge: __, refund: ___, dispute: ____, ...kept } = latest
      return { ...kept, erasedAt: of.clock.now() }
    },
    event,
  )

/** Erases all events of one request: a provider may send several in one body, and each is stored with the whole body. */
const eraseTogether = async (of: TenantScope, event: WebhookEvent): Promise<void> => {
  const { tenantId, account, createdAt, rawBody } = event
  const where = { tenantId, account }
  for await (const other of every(of.storage.webhookEvents, where, { from: createdAt })) {
    if (other.createdAt > createdAt) return
    if (other.rawBody === rawBody) await eraseEvent(of, other)
  }
}

/** Every event of a payment; harmless to repeat. */
export const eraseEventsOf = async (of: TenantScope, paymentId: string): Promise<void> => {
  for await (const event of every(of.storage.webhookEvents, { tenantId: of.tenantId, paymentId })) if (!event.erasedAt) await eraseTogether(of, event)
}

/**
 * Erases an event that was just applied, if its customer was erased. An erasure renames a payment before it looks for its
 * events, and an event is stored as applied before this looks at its payment: one of them sees the other.
 */
export const eraseIfErased = async (of: TenantScope, event: WebhookEvent): Promise<void> => {
  if (!event.paymentId) return
  const payment = await of.storage.payments.find(of.keys.payment(event.paymentId))
  if (payment && isPseudonym(payment.customerId)) await eraseTogether(of, event)
}
