import type { settlementKinds } from '../../schemas/payment.ts'

/** A line of a settlement report, whatever it came from. Amounts are minor units, signed: what each adds to the payout. */
export interface SettlementLine {
  kind: (typeof settlementKinds)[number]
  /** Ours: of the attempt, or of the refund. */
  reference: string | undefined
  grossMinor: number
  /** The provider's share; above zero as a rule. */
  feeMinor: number
  netMinor: number
  /** The payout's currency, which all amounts are in, and which may not be the payment's. */
  currency: string
  settledAt: Date | undefined
}
