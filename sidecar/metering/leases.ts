/** The units of one quota that a sidecar has been lent: free, kept for a reservation, or spent. Totals only grow. */

export interface Held {
  id: string
  lent: number
  spent: number
  /** Kept for reservations. */
  kept: number
  /** What of `spent` the ledger has been told of, and has answered. */
  reported: number
  untilMs: number
}

/** Units of one lease that belong to a reservation. */
export interface LeasePart {
  lease: string
  units: number
}

const freeOf = ({ lent, spent, kept }: Held): number => lent - spent - kept

export const unitsOf = (parts: readonly LeasePart[]): number => parts.reduce((sum, { units }) => sum + units, 0)

export class Leases {
  #held: Held[] = []

  all(): readonly Readonly<Held>[] {
    return this.#held
  }

  #sum(of: (held: Held) => number): number {
    let sum = 0
    for (const held of this.#held) sum += of(held)
    return sum
  }

  /** What can be spent at once. @param runsBeyondMs only leases whose window ends later. */
  free(runsBeyondMs = Number.NEGATIVE_INFINITY): number {
    let units = 0
    for (const held of this.#held) if (held.untilMs > runsBeyondMs) units += freeOf(held)
    return units
  }

  /** What was spent since the ledger answered. */
  unreported(): number {
    return this.#sum(({ spent, reported }) => spent - reported)
  }

  get isReported(): boolean {
    return this.#held.every(({ spent, reported }) => spent === reported)
  }

  get isSpent(): boolean {
    return this.#held.every(({ lent, spent }) => lent === spent)
  }

  /** @returns where the units were taken from; undefined, and nothing is taken, where there are not so many. */
  #take(amount: number, runsBeyondMs: number, to: 'spent' | 'kept'): LeasePart[] | undefined {
    if (this.free(runsBeyondMs) < amount) return undefined
    const parts: LeasePart[] = []
    let left = amount
    for (const held of this.#held) {
      const units = held.untilMs > runsBeyondMs ? Math.min(left, freeOf(held)) : 0
      if (units === 0) continue
      held[to] += units
      left -= units
      parts.push({ lease: held.id, units })
    }
    return parts
  }

  spend(amount: number, runsBeyondMs: number): boolean {
    return this.#take(amount, runsBeyondMs, 'spent') !== undefined
  }

  keep(amount: number, runsBeyondMs: number): LeasePart[] | undefined {
    return this.#take(amount, runsBeyondMs, 'kept')
  }

  /** Ends a reservation: so many of its units are spent, and the rest is free. Those of a lease whose window is over stay used there. */
  settle(parts: readonly LeasePart[], spent: number): void {
    let left = spent
    for (const { lease, units } of parts) {
      const used = Math.min(left, units)
      left -= used
      const held = this.#held.find(({ id }) => id === lease)
      if (!held) continue
      held.kept -= units
      held.spent += used
    }
  }

  /** What is free is no longer lent. @returns whether there was any. */
  giveBack(): boolean {
    const gives = this.free() > 0
    for (const held of this.#held) held.lent = held.spent + held.kept
    return gives
  }

  /** The leases as the ledger has them. @param told what each was said to have spent in the question that is answered. */
  replace(leases: readonly { id: string; lent: number; spent: number; untilMs: number }[], told: ReadonlyMap<string, number>): void {
    this.#held = leases.map(({ id, lent, spent, untilMs }) => {
      const known = this.#held.find((one) => one.id === id)
      const reported = Math.max(spent, told.get(id) ?? 0)
      // A journal may say more than was ever lent: units that went back before the crash.
      return { id, lent, untilMs, spent: Math.min(lent, Math.max(reported, known?.spent ?? 0)), kept: known?.kept ?? 0, reported: Math.min(lent, reported) }
    })
  }

  /** As a journal has them: nothing of them is free. */
  restore(leases: readonly { id: string; spent: number; untilMs: number }[], kept: readonly LeasePart[]): void {
    this.#held = leases.map(({ id, spent, untilMs }) => {
      const units = unitsOf(kept.filter(({ lease }) => lease === id))
      return { id, lent: spent + units, spent, kept: units, reported: 0, untilMs }
    })
  }
}
