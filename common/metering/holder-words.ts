/** What a sidecar and the ledger of a capacity say to each other: who occupies places of it. */
import type { CustomerKey } from '../entitlements/model.ts'

export interface HolderQuestion {
  customer: CustomerKey
  entitlement: string
  /** The same for a repeat of the same question. */
  id: string
  /**
   * `acquire`: places are occupied, if there are so many. `settle`: the holder occupies `amount` from now on, whatever the limit
   * says, for it has happened; without a time. `release`: they are given back.
   */
  act: 'acquire' | 'settle' | 'release'
  /** Empty: nobody is named, and places are only counted. */
  holder: string
  /** `release`: 0 is all that the holder has. */
  amount: number
  /** `settle`: who occupies then; empty: nobody is named. */
  heir?: string
  /** After so long it is released. 0: it stays. */
  ttlMs: number
}

export interface HolderAnswer {
  /** `repeat`: the holder had it already. `other_amount`: it has another amount. `too_many`: no more holders can be kept. */
  outcome: 'granted' | 'repeat' | 'refused' | 'other_amount' | 'too_many'
  /** What is occupied now. */
  used: number
  /** Null: unlimited. */
  limit: number | null
}
