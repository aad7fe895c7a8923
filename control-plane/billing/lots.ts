/**
 * An amount of money by the payment that it came with; lists of lots have the oldest first. A payment's money lies in the
 * period that it pays, and what is left of it when that period is left early in the credit; when it goes back to the customer
 * it has to be found again, wherever it is by then.
 */
export interface Lot {
  paymentId: string
  amountMinor: number
}

/** More than lie anywhere at once; of the oldest beyond it only the amount is remembered, with the next one's. */
const MAX_LOTS = 50

export const sumOf = (lots: readonly Lot[] | undefined): number => (lots ?? []).reduce((sum, { amountMinor }) => sum + amountMinor, 0)

export const ofPayment = (lots: readonly Lot[] | undefined, paymentId: string): number => sumOf(lots?.filter((lot) => lot.paymentId === paymentId))

/** All of them, each payment once. */
export const joined = (...all: (readonly Lot[] | undefined)[]): Lot[] => {
  const byPayment = new Map<string, Lot>()
  for (const lot of all.flatMap((lots) => lots ?? [])) {
    const amountMinor = (byPayment.get(lot.paymentId)?.amountMinor ?? 0) + lot.amountMinor
    if (lot.amountMinor > 0) byPayment.set(lot.paymentId, { ...lot, amountMinor })
  }
  const lots = [...byPayment.values()]
  const [kept, beyond] = [lots.slice(-MAX_LOTS), sumOf(lots.slice(0, -MAX_LOTS))]
  return kept.map((lot, n) => (n === 0 ? { ...lot, amountMinor: lot.amountMinor + beyond } : lot))
}

/** So much of them, the oldest first, and what is left. */
export const takenOldest = (lots: readonly Lot[] | undefined, amountMinor: number): { taken: Lot[]; left: Lot[] } => {
  let wanted = amountMinor
  const taken: Lot[] = []
  const left: Lot[] = []
  for (const lot of lots ?? []) {
    const part = Math.max(0, Math.min(wanted, lot.amountMinor))
    wanted -= part
    taken.push({ ...lot, amountMinor: part })
    left.push({ ...lot, amountMinor: lot.amountMinor - part })
  }
  return { taken: joined(taken), left: joined(left) }
}

/** The same, the newest first: what was paid last is used last. */
export const takenNewest = (lots: readonly Lot[] | undefined, amountMinor: number): { taken: Lot[]; left: Lot[] } => {
  const { taken, left } = takenOldest((lots ?? []).toReversed(), amountMinor)
  return { taken: taken.toReversed(), left: left.toReversed() }
}

/** Less so much of one payment's. */
export const without = (lots: readonly Lot[] | undefined, paymentId: string, amountMinor: number): Lot[] =>
  joined((lots ?? []).map((lot) => (lot.paymentId === paymentId ? { ...lot, amountMinor: lot.amountMinor - amountMinor } : lot)))
