/** The changes that facts about its attempts make to a payment, whoever reports them, whenever and however often. */

import { defined } from '../../../common/defined.ts'
import { DAY_MS, HOUR_MS } from '../../../common/durations.ts'
import { AppError } from '../../../common/errors.ts'
import { checkTransition } from '../../illegal-transitions.ts'
import type { Attempt, AttemptSituation, Payment } from '../../schemas/payment.ts'
import type { ChargeOutcome } from '../psp/psp.ts'
import type { Route } from '../routing/route-payment.ts'
import { giveBack } from './refunds.ts'
import { hasEffects, isOpen, later, marked, openAttempt } from './state.ts'
import { attemptTransitions } from './transitions.ts'

type AttemptGivenUp = NonNullable<Attempt['givenUp']>

/** The delays before the PSP is asked about an attempt without a final outcome: after 5 minutes, an hour, then daily. */
const INQUIRY_DELAYS_MS = [5 * 60_000, HOUR_MS, DAY_MS] as const
/**
 * A request may be under way for longer than any connection lives: only when a PSP has not seen an attempt after this
 * long, and nobody wants it any more, is it taken as never arrived.
 */
const NEVER_ARRIVED_AFTER_MS = DAY_MS

/** More of them are not kept of attempts that provably never left: a provider that is away for weeks adds some each day. */
const MAX_KEPT = 100

/** The attempts without the oldest that never left, of rounds that are over: nothing is decided by them any more. */
const boundedAttempts = ({ attempts, round }: Payment): Attempt[] => {
  let surplus = attempts.length - MAX_KEPT
  /** Anything that somebody only reported may turn out otherwise. */
  const isProven = ({ status, resolution, pspReference }: Attempt): boolean => status === 'not_sent' && !resolution && !pspReference
  return attempts.filter((attempt) => surplus <= 0 || !isProven(attempt) || attempt.round >= round || surplus-- <= 0)
}

/** Stored before the PSP is called: from then on the attempt is taken to have reached it. */
export const startAttempt = (payment: Payment, account: string, paymentMethodId: string, why: Route, now: Date, repairAt: Date): Payment => {
  const kept = boundedAttempts(payment)
  const made = payment.attempts.length + (payment.attemptsLeftOut ?? 0)
  const leftOut = made - kept.length
  return marked(
    {
      ...payment,
      ...(leftOut > 0 ? { attemptsLeftOut: leftOut } : {}),
      status: 'processing',
      attempts: [
        ...kept,
        {
          // No reference is ever given twice.
          id: `${payment.id}-${made + 1}`,
          account,
          status: 'sent',
          round: payment.round,
          amountMinor: payment.amountMinor,
          paymentMethodId,
          inquiries: 0,
          why,
          at: now,
        },
      ],
    },
    repairAt,
  )
}

/**
 * Stored before a charge is sent again: nobody resolves the attempt meanwhile.
 * @returns undefined when it is not to be sent: it is resolved, or nobody wants it any more.
 */
export const claimForSending = (payment: Payment, attemptId: string, repairAt: Date): Payment | undefined => {
  const attempt = payment.attempts.find(({ id }) => id === attemptId)
  if (!attempt || !isOpen(attempt) || payment.abandoned || payment.status === 'succeeded') return undefined
  const claimed: Attempt = attempt.status === 'unknown' ? { ...attempt, status: 'sent' } : attempt
  return marked({ ...payment, attempts: payment.attempts.map((one) => (one.id === attemptId ? claimed : one)) }, repairAt)
}

/** Stored before the PSP is asked to take, or to let go, what is authorized. */
export const askForCapture = (payment: Payment, attemptId: string, now: Date, repairAt: Date): Payment =>
  marked({ ...payment, attempts: payment.attempts.map((one) => (one.id === attemptId ? { ...one, captureAskedAt: now } : one)) }, repairAt)

/** The payment that an attempt's id belongs to. */
export const paymentIdOfAttempt = (attemptId: string): string => attemptId.replace(/-\d+$/, '')

const situationOf = (outcome: ChargeOutcome, givenUp: AttemptGivenUp | undefined): AttemptSituation => {
  switch (outcome.status) {
    case 'declined':
      return defined({ status: outcome.status, declineClass: outcome.declineClass, givenUp })
    case 'requires_action':
      return { status: outcome.status, actionUrl: outcome.actionUrl }
    default:
      return { status: outcome.status }
  }
}

/** Every outcome comes in here: what belonged to the state before is left behind. */
const withOutcome = (attempt: Attempt, outcome: ChargeOutcome, now: Date, givenUp?: AttemptGivenUp): Attempt => {
  checkTransition(attemptTransitions, attempt.id, attempt.status, outcome.status)
  const { status: _, declineClass: __, actionUrl: ___, givenUp: ____, inquireAt, pspCode: _____, ...kept } = attempt
  const said = defined({
    network: 'network' in outcome ? outcome.network : undefined,
    pspCode: 'pspCode' in outcome ? outcome.pspCode : undefined,
    pspReference: 'pspReference' in outcome ? outcome.pspReference || undefined : undefined,
  })
  const askAt = inquireAt && inquireAt > now ? inquireAt : later(now, inquiryDelay(attempt.inquiries))
  return { ...kept, ...said, ...situationOf(outcome, givenUp), ...(isOpen(outcome) ? { inquireAt: askAt } : { resolvedAt: now }) }
}

/** True if the PSP's present answer adds to what is known of the attempt. */
const isNews = (attempt: Attempt, outcome: ChargeOutcome): boolean => {
  if (attempt.status === 'succeeded') return false
  // Events arrive out of order, and money that moved has moved: a success may follow anything.
  if (outcome.status === 'succeeded') return true
  if (!isOpen(attempt)) return false
  // What is known already is not replaced by less; and that one sending did not leave says nothing of another.
  if (outcome.status === 'unknown') return attempt.status === 'sent' || attempt.status === 'unknown'
  // Once it is captured that it was authorized is old news.
  if (outcome.status === 'authorized' && attempt.captureAskedAt) return attempt.status !== 'pending'
  return outcome.status !== 'not_sent' || attempt.status === 'sent'
}

/**
 * Records a PSP's report of an attempt, whenever and however often it comes.
 * @returns undefined when it changes nothing.
 */
export const recordOutcome = (payment: Payment, attemptId: string, outcome: ChargeOutcome, now: Date, repairAt: Date): Payment | undefined => {
  const attempt = payment.attempts.find(({ id }) => id === attemptId)
  if (!attempt || !isNews(attempt, outcome)) return undefined
  return marked(withAttempt(payment, withOutcome(attempt, outcome, now), now), repairAt)
}

const withAttempt = (payment: Payment, resolved: Attempt, now: Date): Payment => {
  const next: Payment = { ...payment, attempts: payment.attempts.map((one) => (one.id === resolved.id ? resolved : one)) }
  if (resolved.status === 'succeeded') return succeed(next, resolved, now)
  if (payment.status === 'succeeded') return next
  if (isOpen(resolved)) return { ...next, status: 'processing', effectsDue: next.effectsDue || (resolved.status === 'requires_action' && hasEffects(payment)) }
  if (payment.abandoned) return openAttempt(next) ? next : { ...next, status: 'canceled', effectsDue: false }
  // Declined or not sent: back to due, and the next step decides whether another account may be tried.
  return { ...next, status: 'due' }
}

const inquiryDelay = (inquiries: number): number => INQUIRY_DELAYS_MS[Math.min(inquiries, INQUIRY_DELAYS_MS.length - 1)] ?? DAY_MS

const succeed = (payment: Payment, attempt: Attempt, now: Date): Payment => {
  // An earlier attempt may have been for more.
  const twice = payment.attempts.some((other) => other.id !== attempt.id && other.status === 'succeeded')
  if (twice) return giveBack({ ...payment, status: 'succeeded' }, attempt, 'paid_twice', now)
  const amountMinor = attempt.amountMinor ?? payment.amountMinor
  const paid: Payment = { ...payment, status: 'succeeded', amountMinor, creditMinor: payment.creditMinor - (amountMinor - payment.amountMinor) }
  if (payment.abandoned) return giveBack(paid, attempt, 'not_wanted', now)
  return { ...paid, effectsDue: hasEffects(payment) }
}

export interface OperatorDecision {
  outcome: Extract<ChargeOutcome, { status: 'succeeded' } | { status: 'declined' } | { status: 'not_sent' }>
  /** The key of whoever said so, kept with the attempt; `reason` says how they know. */
  by: string
  reason: string
  /** True: the payment goes on with other accounts where that makes sense. False: it has failed. */
  tryElsewhere: boolean
  /** The provider has said for long that it will say, or cannot be asked any more. */
  mayResolvePending?: boolean
}

/**
 * Somebody has looked at the provider's own books. If the provider says otherwise later, money that moved still counts.
 * @throws AppError `not_found` or `not_allowed_in_state`.
 */
export const resolveByOperator = (
  payment: Payment,
  attemptId: string,
  { outcome, by, reason, tryElsewhere, mayResolvePending = false }: OperatorDecision,
  now: Date,
  repairAt: Date,
): Payment => {
  const attempt = payment.attempts.find(({ id }) => id === attemptId)
  if (!attempt) throw new AppError('not_found', 'the payment has no such attempt')
  if (!isOpen(attempt)) throw new AppError('not_allowed_in_state', `the attempt is ${attempt.status}: there is nothing to resolve`)
  if (attempt.status === 'sent') throw new AppError('not_allowed_in_state', "the attempt has just been sent; wait for the provider's answer")
  const isStuck = (attempt.status === 'pending' || attempt.status === 'authorized') && mayResolvePending
  if (attempt.status !== 'unknown' && !isStuck) {
    const way =
      attempt.status === 'requires_action'
        ? 'the customer has to act: POST …/complete when they have, or …/cancel to give it up'
        : 'the provider will report the outcome; after three days, or if its account can no longer be used, you can resolve it by hand'
    throw new AppError('not_allowed_in_state', `the attempt is ${attempt.status}, not unknown: ${way}`)
  }
  const resolved: Attempt = { ...withOutcome(attempt, outcome, now), resolution: { by, reason, at: now } }
  const next = withAttempt(payment, resolved, now)
  return next.status === 'due' && !tryElsewhere
    ? fail(next, 'an operator resolved its last attempt, and wanted no other one', repairAt)
    : marked(next, repairAt)
}

/** An inquiry that brought no final outcome: ask again later. */
export const recordInquiry = (payment: Payment, attemptId: string, now: Date, repairAt: Date): Payment | undefined => {
  const attempt = payment.attempts.find(({ id }) => id === attemptId)
  if (!attempt || !isOpen(attempt)) return undefined
  const inquiries = attempt.inquiries + 1
  const asked: Attempt = { ...attempt, inquiries, inquireAt: later(now, inquiryDelay(inquiries)) }
  return marked({ ...payment, attempts: payment.attempts.map((one) => (one.id === attemptId ? asked : one)) }, repairAt)
}

/** The PSP has not seen an attempt that nobody wants any more. @returns undefined while it may still arrive. */
export const recordNeverArrived = (payment: Payment, attemptId: string, now: Date, repairAt: Date): Payment | undefined => {
  const attempt = payment.attempts.find(({ id }) => id === attemptId)
  if (!attempt || !isOpen(attempt) || !payment.abandoned || now < later(attempt.at, NEVER_ARRIVED_AFTER_MS)) return undefined
  const resolved = withOutcome(attempt, { status: 'not_sent', pspCode: 'never_arrived' }, now)
  return marked(withAttempt(payment, resolved, now), repairAt)
}

/** No account may be tried now. A new payment method, or a retry, reopens it. */
export const fail = (payment: Payment, failure: string | undefined, repairAt: Date): Payment =>
  marked(defined({ ...payment, status: 'failed' as const, failure, effectsDue: hasEffects(payment) }), repairAt)

/** The amounts that an obligation comes to by the time it is asked for again. */
type Owed = Pick<Payment, 'lines' | 'creditMinor' | 'amountMinor' | 'period'>

export interface RoundRequest {
  round: number
  paymentMethodId: string | undefined
  /** The customer is there to act. */
  onSession: boolean
  returnUrl: string | undefined
  /** Absent: the same. */
  owed?: Owed
}

/** Another round of attempts. @returns undefined when there is none to make. */
export const reopen = (payment: Payment, { round, paymentMethodId, onSession, returnUrl, owed }: RoundRequest, repairAt: Date): Payment | undefined => {
  if (payment.status !== 'failed' || payment.abandoned || payment.round >= round) return undefined
  const asked = { round, paymentMethodId, onSession, returnUrl, failure: undefined }
  return marked(defined({ ...payment, ...owed, ...asked, status: 'due' as const, effectsDue: false }), repairAt)
}

/** Challenges are open for minutes, at some banks for days: money of one that could not be called off is looked for this long. */
const WATCH_MS = 14 * DAY_MS

/**
 * An attempt that waits for the customer is waited for no more, as if it had been declined for want of them: another
 * method may be tried. If its money arrives all the same it counts, or goes back where something else was paid meanwhile.
 * @param sure whether the provider has let it go.
 * @param goOn whether the payment may go on with others of the customer's methods by itself; else it has failed.
 * @returns undefined when it does not wait any more.
 */
export const recordGivenUp = (
  payment: Payment,
  attemptId: string,
  sure: boolean,
  goOn: boolean,
  why: string,
  now: Date,
  repairAt: Date,
): Payment | undefined => {
  const attempt = payment.attempts.find(({ id }) => id === attemptId)
  if (attempt?.status !== 'requires_action') return undefined
  const watch = sure ? {} : { inquireAt: later(now, HOUR_MS) }
  const givenUp = { at: now, sure, ...(sure ? {} : { watchUntil: later(now, WATCH_MS) }) }
  const declined = withOutcome(attempt, { status: 'declined', declineClass: 'action_required', pspCode: 'customer_did_not_act' }, now, givenUp)
  const next = withAttempt(payment, { ...declined, ...watch }, now)
  return next.status === 'due' && !goOn ? fail(next, why, repairAt) : marked(next, repairAt)
}

/** True while an attempt that was given up may still bring money: it is asked about, daily in the end. */
export const isWatched = ({ givenUp }: Attempt): boolean => givenUp?.watchUntil !== undefined

/** It has brought nothing yet. After some time it is believed. @returns undefined when it is not watched. */
export const recordWatched = (payment: Payment, attemptId: string, now: Date, repairAt: Date): Payment | undefined => {
  const attempt = payment.attempts.find(({ id }) => id === attemptId)
  if (attempt?.status !== 'declined' || !attempt.givenUp?.watchUntil) return undefined
  const inquiries = attempt.inquiries + 1
  const { inquireAt: _, ...rest } = attempt
  const next: Attempt =
    now >= attempt.givenUp.watchUntil
      ? { ...rest, inquiries, givenUp: { at: attempt.givenUp.at, sure: attempt.givenUp.sure } }
      : { ...rest, inquiries, inquireAt: later(now, DAY_MS) }
  return marked({ ...payment, attempts: payment.attempts.map((one) => (one.id === attemptId ? next : one)) }, repairAt)
}

/**
 * Nothing is owed any more, because the purchase is off. What has arrived is given back; what is on its way is waited for, and
 * given back if it arrives.
 */
export const abandon = (payment: Payment, now: Date, repairAt: Date): Payment | undefined => {
  if (payment.abandoned || payment.status === 'canceled') return undefined
  const given: Payment = { ...payment, abandoned: true, effectsDue: false }
  const kept = payment.attempts.find((attempt) => attempt.status === 'succeeded' && !payment.refunds.some(({ attemptId }) => attemptId === attempt.id))
  if (kept) return marked(giveBack(given, kept, 'not_wanted', now), repairAt)
  if (openAttempt(payment) || payment.status === 'failed' || payment.status === 'succeeded') return marked(given, repairAt)
  return marked({ ...given, status: 'canceled' }, undefined)
}
