/** What the test double has counted of one entitlement of one customer: each use by itself, as long as it counts. */

export interface FakeUse {
  amount: number
  /** Who occupies a place of a capacity. */
  holder: string | undefined
  /** The end of a quota's period, of a holder's time, or of a reservation; undefined for none. */
  untilMs: number | undefined
  /** The end of the quota's period in which it was made. */
  periodEndMs: number | undefined
  /** It is kept for a commit: nobody else gets it, and it does not show as used. */
  isReserved: boolean
}

export interface FakeCounts {
  used(nowMs: number): number
  reserved(nowMs: number): number
  add(use: FakeUse): void
  /** The uses that still count. */
  current(nowMs: number): FakeUse[]
  remove(uses: readonly FakeUse[]): void
}

export const createFakeCounts = (): FakeCounts => {
  let uses: FakeUse[] = []
  const current = (nowMs: number) => {
    uses = uses.filter(({ untilMs }) => untilMs === undefined || nowMs < untilMs)
    return uses
  }
  const sum = (nowMs: number, isReserved: boolean) => current(nowMs).reduce((total, use) => (use.isReserved === isReserved ? total + use.amount : total), 0)
  return {
    used: (nowMs) => sum(nowMs, false),
    reserved: (nowMs) => sum(nowMs, true),
    add: (use) => void uses.push(use),
    current,
    remove: (gone) => {
      uses = uses.filter((use) => !gone.includes(use))
    },
  }
}
