/**
 * The ports and ids that business of one tenant works with. It has the tenant's own ids and documents, and no way to
 * another's: `keys` are asked without a tenant, and every collection throws on a document, an id or a filter that is not the
 * tenant's.
 */
import type { OwnKeys } from './keys.ts'
import { ownKeysOf } from './keys.ts'
import type { PspAccess, SandboxTime } from './payments/psp/psp.ts'
import type { Services } from './ports.ts'
import type { PspAccount } from './schemas/psp-account.ts'
import type { Tenant } from './schemas/tenant.ts'
import { type OwnCollections, ownCollections } from './storage/own-collections.ts'
import { attemptRepairTime, type Moment, repairTime, tenantNow } from './work-time.ts'

export interface TenantScope
  extends Pick<Services, 'feed' | 'sealing' | 'clock' | 'log' | 'events' | 'webhooksInHand' | 'paymentObserver' | 'webhookEventDays' | 'usageHistoryDays'> {
  readonly tenant: Tenant
  readonly tenantId: string
  readonly keys: OwnKeys
  readonly storage: OwnCollections
  /** Business time: the tenant's. */
  now(): Date
  moment(): Moment
  /** The time at which a sweeper takes over what is begun now. */
  repairAt(): Date
  /** The same for an attempt that has been sent: its PSP's answer is waited for first. */
  attemptRepairAt(pspTimeoutMs: number): Date
  /** @param account undefined when the tenant has stored none under this id. */
  openPsp(accountId: string, account: PspAccount | undefined): PspAccess
  /** The time of the simulator that stands in for providers in a sandbox. */
  readonly sandboxTime: SandboxTime | undefined
  /** The same with the tenant's document as it is by now. @throws Error when it is another tenant's. */
  as(latest: Tenant): TenantScope
}

/** @param tenant as it was read: its time is that of its test clock by then. */
export const tenantScope = (services: Services, tenant: Tenant): TenantScope => {
  const { feed, sealing, clock, log, events, webhooksInHand, paymentObserver, webhookEventDays, usageHistoryDays, psps } = services
  const now = () => tenantNow(services, tenant)
  const repairAt = () => repairTime(services)
  return {
    feed,
    sealing,
    clock,
    log,
    events,
    webhooksInHand,
    ...(paymentObserver === undefined ? {} : { paymentObserver }),
    ...(webhookEventDays === undefined ? {} : { webhookEventDays }),
    ...(usageHistoryDays === undefined ? {} : { usageHistoryDays }),
    tenant,
    tenantId: tenant.tenantId,
    keys: ownKeysOf(tenant.tenantId),
    storage: ownCollections(services.storage, tenant.tenantId),
    now,
    moment: () => ({ now: now(), repairAt: repairAt() }),
    repairAt,
    attemptRepairAt: (pspTimeoutMs) => attemptRepairTime(services, pspTimeoutMs),
    openPsp: (accountId, account) => psps.open(tenant, accountId, account),
    sandboxTime: psps.sandbox,
    as: (latest) => {
      if (latest.tenantId !== tenant.tenantId) throw new Error(`${latest.tenantId} is not the tenant ${tenant.tenantId}`)
      return tenantScope(services, latest)
    },
  }
}
