/** What commands work with; `compose.ts` makes it, tests make their own. */
import type { Clock } from '../common/clock.ts'
import type { Feed } from '../common/feed/feed.ts'
import type { Log } from '../common/log.ts'
import type { Sealing } from './access/sealing.ts'
import type { PspDirectory } from './payments/psp/directory.ts'
import type { Tenant } from './schemas/tenant.ts'
import type { Storage } from './storage/storage.ts'

export interface Services {
  storage: Storage
  feed: Feed
  psps: PspDirectory
  /** Of secrets at rest. */
  sealing: Sealing
  /** Webhooks that are applied while their sender waits. */
  webhooksInHand: { count: number }
  /** System time: for repair, leases and keys. Business goes by `tenantNow`. */
  clock: Clock
  log: Log
  /** How long what is begun may take before a sweeper takes it over, in milliseconds; without, as long as a request may. */
  leaseMs?: number
  /** How long events of providers are kept, in days; 30 without. */
  webhookEventDays?: number
}

/** The time that governs a tenant's business: the system's, or a sandbox tenant's own. */
export const tenantNow = (services: Pick<Services, 'clock'>, tenant: Pick<Tenant, 'mode' | 'testNow'>): Date =>
  tenant.mode === 'sandbox' && tenant.testNow ? tenant.testNow : services.clock.now()

/** The `clock` field of a tenant's documents. */
export const clockOf = (tenant: Pick<Tenant, '_id' | 'tenantId' | 'mode'>): string => (tenant.mode === 'sandbox' ? tenant.tenantId : 'system')

/**
 * How long a request may take to finish what it began before a sweeper takes over. Every step may be repeated, so
 * this is not about safety: it is short because it is how long a crash leaves a customer waiting.
 */
const REPAIR_AFTER_MS = 5_000

/** For an attempt that has been sent: its PSP's answer is waited for first. */
export const attemptRepairTime = (services: Pick<Services, 'clock' | 'leaseMs'>, pspTimeoutMs: number): Date =>
  new Date(repairTime(services).getTime() + pspTimeoutMs)

export const repairTime = ({ clock, leaseMs = REPAIR_AFTER_MS }: Pick<Services, 'clock' | 'leaseMs'>): Date => new Date(clock.nowMs() + leaseMs)
