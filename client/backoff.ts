/** Waiting before something is tried again: longer each time, and by chance, so that clients of one sidecar do not all come back at once. */
const FIRST_MS = 100
const LONGEST_MS = 5_000

export interface Backoff {
  /** How long to wait now. */
  nextMs(): number
  reset(): void
}

export const createBackoff = (): Backoff => {
  let tries = 0
  return {
    nextMs: () => {
      const most = Math.min(LONGEST_MS, FIRST_MS * 2 ** tries)
      tries += 1
      return most / 2 + (Math.random() * most) / 2
    },
    reset: () => {
      tries = 0
    },
  }
}
