/** Money given back: what was asked for, and what arrived without being wanted. */
import { DAY_MS, HOUR_MS } from '../../../common/durations.ts'
import type { Attempt, Payment, Refund } from '../../schemas/payment.ts'
import type { RefundOutcome } from '../psp/psp.ts'
import { isDisputed } from './disputes.ts'
import { hasEffects, later, marked } from './state.ts'

/** A refund that was not answered is asked for again, under the same key. */
const REFUND_RETRY_MS = HOUR_MS
/** An owed refund that was refused is not given up, and an accepted one is looked after: once a day. */
const REFUND_LATER_MS = DAY_MS

const isTimeTo = (at: Date | undefined, now: Date): boolean => !at || at <= now

/** A refund that is to be made, or asked about, now. */
export const dueRefund = (payment: Payment, now: Date): Refund | undefined =>
  payment.refunds.find((refund) => (refund.status === 'due' || refund.status === 'pending') && isTimeTo(refund.tryAt, now))

/** The payment with a refund of the attempt's whole amount, due now. To be called once per attempt: the refund's id follows from it. */
export const giveBack = (payment: Payment, attempt: Attempt, reason: Refund['reason'], now: Date): Payment => {
  const refund: Refund = {
    id: `${attempt.id}-refund`,
    attemptId: attempt.id,
    amountMinor: attempt.amountMinor ?? payment.amountMinor,
    reason,
    status: 'due',
    at: now,
  }
  return { ...payment, refunds: [...payment.refunds, refund] }
}

/** The part of a payment that can still be refunded on request. */
export const refundableMinor = (payment: Payment): number =>
  payment.status === 'succeeded' && !payment.abandoned && !isDisputed(payment)
    ? payment.amountMinor -
      payment.refunds.filter(({ reason, status }) => reason === 'requested' && status !== 'failed').reduce((sum, { amountMinor }) => sum + amountMinor, 0)
    : 0

/** A refund that somebody asks for, of the attempt that was kept. The caller has checked that there is that much. */
export const requestRefund = (payment: Payment, id: string, amountMinor: number, now: Date, repairAt: Date): Payment => {
  const returned = new Set(payment.refunds.filter(({ reason }) => reason !== 'requested').map(({ attemptId }) => attemptId))
  const attempt = payment.attempts.find((one) => one.status === 'succeeded' && !returned.has(one.id))
  if (!attempt) throw new Error(`payment ${payment.id} has nothing to give back`)
  const refund: Refund = { id, attemptId: attempt.id, amountMinor, reason: 'requested', status: 'due', at: now }
  return marked({ ...payment, refunds: [...payment.refunds, refund] }, repairAt)
}

/**
 * The name that the PSP knows a refund by. One that it accepted and then refused is made anew, under another reference: the
 * old one would only ever bring the old answer.
 */
export const refundReference = ({ id, attemptId, tries }: Pick<Refund, 'id' | 'attemptId' | 'tries'>): string =>
  `${id.startsWith(attemptId) ? id : `${attemptId}.${id}`}${tries ? `.${tries}` : ''}`

/** The attempt whose money a refund, named as the PSP was given it, gives back. */
export const attemptIdOfRefund = (reference: string): string => (reference.split('.')[0] ?? '').replace(/-refund$/, '')

/** True if the provider may have forgotten that it was asked for this refund before. False if it was never asked. */
export const isBeyond = ({ askedAt }: Pick<Refund, 'askedAt'>, idempotencyMs: number, now: Date): boolean =>
  askedAt !== undefined && now.getTime() - askedAt.getTime() >= idempotencyMs

/** Stored before the PSP is asked for it, under the reference that it has now. @returns undefined when that is stored, or it is not due. */
export const markAsked = (payment: Payment, reference: string, now: Date, repairAt: Date): Payment | undefined => {
  const refund = payment.refunds.find((one) => refundReference(one) === reference)
  if (refund?.status !== 'due' || refund.askedAt) return undefined
  return marked({ ...payment, refunds: payment.refunds.map((one) => (one === refund ? { ...one, askedAt: now } : one)) }, repairAt)
}

const isRefundNews = (refund: Refund, outcome: RefundOutcome, by: 'answer' | 'event'): boolean => {
  switch (refund.status) {
    case 'due':
      return true
    case 'pending':
      return true
    case 'succeeded':
      // Made, and sent back by the customer's bank days later.
      return outcome.status === 'failed'
    case 'failed':
      // A provider first says that it was made, and then that it came back; an event that says so later is an old one.
      return outcome.status === 'succeeded' && by === 'answer'
    default:
      return refund.status satisfies never
  }
}

const named = ({ pspReference }: { pspReference?: string }): Pick<Refund, 'pspReference'> => (pspReference ? { pspReference } : {})

/** Under a new reference, which the provider has not been asked for yet, and of which it has said nothing. */
const again = ({ pspReference: _, askedAt: __, ...refund }: Refund, pspCode: string, now: Date): Refund => ({
  ...refund,
  pspCode,
  status: 'due',
  tries: (refund.tries ?? 0) + 1,
  tryAt: later(now, REFUND_LATER_MS),
})

const withRefundOutcome = (refund: Refund, outcome: RefundOutcome, now: Date): Refund => {
  const { tryAt: _, pspCode: __, ...kept } = refund
  switch (outcome.status) {
    case 'succeeded':
      return { ...kept, ...named(outcome), status: 'succeeded' }
    case 'pending':
      return { ...kept, ...named(outcome), status: 'pending', tryAt: later(now, REFUND_LATER_MS) }
    case 'unknown':
      // What was accepted stays accepted: only the answer about it is missing.
      return { ...kept, pspCode: outcome.pspCode, tryAt: later(now, REFUND_RETRY_MS) }
    case 'failed':
      if (refund.reason === 'requested') return { ...kept, pspCode: outcome.pspCode, status: 'failed' }
      return again(kept, outcome.pspCode, now)
    default:
      return outcome satisfies never
  }
}

/**
 * The reference that a PSP's event means: ours of the refund, or that of its charge with the PSP's own of the refund.
 * Undefined: the payment has none such.
 */
export const refundNamed = (payment: Payment, reference: string, pspReference: string | undefined): string | undefined => {
  const found =
    payment.refunds.find((one) => refundReference(one) === reference) ??
    payment.refunds.find((one) => pspReference !== undefined && one.pspReference === pspReference)
  return found && refundReference(found)
}

/**
 * A requested refund that is refused has failed; one that is owed is tried again until it is made.
 * @param reference as the PSP was given it. @param by whether it is told now, or may be told late.
 * @returns undefined when it changes nothing.
 */
export const recordRefund = (
  payment: Payment,
  reference: string,
  outcome: RefundOutcome,
  now: Date,
  repairAt: Date,
  by: 'answer' | 'event' = 'answer',
): Payment | undefined => {
  const refund = payment.refunds.find((one) => refundReference(one) === reference)
  if (!refund || !isRefundNews(refund, outcome, by)) return undefined
  const next = withRefundOutcome(refund, outcome, now)
  const changes = next.status !== refund.status && (next.status === 'succeeded' || refund.status === 'succeeded')
  const concernsSubscription = changes && refund.reason === 'requested' && hasEffects(payment)
  const refunds = payment.refunds.map((one) => (one.id === refund.id ? next : one))
  return marked({ ...payment, refunds, effectsDue: payment.effectsDue || concernsSubscription }, repairAt)
}

export const refundedMinor = (payment: Payment): number =>
  payment.refunds.filter((refund) => refund.status === 'succeeded').reduce((sum, refund) => sum + refund.amountMinor, 0)
