/** Decides whether a line of a settlement report agrees with our books. Pure. */
import { formatMoney } from '../../../common/money.ts'
import type { Payment } from '../../schemas/payment.ts'
import type { differenceKinds } from '../../schemas/settlement-report.ts'
import { paymentIdOfAttempt } from '../machine/attempts.ts'
import { attemptIdOfRefund, refundReference } from '../machine/refunds.ts'
import type { SettlementLine } from './line.ts'

export interface Difference {
  kind: (typeof differenceKinds)[number]
  why: string
}

/** The payment that a line is about; undefined when it names none. */
export const paymentIdOfLine = ({ kind, reference }: SettlementLine): string | undefined => {
  if (reference === undefined) return undefined
  // MercadoPago's lines of refunds carry the charge's reference, so that both are understood.
  return paymentIdOfAttempt(kind === 'refund' ? attemptIdOfRefund(reference) : reference)
}

/** Fees and corrections belong to the payout; what is about money of a customer has to name it. */
const needsReference = ({ kind }: SettlementLine): boolean => kind === 'charge' || kind === 'refund' || kind === 'dispute'

/** The amount that the line should have, in the payment's currency; undefined when that cannot be told. */
const expectedMinor = (line: SettlementLine, payment: Payment): number | undefined => {
  if (line.currency !== payment.currency) return undefined
  if (line.kind === 'charge') return payment.amountMinor
  if (line.kind !== 'refund') return undefined
  const refund = payment.refunds.find((one) => refundReference(one) === line.reference)
  return refund && -refund.amountMinor
}

const reportOf = (lineId: string): string => lineId.slice(0, lineId.lastIndexOf('/'))

/** True if another report has brought the same: same kind, reference, amount and instant. */
const isKept = (line: SettlementLine, id: string, payment: Payment): boolean =>
  (payment.settlements ?? []).some(
    (one) =>
      reportOf(one.id) !== reportOf(id) &&
      one.kind === line.kind &&
      one.reference === line.reference &&
      one.grossMinor === line.grossMinor &&
      one.netMinor === line.netMinor &&
      (one.settledAt?.getTime() ?? 0) === (line.settledAt?.getTime() ?? 0),
  )

/**
 * @param id of the line, as it is kept with the payment.
 * @returns `matched` when the line is to be kept with the payment; differences that it shows either way.
 */
export const matchLine = (line: SettlementLine, id: string, account: string, payment: Payment | undefined): { matched: boolean; differences: Difference[] } => {
  const money = (minor: number) => formatMoney(minor, line.currency)
  const wrongSum: Difference[] =
    line.grossMinor - line.feeMinor === line.netMinor
      ? []
      : [{ kind: 'net_differs', why: `${money(line.grossMinor)} minus ${money(line.feeMinor)} is not ${money(line.netMinor)}` }]
  if (line.reference === undefined) {
    return {
      matched: false,
      differences: needsReference(line) ? [{ kind: 'no_reference', why: `the ${line.kind} names no payment` }, ...wrongSum] : wrongSum,
    }
  }
  const attemptId = line.kind === 'refund' ? attemptIdOfRefund(line.reference) : line.reference
  const attempt = payment?.attempts.find((one) => one.id === attemptId)
  if (!payment || !attempt)
    return { matched: false, differences: [{ kind: 'unknown_reference', why: `there is no payment with the reference ${line.reference}` }, ...wrongSum] }
  const differences = [...wrongSum]
  if (attempt.account !== account) differences.push({ kind: 'other_account', why: `it was made at ${attempt.account}` })
  if (line.kind !== 'charge' && isKept(line, id, payment)) differences.push({ kind: 'settled_twice', why: 'another report has the same line' })
  if (line.kind === 'charge') {
    if (attempt.status !== 'succeeded') differences.push({ kind: 'not_succeeded', why: `the attempt is ${attempt.status} in our books` })
    const twice = (payment.settlements ?? []).some((one) => one.kind === 'charge' && one.reference === line.reference && one.id !== id)
    if (twice) differences.push({ kind: 'settled_twice', why: 'another line has already settled it' })
  }
  const expected = expectedMinor(line, payment)
  if (expected !== undefined && expected !== line.grossMinor) {
    differences.push({ kind: 'amount_differs', why: `${money(line.grossMinor)}, and ${money(expected)} in our books` })
  }
  return { matched: !differences.some(({ kind }) => kind === 'other_account' || kind === 'settled_twice'), differences }
}
