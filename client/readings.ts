/**
 * How much is used of what a customer was asked about, where the sidecar has said more than the customer's set does: uses are
 * counted at once, and reach the set later.
 */
import type { Decision } from '../common/entitlements/decide.ts'
import type { Decided } from './answer.ts'

interface Reading {
  used: number
  resetsAtMs: number
  revision: number
  /** Of the clock that only goes forward. */
  atMs: number
}

/** Others may have used more since. Then the sidecar is asked. */
const HOLDS_MS = 1_000
/** As long as so much of a limit is left, a second's uses by others do not matter. */
const CLOSE_TO_LIMIT = 0.1

export interface Readings {
  readonly size: number
  /** The sidecar has answered; without an answer, it has counted something that memory does not know. */
  hear(entitlement: string, answer: Decided | undefined): void
  /**
   * What memory decided, with what the sidecar has said since.
   * @param revision of the set that decided. @returns undefined if the sidecar has to be asked.
   */
  show(entitlement: string, amount: number, decision: Decision, from: { revision: number; nowMs: number }): Decision | undefined
}

/** If less is left than is asked for, the sidecar is asked: so whether it is allowed does not change. */
const withReading = (before: Decision, { used, resetsAtMs }: Reading): Decision => {
  const decision = { ...before, used, resetsAtMs: before.kind === 'quota' ? resetsAtMs : undefined }
  if (decision.limit === undefined) return decision
  return { ...decision, remaining: Math.max(0, decision.limit - used) }
}

export const createReadings = (monotonicMs: () => number = () => performance.now()): Readings => {
  const readings = new Map<string, Reading>()
  return {
    get size() {
      return readings.size
    },
    hear: (entitlement, answer) => {
      const atMs = monotonicMs()
      const before = readings.get(entitlement)
      if (!answer) {
        readings.set(entitlement, { used: Number.POSITIVE_INFINITY, resetsAtMs: Number.POSITIVE_INFINITY, revision: 0, atMs: Number.NEGATIVE_INFINITY })
        return
      }
      if (answer.reason !== 'granted' && answer.reason !== 'limit_exceeded') return
      if (answer.kind !== 'quota' && answer.kind !== 'capacity') return
      const resetsAtMs = answer.kind === 'quota' ? answer.resetsAt.getTime() : Number.POSITIVE_INFINITY
      // Answers may overtake each other.
      const isLate = before && before.resetsAtMs === resetsAtMs && before.used > answer.used && atMs - before.atMs < HOLDS_MS
      if (!isLate) readings.set(entitlement, { used: answer.used, resetsAtMs, revision: answer.revision, atMs })
    },
    show: (entitlement, amount, decision, { revision, nowMs }) => {
      const reading = readings.get(entitlement)
      if (!reading) return decision
      const isCount = decision.reason === 'granted' || decision.reason === 'limit_exceeded'
      const isKnown = revision >= reading.revision && (decision.used ?? 0) >= reading.used
      if (!isCount || isKnown || nowMs >= reading.resetsAtMs) {
        readings.delete(entitlement)
        return decision
      }
      if (monotonicMs() - reading.atMs > HOLDS_MS) return undefined
      const shown = withReading(decision, reading)
      if (shown.remaining !== undefined && shown.remaining - amount < CLOSE_TO_LIMIT * (shown.limit ?? 0)) return undefined
      return shown
    },
  }
}
