/**
 * The states of a payment and of its attempts, as pure functions from a document to the next one. No I/O here: the
 * commands around it store each step before they take the next.
 *
 * The rule that outranks all others: while one attempt may still succeed (`isOpen`), no other is made, on any PSP.
 */

import { paymentIdOf } from '../keys.ts'
import type { Attempt, Payment, Refund } from '../schemas/payment.ts'
import type { Subscription } from '../schemas/subscription.ts'
import type { New } from '../storage/storage.ts'
import { consequences } from './decline-classes.ts'
import type { ChargeOutcome, RefundOutcome } from './psp/psp.ts'
import type { Route } from './route-payment.ts'

const HOUR_MS = 3_600_000

/** When to ask the PSP about an attempt without a final outcome: after 5 minutes, an hour, then daily. */
const INQUIRY_DELAYS_MS = [5 * 60_000, HOUR_MS, 24 * HOUR_MS] as const
/** A refund that was not answered is asked for again, under the same key. */
const REFUND_RETRY_MS = HOUR_MS

const later = (at: Date, ms: number): Date => new Date(at.getTime() + ms)

/** The payment that a subscription owes for a period. Whoever repeats this makes the same one. */
export const newPayment = (subscription: Subscription, period: Payment['period'], now: Date, repairAt: Date): New<Payment> => {
  const id = paymentIdOf(subscription.tenantId, subscription.id, period.index)
  return {
    _id: `${encodeURIComponent(subscription.tenantId)}/${id}`,
    tenantId: subscription.tenantId,
    createdAt: now,
    id,
    storefrontId: subscription.storefrontId,
    customerId: subscription.customerId,
    subscriptionId: subscription.id,
    period,
    amountMinor: subscription.pricing.amountMinor,
    currency: subscription.pricing.currency,
    description: `${subscription.bundleId}, period ${period.index + 1}`,
    paymentMethodId: subscription.paymentMethodId,
    status: 'due',
    round: 1,
    attempts: [],
    refunds: [],
    effectsDue: false,
    abandoned: false,
    clock: subscription.clock,
    repairAt,
  }
}

/** Money may have moved, or may still. */
const isOpen = (attempt: Attempt): boolean => {
  switch (attempt.status) {
    case 'created':
    case 'sent':
    case 'requires_action':
    case 'pending':
    case 'authorized':
    case 'unknown':
      return true
    case 'succeeded':
    case 'declined':
    case 'not_sent':
      return false
    default:
      return attempt.status satisfies never
  }
}

export const openAttempt = (payment: Payment): Attempt | undefined => payment.attempts.find(isOpen)
export const dueRefund = (payment: Payment): Refund | undefined => payment.refunds.find((refund) => refund.status === 'due')

/** What can be done for a payment now, without anybody's help. */
export const nextStep = (payment: Payment): 'attempt' | 'cancel' | 'nothing' => {
  if (payment.status === 'succeeded' || payment.status === 'failed' || payment.status === 'canceled') return 'nothing'
  if (openAttempt(payment)) return 'nothing'
  return payment.abandoned ? 'cancel' : 'attempt'
}

/** The account to try next in this round, or undefined when no other may be tried now. */
export const nextAccount = (payment: Payment, route: Route): string | undefined => {
  const tried = payment.attempts.filter((attempt) => attempt.round === payment.round)
  const last = tried.at(-1)
  if (last?.status === 'declined' && last.declineClass) {
    const { otherPspNow } = consequences[last.declineClass]
    if (otherPspNow === 'no') return undefined
    const sameClass = tried.filter((attempt) => attempt.declineClass === last.declineClass).length
    if (otherPspNow === 'once' && sameClass > 1) return undefined
  }
  return route.candidates.find((account) => !tried.some((attempt) => attempt.account === account))
}

/** Stored before the PSP is called: from then on the attempt is taken to have reached it. */
export const startAttempt = (payment: Payment, account: string, paymentMethodId: string, why: Route, now: Date, repairAt: Date): Payment => ({
  ...payment,
  status: 'processing',
  attempts: [
    ...payment.attempts,
    { id: `${payment.id}-${payment.attempts.length + 1}`, account, status: 'sent', round: payment.round, paymentMethodId, inquiries: 0, why, at: now },
  ],
  dueAt: undefined,
  repairAt,
})

/** The payment that an attempt's id belongs to. */
export const paymentIdOfAttempt = (attemptId: string): string => attemptId.replace(/-\d+$/, '')

const withOutcome = (attempt: Attempt, outcome: ChargeOutcome, now: Date): Attempt => {
  const { declineClass: _, actionUrl: __, ...kept } = attempt
  return {
    ...kept,
    status: outcome.status,
    ...('declineClass' in outcome ? { declineClass: outcome.declineClass } : {}),
    ...('pspCode' in outcome ? { pspCode: outcome.pspCode } : {}),
    ...('pspReference' in outcome && outcome.pspReference ? { pspReference: outcome.pspReference } : {}),
    ...('actionUrl' in outcome ? { actionUrl: outcome.actionUrl } : {}),
    ...(isOpen({ ...attempt, status: outcome.status }) ? {} : { resolvedAt: now }),
  }
}

/**
 * What a PSP says of an attempt, whenever and however often it says it. A success is final. A decline is final
 * except that a success may still follow it: PSPs' events arrive out of order, and money that moved has moved.
 * @returns undefined when it changes nothing.
 */
export const recordOutcome = (payment: Payment, attemptId: string, outcome: ChargeOutcome, now: Date, repairAt: Date): Payment | undefined => {
  const attempt = payment.attempts.find(({ id }) => id === attemptId)
  if (!attempt || attempt.status === 'succeeded') return undefined
  if (!isOpen(attempt) && outcome.status !== 'succeeded') return undefined
  // What is known already is not replaced by less.
  if (outcome.status === 'unknown' && attempt.status !== 'sent' && attempt.status !== 'unknown') return undefined

  const resolved = withOutcome(attempt, outcome, now)
  const next: Payment = { ...payment, attempts: payment.attempts.map((one) => (one.id === attemptId ? resolved : one)) }
  if (resolved.status === 'succeeded') return succeed(next, resolved, now, repairAt)
  if (payment.status === 'succeeded') return next
  if (isOpen(resolved)) return { ...next, status: 'processing', dueAt: later(now, inquiryDelay(resolved.inquiries)), repairAt: undefined }
  // Declined or not sent: back to due, and the next step decides whether another account may be tried.
  return { ...next, status: 'due', dueAt: undefined, repairAt }
}

const inquiryDelay = (inquiries: number): number => INQUIRY_DELAYS_MS[Math.min(inquiries, INQUIRY_DELAYS_MS.length - 1)] ?? 24 * HOUR_MS

const succeed = (payment: Payment, attempt: Attempt, now: Date, repairAt: Date): Payment => {
  const paid: Payment = { ...payment, status: 'succeeded', dueAt: undefined, repairAt }
  const twice = payment.attempts.some((other) => other.id !== attempt.id && other.status === 'succeeded')
  if (twice) return giveBack(paid, attempt, 'paid_twice', now)
  if (payment.abandoned) return giveBack(paid, attempt, 'subscription_ended', now)
  return { ...paid, effectsDue: true }
}

const giveBack = (payment: Payment, attempt: Attempt, reason: Refund['reason'], now: Date): Payment => {
  const refund: Refund = { id: `${attempt.id}-refund`, attemptId: attempt.id, amountMinor: payment.amountMinor, reason, status: 'due', at: now }
  return { ...payment, refunds: [...payment.refunds, refund] }
}

/** An inquiry that brought no final outcome: ask again later. */
export const recordInquiry = (payment: Payment, attemptId: string, now: Date): Payment | undefined => {
  const attempt = payment.attempts.find(({ id }) => id === attemptId)
  if (!attempt || !isOpen(attempt)) return undefined
  const inquiries = attempt.inquiries + 1
  return {
    ...payment,
    attempts: payment.attempts.map((one) => (one.id === attemptId ? { ...one, inquiries } : one)),
    dueAt: later(now, inquiryDelay(inquiries)),
    repairAt: undefined,
  }
}

/** No account may be tried now. A new payment method reopens it. */
export const fail = (payment: Payment, repairAt: Date): Payment => ({ ...payment, status: 'failed', effectsDue: true, repairAt })

export const reopen = (payment: Payment, paymentMethodId: string, repairAt: Date): Payment => ({
  ...payment,
  status: 'due',
  round: payment.round + 1,
  paymentMethodId,
  effectsDue: false,
  repairAt,
})

/**
 * The subscription ended before it saw this payment: nothing is owed. What has arrived is given back; what is on its
 * way is waited for, and given back if it arrives.
 */
export const abandon = (payment: Payment, now: Date, repairAt: Date): Payment | undefined => {
  if (payment.abandoned || payment.status === 'canceled') return undefined
  const paid = payment.attempts.find((attempt) => attempt.status === 'succeeded')
  if (paid) return giveBack({ ...payment, abandoned: true, effectsDue: false, repairAt }, paid, 'subscription_ended', now)
  return openAttempt(payment) ? { ...payment, abandoned: true } : cancel({ ...payment, abandoned: true })
}

export const cancel = (payment: Payment): Payment => ({ ...payment, status: 'canceled', effectsDue: false, dueAt: undefined, repairAt: undefined })

export const recordRefund = (payment: Payment, refundId: string, outcome: RefundOutcome, now: Date): Payment | undefined => {
  const refund = payment.refunds.find(({ id }) => id === refundId)
  if (refund?.status !== 'due') return undefined
  if (outcome.status === 'unknown') return { ...payment, dueAt: later(now, REFUND_RETRY_MS), repairAt: undefined }
  const refunds = payment.refunds.map((one) => (one.id === refundId ? { ...one, status: outcome.status } : one))
  return { ...payment, refunds, dueAt: undefined, repairAt: payment.effectsDue ? payment.repairAt : undefined }
}

export const refundedMinor = (payment: Payment): number =>
  payment.refunds.filter((refund) => refund.status === 'succeeded').reduce((sum, refund) => sum + refund.amountMinor, 0)
