/** Which adapter serves which PSP account of which tenant. */
import type { PspAccount } from '../../schemas/psp-account.ts'
import type { Tenant } from '../../schemas/tenant.ts'
import type { Psp } from './psp.ts'

export interface PspDirectory {
  /** No call to a PSP takes longer. */
  timeoutMs: number
  /**
   * @param account undefined when the tenant has stored none under this id. A sandbox tenant needs none: the
   *   simulator stands in for every provider.
   * @returns the adapter, or why the account cannot be used.
   */
  open(tenant: Tenant, accountId: string, account: PspAccount | undefined): { psp: Psp } | { unusable: string }
  /** What stands in for the providers of sandbox tenants follows their clocks; absent where it has no time of its own. */
  sandbox?: SandboxTime
}

export interface SandboxTime {
  /** When, by the tenant's clock, something happens next; undefined when nothing will. */
  nextEvent(tenantId: string): Promise<Date | undefined>
  /** It is now so late for the tenant. Resolves when everything that is due by then has been told. */
  moveTo(tenantId: string, now: Date): Promise<void>
}

export type SimulatorAccess = (options: { tenantId: string; accountId: string; webhookSecret: string | undefined; testNow: Date | undefined }) => Psp

export const createPspDirectory = (simulator: SimulatorAccess, sandbox: SandboxTime, timeoutMs: number): PspDirectory => ({
  timeoutMs,
  sandbox,
  open: (tenant, accountId, account) => {
    const at = { tenantId: tenant.tenantId, accountId }
    if (tenant.mode === 'sandbox') return { psp: simulator({ ...at, webhookSecret: undefined, testNow: tenant.testNow ?? undefined }) }
    if (!account) return { unusable: 'no such account' }
    if (account.provider === 'simulator') return { psp: simulator({ ...at, webhookSecret: account.webhookSecret ?? undefined, testNow: undefined }) }
    return { unusable: `provider ${account.provider} is not supported by this version` }
  },
})
