/**
 * The history of a subscription: events, their times, their reasons, and the money that moved, oldest first: enough to answer
 * "why was I charged this?" from it alone. Made when it is asked for, from the subscription's own events and from its
 * payments.
 */

import { fieldError } from '../../common/errors.ts'
import { formatMoney } from '../../common/money.ts'
import type { Payment } from '../schemas/payment.ts'
import type { Line } from '../schemas/period.ts'
import type { SubscriptionEvent } from '../schemas/subscription.ts'
import { all } from '../storage/every.ts'
import type { TenantScope } from '../tenant-scope.ts'

export interface TimelineEntry {
  at: Date
  type: string
  why: string
  paymentId: string | undefined
  amountMinor: number | undefined
  lines: Line[]
}

/** An entry of a payment, and whether the money moved with it. */
type PaymentEntry = TimelineEntry & { paid: boolean }

const ofPayment = (payment: Payment): PaymentEntry[] => {
  const { id: paymentId, currency, amountMinor, creditMinor } = payment
  const credit =
    creditMinor > 0 ? `, after ${formatMoney(creditMinor, currency)} of credit` : creditMinor < 0 ? `; ${formatMoney(-creditMinor, currency)} is credited` : ''
  // What is tried again may be for less by then.
  const firstMinor = payment.attempts[0]?.amountMinor ?? amountMinor
  const isAsMade = firstMinor === amountMinor
  const made = {
    at: payment.createdAt,
    type: 'payment',
    why: `${payment.description ?? 'a payment'}${isAsMade ? credit : ''}`,
    paymentId,
    amountMinor: firstMinor,
    lines: isAsMade ? payment.lines : [],
    paid: false,
  }
  const attempts = payment.attempts.map((attempt) => ({
    at: attempt.at,
    type: 'attempt',
    why: `${attempt.account} (by ${attempt.why.rule}): ${attempt.status}${attempt.declineClass ? `, ${attempt.declineClass}` : ''}${attempt.pspCode ? ` (${attempt.pspCode})` : ''}`,
    paymentId,
    amountMinor: attempt.amountMinor ?? amountMinor,
    lines: [],
    paid: attempt.status === 'succeeded',
  }))
  const refunds = payment.refunds.map((refund) => ({
    at: refund.at,
    type: 'refund',
    why: `${{ not_wanted: 'what it paid for was canceled before it arrived', paid_twice: 'it was paid twice', requested: 'somebody asked for it' }[refund.reason]}: ${refund.status}`,
    paymentId,
    amountMinor: refund.amountMinor,
    lines: [],
    paid: false,
  }))
  return [made, ...attempts, ...refunds]
}

/** Events in their order; what a payment did stands before the first event that it caused. */
const merge = (events: SubscriptionEvent[], payments: Payment[]): TimelineEntry[] => {
  const waiting = new Map(payments.map((payment) => [payment.id, ofPayment(payment)]))
  const merged: TimelineEntry[] = []
  const refusals = new Set(['payment_failed', 'past_due', 'change_declined', 'resume_declined'])
  const announces = new Set(['first_payment_due', 'change_asked', 'resuming', 'retry'])
  for (const { at, type, why, paymentId, amountMinor } of events) {
    const own = paymentId ? (waiting.get(paymentId) ?? []) : []
    if (paymentId && !announces.has(type)) {
      const before = own.filter((entry) => entry.at <= at && !(entry.paid && refusals.has(type)))
      merged.push(...before.map(({ paid: _, ...entry }) => entry))
      waiting.set(
        paymentId,
        own.filter((entry) => !before.includes(entry)),
      )
    }
    merged.push({ at, type, why, paymentId, amountMinor, lines: [] })
  }
  // A stable sort: what happened at one instant stays in the order of its causes.
  return [...merged, ...[...waiting.values()].flat().map(({ paid: _, ...entry }) => entry)].sort((a, b) => a.at.getTime() - b.at.getTime())
}

export interface TimelinePage {
  currency: string
  data: TimelineEntry[]
  nextCursor?: string
}

/** @param cursor how many entries came before. @throws AppError `not_found` or `invalid_request`. */
export const timelineOf = async (of: TenantScope, subscriptionId: string, limit: number, cursor: string | undefined): Promise<TimelinePage> => {
  const { storage } = of
  const { tenantId } = of
  const from = cursor === undefined ? 0 : Number(cursor)
  if (!Number.isSafeInteger(from) || from < 0)
    throw fieldError('invalid_request', 'cursor', 'is not a cursor of this list; use the nextCursor of its last page')
  const subscription = await storage.subscriptions.get(of.keys.subscription(subscriptionId))
  const [chunks, payments] = await Promise.all([all(storage.eventChunks, { tenantId, subscriptionId }), all(storage.payments, { tenantId, subscriptionId })])
  const events = [...chunks.flatMap((chunk) => chunk.events), ...subscription.events]
  // A chunk may have been handed on and not yet taken away.
  const once = [...new Map(events.map((event) => [event.seq, event])).values()].sort((a, b) => a.seq - b.seq)
  const entries = merge(once, payments)
  const data = entries.slice(from, from + limit)
  return { currency: subscription.pricing.currency, data, ...(from + limit < entries.length ? { nextCursor: String(from + limit) } : {}) }
}
