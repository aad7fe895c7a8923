/**
 * The only file that reads the system clock. Everything else is given a `Clock`, so that tests and sandbox
 * tenants can move time.
 */
export interface Clock {
  now(): Date
  nowMs(): number
}

export const systemClock: Clock = {
  now: () => new Date(),
  nowMs: () => Date.now(),
}
