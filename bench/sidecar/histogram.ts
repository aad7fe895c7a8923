/** Microseconds, to within one part in 64: buckets that grow with the value. */
export class Histogram {
  readonly #counts = new Float64Array(64 * 32)
  #total = 0
  max = 0

  add(us: number): void {
    const value = Math.max(1, us)
    const power = Math.floor(Math.log2(value))
    const index = Math.min(this.#counts.length - 1, power * 64 + Math.floor((value / 2 ** power - 1) * 64))
    this.#counts[index] = (this.#counts[index] as number) + 1
    this.#total += 1
    if (us > this.max) this.max = us
  }

  /** @param share 0.99 for the 99th percentile. */
  at(share: number): number {
    let below = 0
    for (const [index, count] of this.#counts.entries()) {
      below += count
      if (below >= share * this.#total) return 2 ** Math.floor(index / 64) * (1 + ((index % 64) + 1) / 64)
    }
    return this.max
  }
}
