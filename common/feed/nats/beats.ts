/** Beats, each of which counts once everything that was stored before it has been delivered. */

/** There is one a second from each control plane; more wait only while nothing is delivered, and say no more then. */
const MAX_WAITING = 64

export class Beats {
  #waiting: { sequence: number; atMs: number }[] = []

  /** @param sequence of the stream, when it was `atMs`. */
  add(sequence: number, atMs: number): void {
    if (this.#waiting.length < MAX_WAITING) this.#waiting.push({ sequence, atMs })
  }

  /** Takes those that count by now. @returns when the latest of them was; undefined when there is none. */
  take(deliveredTo: number): number | undefined {
    if (this.#waiting.length === 0) return undefined
    const counting = this.#waiting.filter(({ sequence }) => sequence <= deliveredTo)
    this.#waiting = this.#waiting.filter(({ sequence }) => sequence > deliveredTo)
    return counting.length === 0 ? undefined : Math.max(...counting.map(({ atMs }) => atMs))
  }

  clear(): void {
    this.#waiting = []
  }
}
