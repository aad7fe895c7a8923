/** Notices a peer that stands still: it does not begin, does not go on with a frame, or does not read. */
import { limits } from './limits.ts'

export class Watchdog {
  readonly #openedAtMs: number
  #hasBegun = false
  /** A frame or a header block has begun, and not ended. */
  #cutOffSinceMs: number | undefined
  /** The bytes that had been sent when it was last looked at, and since when that is all. */
  #sentBytes = 0
  #stuckSinceMs: number | undefined

  constructor(nowMs: number) {
    this.#openedAtMs = nowMs
  }

  /** The peer's SETTINGS have come. */
  begun(): void {
    this.#hasBegun = true
  }

  /** @param gotOn a frame has come to its end. @param isCutOff one has begun, or a header block. */
  read(gotOn: boolean, isCutOff: boolean, nowMs: number): void {
    if (gotOn) this.#cutOffSinceMs = undefined
    if (isCutOff) this.#cutOffSinceMs ??= nowMs
  }

  /** Called now and then. @param unsentBytes what waits for the peer to read. @param sentBytes what it has been sent in all. */
  standsStill(unsentBytes: number, sentBytes: number, nowMs: number): boolean {
    if (unsentBytes === 0) this.#stuckSinceMs = undefined
    else if (this.#stuckSinceMs === undefined || sentBytes !== this.#sentBytes) this.#stuckSinceMs = nowMs
    this.#sentBytes = sentBytes
    const isLate = (sinceMs: number | undefined) => sinceMs !== undefined && nowMs - sinceMs > limits.stallMs
    return isLate(this.#stuckSinceMs) || isLate(this.#cutOffSinceMs) || (!this.#hasBegun && isLate(this.#openedAtMs))
  }
}
