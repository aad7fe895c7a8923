/**
 * The states of a payment and of its attempts, as pure functions from a document to the next one. No I/O here: the
 * commands around it store each step before they take the next.
 *
 *   next-attempt   whether, where and with which method a payment is tried
 *   attempts       what becomes of an attempt
 *   refunds, disputes, settlements   what becomes of money that arrived
 *
 * The rule that outranks all others: while one attempt may still succeed (`isOpen`), no other is made, on any PSP.
 */

import { defined } from '../../../common/defined.ts'
import { HOUR_MS } from '../../../common/durations.ts'
import type { Attempt, Payment } from '../../schemas/payment.ts'

export const later = (at: Date, ms: number): Date => new Date(at.getTime() + ms)

/** Money may have moved, or may still. */
export const isOpen = ({ status }: Pick<Attempt, 'status'>): boolean => {
  switch (status) {
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
      return status satisfies never
  }
}

export const openAttempt = (payment: Payment): Attempt | undefined => payment.attempts.find(isOpen)

/** Authorized, and nothing has been done about it yet. */
export const uncaptured = (payment: Payment): Attempt | undefined => payment.attempts.find((one) => one.status === 'authorized' && !one.captureAskedAt)

/** An attempt waits for the customer this long if nothing else is agreed. */
const DEFAULT_ACTION_HOURS = 23

/** The time until which an attempt that was made at `at` waits for the customer to act. */
export const actBy = ({ actionHours }: Pick<Payment, 'actionHours'>, at: Date): Date => later(at, (actionHours ?? DEFAULT_ACTION_HOURS) * HOUR_MS)

const earliest = (dates: (Date | undefined)[]): Date | undefined =>
  dates.reduce<Date | undefined>((first, at) => (at && (!first || at < first) ? at : first), undefined)

/** Somebody else has to see what becomes of it. Not of a one-time payment. */
export const hasEffects = ({ subscriptionId }: Payment): boolean => subscriptionId !== undefined

/** True if something can be done without waiting: a process that dies leaves it to a sweeper. */
const hasWork = (payment: Payment): boolean =>
  payment.effectsDue ||
  payment.status === 'due' ||
  payment.attempts.some((attempt) => attempt.status === 'sent') ||
  uncaptured(payment) !== undefined ||
  payment.refunds.some((refund) => refund.status === 'due' && !refund.tryAt)

/** The token that a payment brought itself goes as soon as nothing can be sent with it any more: its end is known, or nobody wants it. */
const withoutSpentMethod = (payment: Payment): Payment => {
  if (!payment.ownMethod || (!payment.abandoned && (payment.status === 'due' || payment.status === 'processing'))) return payment
  const { ownMethod: _, ...kept } = payment
  return kept
}

/** The reminders of a payment follow from its parts, so that what happens to one part cannot forget another. */
export const marked = (payment: Payment, repairAt: Date | undefined): Payment =>
  defined({
    ...withoutSpentMethod(payment),
    dueAt: earliest([
      ...payment.attempts.map((attempt) => (isOpen(attempt) || attempt.givenUp?.watchUntil ? attempt.inquireAt : undefined)),
      ...payment.attempts.filter(({ status }) => status === 'requires_action').map(({ at }) => actBy(payment, at)),
      ...payment.refunds.filter(({ status }) => status === 'due' || status === 'pending').map((refund) => refund.tryAt),
    ]),
    repairAt: hasWork(payment) ? repairAt : undefined,
  })

/** The attempt that waits for the customer to act. */
export const waitingAttempt = (payment: Payment): Attempt | undefined => payment.attempts.find(({ status }) => status === 'requires_action')
