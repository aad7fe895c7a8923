/** What the simulator has charged, given back and lost: the truth that Tollgate's books are compared with. */
import type { Tollgate } from './tollgate.ts'

export interface LedgerEntry {
  account: string
  reference: string
  amount: number
  currency: string
  status: string
  /** Whether the customer was said to be away. */
  offSession?: boolean
}

export interface LedgerRefundEntry {
  reference: string
  chargeReference: string
  amount: number
  /** `pending`, `succeeded` or `failed`. */
  status: string
}

export interface LedgerDisputeEntry {
  chargeReference: string
  amount: number
  /** `open`, `won` or `lost`. */
  status: string
}

export interface SimulatorLedger {
  charges: LedgerEntry[]
  refunds: LedgerRefundEntry[]
  disputes: LedgerDisputeEntry[]
}

export const ledgerOf = async (tollgate: Pick<Tollgate, 'simulator'>, tenantId: string): Promise<SimulatorLedger> =>
  (await (await fetch(`${tollgate.simulator}/v1/ledger/${encodeURIComponent(tenantId)}`)).json()) as SimulatorLedger
