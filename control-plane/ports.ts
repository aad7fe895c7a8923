/**
 * The ports that the control plane works with; `compose.ts` makes them, tests make their own. Business of a tenant has its
 * share of it: `tenant-scope.ts`.
 */
import type { Feed } from '../common/feed/feed.ts'
import type { Log } from '../common/log.ts'
import type { Events } from './events/events.ts'
import type { SidecarRegistry } from './observe/sidecars.ts'
import type { PspDirectory } from './payments/psp/psp.ts'
import type { AttemptOutcome } from './schemas/payment.ts'
import type { Tenant } from './schemas/tenant.ts'
import type { Sealing } from './storage/sealing.ts'
import type { Storage } from './storage/storage.ts'
import type { WorkTime } from './work-time.ts'

/** Hears what is worth counting. It changes nothing, and never throws. */
export interface PaymentObserver {
  /** The outcome of an attempt was stored. One that is not final is followed by another. */
  attempted(at: { tenant: Pick<Tenant, 'tenantId' | 'mode'>; account: string }, outcome: AttemptOutcome): void
}

export interface Services extends WorkTime {
  storage: Storage
  feed: Feed
  psps: PspDirectory
  /** Seals secrets at rest. */
  sealing: Sealing
  /** What sidecars have told of themselves. */
  sidecars: SidecarRegistry
  /** Webhooks that are applied while their sender waits. */
  webhooksInHand: { count: number }
  log: Log
  /** What has happened, told to the world. */
  events: Events
  paymentObserver?: PaymentObserver
  /** How long events of providers are kept, in days; 30 without. */
  webhookEventDays?: number
  /** How long it is kept what was used when, in days; 396 without. */
  usageHistoryDays?: number
}
