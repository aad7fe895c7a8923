/** Questions about places of a capacity and their answers as the bytes of `proto/tollgate/metering/v1`; the only place that maps them. */
import * as wire from '../../proto/gen/tollgate/metering/v1/metering.ts'
import type { HolderAnswer, HolderQuestion } from './holder-words.ts'
import { countFromWire } from './ledger-wire.ts'

/** The tag of the first field that is there. */
const FIRST_BYTE = 0x12

export const isHolderQuestion = (bytes: Uint8Array): boolean => bytes[0] === FIRST_BYTE

const acts = {
  acquire: wire.HolderQuestion_Act.ACT_ACQUIRE,
  settle: wire.HolderQuestion_Act.ACT_SETTLE,
  release: wire.HolderQuestion_Act.ACT_RELEASE,
} as const
const outcomes = {
  granted: wire.HolderAnswer_Outcome.OUTCOME_GRANTED,
  repeat: wire.HolderAnswer_Outcome.OUTCOME_REPEAT,
  refused: wire.HolderAnswer_Outcome.OUTCOME_REFUSED,
  other_amount: wire.HolderAnswer_Outcome.OUTCOME_OTHER_AMOUNT,
  too_many: wire.HolderAnswer_Outcome.OUTCOME_TOO_MANY,
} as const

const nameOf = <Name extends string>(names: Record<Name, number>, value: number): Name => {
  const found = (Object.keys(names) as Name[]).find((name) => names[name] === value)
  if (found === undefined) throw new Error(`${value} is of a newer version`)
  return found
}

export const writeHolderQuestion = ({ customer, act, amount, heir, ttlMs, ...rest }: HolderQuestion): Uint8Array =>
  wire.HolderQuestion.encode({ ...customer, ...rest, act: acts[act], amount: BigInt(amount), heir: heir ?? '', ttlMs: BigInt(ttlMs) }).finish()

/** @throws Error for bytes that are no question. */
export const readHolderQuestion = (bytes: Uint8Array): HolderQuestion => {
  const { tenantId, storefrontId, customerId, act, amount, ttlMs, entitlement, id, holder, heir } = wire.HolderQuestion.decode(bytes)
  return {
    customer: { tenantId, storefrontId, customerId },
    ...{ entitlement, id, holder, heir },
    act: nameOf(acts, act),
    amount: countFromWire(amount),
    ttlMs: countFromWire(ttlMs),
  }
}

export const writeHolderAnswer = ({ outcome, used, limit }: HolderAnswer): Uint8Array =>
  wire.HolderAnswer.encode({
    outcome: outcomes[outcome],
    used: BigInt(used),
    limit: limit === null ? undefined : BigInt(limit),
  }).finish()

/** @throws Error for bytes that are no answer. */
export const readHolderAnswer = (bytes: Uint8Array): HolderAnswer => {
  const { outcome, used, limit } = wire.HolderAnswer.decode(bytes)
  return {
    outcome: nameOf(outcomes, outcome),
    used: countFromWire(used),
    limit: limit === undefined ? null : countFromWire(limit),
  }
}
