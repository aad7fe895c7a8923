/** What a sidecar and the ledger of a quota say to each other. Numbers of units are totals since a lease began. */

/** A lease as its sidecar sees it. */
export interface LeaseUse {
  lease: string
  /** What was spent of it in all. */
  spent: number
  /** What will be spent of it in all at most. */
  upTo: number
}

/** A use that no lease covers: it has happened, and is counted whatever the limit says. */
export interface LaterUse {
  /** Grows from one to the next, of a sidecar and quota. */
  seq: number
  amount: number
  /** When it was allowed, in the customer's time. */
  atMs: number
}

export interface LedgerQuestion {
  /** Grows with every question of a sidecar about the quota; a repeat has the same. */
  seq: number
  /** Less than this is of no use to any use that waits. */
  least: number
  /** What all uses that wait need. */
  need: number
  /** What will be spent soon, beside it. */
  want: number
  /** Every lease that the sidecar knows of: any other was never heard of there, and never will be spent. */
  uses: readonly LeaseUse[]
  /** In the order of `seq`; each until an answer says that it is counted. */
  laterUses: readonly LaterUse[]
}

export interface LedgerAnswer {
  /** Of the question. */
  seq: number
  /** All that the sidecar holds of the quota; `untilMs` in the customer's time. */
  leases: { id: string; lent: number; spent: number; untilMs: number }[]
  /** Null: unlimited. */
  limit: number | null
  /** What all have spent, as far as it is known. */
  used: number
  /** What nobody has spent, nor holds a lease on. */
  free: number
  /** Units of other sidecars' leases that may still come back. */
  recallable: number
  /** Others wait for units: what is not needed now is to be given back. */
  recall: boolean
  /** When the first window ends, in the customer's time. */
  resetsAtMs: number | undefined
  /** `seq` of the last later use that is counted; those before it are, too. */
  laterUses: number
  /** The count that `used` is of: of two, the higher is the later. */
  usageSeq: number
}
