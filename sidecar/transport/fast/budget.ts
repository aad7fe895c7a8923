/** So many at once, and so many a second: what a peer may do that costs us more than it. */
export class Budget {
  readonly #burst: number
  readonly #perMs: number
  #left: number
  #atMs: number

  constructor({ burst, perSecond }: { burst: number; perSecond: number }, nowMs: number) {
    this.#burst = burst
    this.#perMs = perSecond / 1000
    this.#left = burst
    this.#atMs = nowMs
  }

  /** @param nowMs of a clock that may be set back. @returns false when it is used up. */
  spend(nowMs: number): boolean {
    this.#left = Math.min(this.#burst, this.#left + Math.max(0, nowMs - this.#atMs) * this.#perMs) - 1
    this.#atMs = nowMs
    return this.#left >= 0
  }
}
