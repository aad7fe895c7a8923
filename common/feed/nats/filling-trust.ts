/** Which filling of the bucket a watch goes by, and whether it is complete. */
import type { BucketState } from './state.ts'

/** So long control planes may take to see what a watch has seen. */
const DISTRUST_MS = 30_000

export class FillingTrust {
  /** Of what was read: undefined before it was complete for the first time. */
  #epoch: string | undefined
  #isComplete = false
  /** A filling of which the stream has lost what came last: control planes see that too, and fill it anew. */
  #distrusted: { epoch: string; sinceMs: number } | undefined

  get isComplete(): boolean {
    return this.#isComplete
  }

  /**
   * The bucket says this of itself. @returns the state that counts, and what is new: it was `refilled`, so that everything read before is
   * to be forgotten, or is complete no more (`lost`).
   */
  apply(said: BucketState | undefined): { state: BucketState | undefined; news: 'refilled' | 'lost' | undefined } {
    const state = said && said.epoch === this.#distrusted?.epoch ? undefined : said
    const wasComplete = this.#isComplete
    this.#isComplete = state?.isComplete === true
    if (!state || !this.#isComplete) return { state, news: wasComplete ? 'lost' : undefined }
    const isRefilled = this.#epoch !== undefined && this.#epoch !== state.epoch
    this.#epoch = state.epoch
    return { state, news: isRefilled ? 'refilled' : undefined }
  }

  /** The stream has lost what came last, or is another one. */
  distrust(nowMs: number): void {
    this.#distrusted = this.#epoch === undefined ? undefined : { epoch: this.#epoch, sinceMs: nowMs }
  }

  /**
   * To be called now and then. @returns whether the distrusted filling has to be believed after all, since nobody has noticed: what the
   * bucket says is to be applied once more, and counts as another filling.
   */
  mustBelieve(nowMs: number): boolean {
    if (this.#distrusted?.epoch !== this.#epoch) this.#distrusted = undefined
    if (!this.#distrusted || nowMs - this.#distrusted.sinceMs <= DISTRUST_MS) return false
    this.#distrusted = undefined
    this.#epoch = ''
    return true
  }
}
