/** What the simulator has charged: the truth that Tollgate's books are compared with. */
import type { Tollgate } from './tollgate.ts'

export interface LedgerEntry {
  account: string
  reference: string
  amount: number
  currency: string
  status: string
}

export interface LedgerRefundEntry {
  reference: string
  chargeReference: string
  amount: number
}

export const ledgerOf = async (tollgate: Pick<Tollgate, 'simulator'>, tenantId: string): Promise<{ charges: LedgerEntry[]; refunds: LedgerRefundEntry[] }> =>
  (await (await fetch(`${tollgate.simulator}/v1/ledger/${encodeURIComponent(tenantId)}`)).json()) as { charges: LedgerEntry[]; refunds: LedgerRefundEntry[] }
