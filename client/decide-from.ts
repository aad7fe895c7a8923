/** Answers that are made in this process, by the sidecar's own rules. */
import { type Decision, decide, decideAll } from '../common/entitlements/decide.ts'
import type { EntitlementSet } from '../common/entitlements/model.ts'
import { type Decided, type Known, toAnswer } from './answer.ts'
import { type HeldSet, setOfKey } from './held-set.ts'
import type { Readings } from './readings.ts'
import type { Holdings } from './tollgate.ts'
import type { Version } from './version.ts'

/** What answers are made from. */
export interface Knowledge extends Version {
  /** Null: there is no such customer. */
  set: Pick<EntitlementSet, 'grants' | 'usage'> | null
  /** The time that governs it, in epoch milliseconds. */
  nowMs: number
}

export interface Remembered extends Knowledge {
  set: HeldSet | null
  /** What the sidecar has counted, and the set does not say yet. */
  readings: Readings | undefined
}

const customerUnknown: Decision = { allowed: false, reason: 'customer_unknown', unlimited: false }

const knownOf = ({ revision, asOfMs, nowMs }: Knowledge): Known => ({
  revision,
  asOf: new Date(asOfMs),
  ageMs: Math.max(0, nowMs - asOfMs),
  stale: false,
  from: 'memory',
})

/** @param amount how much is asked for; 0 asks for 1, as it does at the sidecar. */
export const answerFrom = (knowledge: Knowledge, entitlement: string, amount: number): Decided => {
  const { set, nowMs } = knowledge
  return toAnswer(set ? decide(set, entitlement, amount || 1, nowMs) : customerUnknown, knownOf(knowledge))
}

/** As `answerFrom`. @returns undefined if the sidecar has to be asked how much is used. */
export const answerRemembered = (remembered: Remembered, entitlement: string, amount: number): Decided | undefined => {
  const { set, nowMs } = remembered
  const decision = set ? decide(setOfKey(set, entitlement, nowMs), entitlement, amount || 1, nowMs) : customerUnknown
  const shown = remembered.readings ? remembered.readings.show(entitlement, amount || 1, decision, remembered) : decision
  return shown && toAnswer(shown, knownOf(remembered))
}

export const holdingsFrom = (knowledge: Knowledge): Holdings => {
  const { set, nowMs, customerKnown } = knowledge
  const known = knownOf(knowledge)
  const all = set ? decideAll(set, nowMs) : []
  return { ...known, customerKnown, entitlements: new Map(all.map(({ key, decision }) => [key, toAnswer(decision, known)])) }
}
