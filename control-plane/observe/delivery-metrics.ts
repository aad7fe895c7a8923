import type { EventSender } from '../events/sender.ts'
import type { Instruments } from './instruments.ts'

/** Outgoing webhooks, of the tenants that this process sends for. */
export const measureDeliveries = ({ read, readCounts }: Instruments, sender: EventSender): void => {
  readCounts('tollgate_deliveries_total', 'Attempts to deliver an event to a webhook endpoint, by outcome.', ['outcome'], () =>
    [...sender.stats().attempts].map(([outcome, value]) => ({ labels: { outcome }, value })),
  )
  read('tollgate_deliveries_waiting', 'Events that webhook endpoints have not been sent yet, summed over endpoints.', () => sender.stats().waiting)
  read('tollgate_webhook_endpoints_down', 'Webhook endpoints whose last attempts have all failed.', () => sender.stats().down)
}
