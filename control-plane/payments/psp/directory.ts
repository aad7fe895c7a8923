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
}

export type SimulatorAccess = (options: { tenantId: string; accountId: string; webhookSecret: string | undefined }) => Psp

export const createPspDirectory = (simulator: SimulatorAccess, timeoutMs: number): PspDirectory => ({
  timeoutMs,
  open: (tenant, accountId, account) => {
    const at = { tenantId: tenant.tenantId, accountId }
    if (tenant.mode === 'sandbox') return { psp: simulator({ ...at, webhookSecret: undefined }) }
    if (!account) return { unusable: 'no such account' }
    if (account.provider === 'simulator') return { psp: simulator({ ...at, webhookSecret: account.webhookSecret ?? undefined }) }
    return { unusable: `provider ${account.provider} is not supported by this version` }
  },
})
