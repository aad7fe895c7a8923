/** The two times that work goes by: a tenant's, for its business, and the system's, for who finishes what was begun. */
import type { Clock } from '../common/clock.ts'
import type { Tenant } from './schemas/tenant.ts'

/** A decision's two times. */
export interface Moment {
  /** Business time: the tenant's. */
  now: Date
  /** System time: when a sweeper takes over what this process may not finish. */
  repairAt: Date
}

/** The leases of this process. */
export interface WorkTime {
  clock: Clock
  /** The milliseconds that begun work may take before a sweeper takes it over; by default, as long as a request may. */
  leaseMs?: number
}

/** The time that governs a tenant's business: the system's, or a sandbox tenant's own. */
export const tenantNow = ({ clock }: Pick<WorkTime, 'clock'>, tenant: Pick<Tenant, 'mode' | 'testNow'>): Date =>
  tenant.mode === 'sandbox' && tenant.testNow ? tenant.testNow : clock.now()

/** The `clock` field of a tenant's documents. */
export const clockOf = (tenant: Pick<Tenant, '_id' | 'tenantId' | 'mode'>): string => (tenant.mode === 'sandbox' ? tenant.tenantId : 'system')

/**
 * How long a request may take to finish what it began before a sweeper takes over. Every step may be repeated, so
 * this is not about safety: it is short because it is how long a crash leaves a customer waiting.
 */
const REPAIR_AFTER_MS = 5_000

export const repairTime = ({ clock, leaseMs = REPAIR_AFTER_MS }: WorkTime): Date => new Date(clock.nowMs() + leaseMs)

/** The repair time of an attempt that has been sent: its PSP's answer is waited for first. */
export const attemptRepairTime = (time: WorkTime, pspTimeoutMs: number): Date => new Date(repairTime(time).getTime() + pspTimeoutMs)
