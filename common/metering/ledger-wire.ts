/** Questions to a ledger and its answers as the bytes of `proto/tollgate/metering/v1`; the only place that maps them. */
import * as wire from '../../proto/gen/tollgate/metering/v1/metering.ts'
import { type CustomerKey, MAX_COUNT } from '../entitlements/model.ts'
import type { LedgerAnswer, LedgerQuestion } from './ledger-words.ts'

/** A question, and what it is about. */
export interface AskedLedger {
  customer: CustomerKey
  entitlement: string
  /** The process that asks. */
  sidecar: string
  question: LedgerQuestion
}

/** The tag of the first field. A question in JSON begins with another byte. */
const FIRST_BYTE = 0x0a

export const isLedgerQuestion = (bytes: Uint8Array): boolean => bytes[0] === FIRST_BYTE

/** Larger counts than are exact are taken for the largest that is. */
export const countFromWire = (count: bigint): number => Math.min(MAX_COUNT, Math.max(0, Number(count)))

export const writeLedgerQuestion = ({ customer, entitlement, sidecar, question }: AskedLedger): Uint8Array =>
  wire.LedgerQuestion.encode({
    ...customer,
    entitlement,
    sidecar,
    seq: BigInt(question.seq),
    least: BigInt(question.least),
    need: BigInt(question.need),
    want: BigInt(question.want),
    uses: question.uses.map(({ lease, spent, upTo }) => ({ lease, spent: BigInt(spent), upTo: BigInt(upTo) })),
    laterUses: question.laterUses.map(({ seq, amount, atMs }) => ({ seq: BigInt(seq), amount: BigInt(amount), atMs: BigInt(Math.round(atMs)) })),
  }).finish()

/** @throws Error for bytes that are no question. */
export const readLedgerQuestion = (bytes: Uint8Array): AskedLedger => {
  const { tenantId, storefrontId, customerId, entitlement, sidecar, seq, least, need, want, uses, laterUses } = wire.LedgerQuestion.decode(bytes)
  return {
    customer: { tenantId, storefrontId, customerId },
    entitlement,
    sidecar,
    question: {
      seq: countFromWire(seq),
      least: countFromWire(least),
      need: countFromWire(need),
      want: countFromWire(want),
      uses: uses.map(({ lease, spent, upTo }) => ({ lease, spent: countFromWire(spent), upTo: countFromWire(upTo) })),
      laterUses: laterUses.map((use) => ({ seq: countFromWire(use.seq), amount: countFromWire(use.amount), atMs: Number(use.atMs) })),
    },
  }
}

export const writeLedgerAnswer = ({ seq, leases, limit, used, free, recallable, recall, resetsAtMs, laterUses, usageSeq }: LedgerAnswer): Uint8Array =>
  wire.LedgerAnswer.encode({
    seq: BigInt(seq),
    leases: leases.map(({ id, lent, spent, untilMs }) => ({ id, lent: BigInt(lent), spent: BigInt(spent), untilMs: BigInt(untilMs) })),
    limit: limit === null ? undefined : BigInt(limit),
    used: BigInt(used),
    free: BigInt(free),
    recallable: BigInt(recallable),
    recall,
    resetsAtMs: BigInt(resetsAtMs ?? 0),
    laterUses: BigInt(laterUses),
    usageSeq: BigInt(usageSeq),
  }).finish()

/** @throws Error for bytes that are no answer. */
export const readLedgerAnswer = (bytes: Uint8Array): LedgerAnswer => {
  const { seq, leases, limit, used, free, recallable, recall, resetsAtMs, laterUses, usageSeq } = wire.LedgerAnswer.decode(bytes)
  return {
    seq: countFromWire(seq),
    leases: leases.map(({ id, lent, spent, untilMs }) => ({ id, lent: countFromWire(lent), spent: countFromWire(spent), untilMs: Number(untilMs) })),
    limit: limit === undefined ? null : countFromWire(limit),
    used: countFromWire(used),
    free: countFromWire(free),
    recallable: countFromWire(recallable),
    recall,
    resetsAtMs: resetsAtMs === 0n ? undefined : Number(resetsAtMs),
    laterUses: countFromWire(laterUses),
    usageSeq: countFromWire(usageSeq),
  }
}

/** The tag of its first field. */
const USAGE_FIRST_BYTE = 0x1a

export const isUsageQuestion = (bytes: Uint8Array): boolean => bytes[0] === USAGE_FIRST_BYTE

export const writeUsageQuestion = ({ tenantId, storefrontId, customerId }: CustomerKey): Uint8Array =>
  wire.UsageQuestion.encode({ tenantId, storefrontId, customerId }).finish()

/** @throws Error for bytes that are no question. */
export const readUsageQuestion = (bytes: Uint8Array): CustomerKey => wire.UsageQuestion.decode(bytes)
