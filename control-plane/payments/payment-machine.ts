/**
 * The states of a payment and of its attempts, as pure functions from a document to the next one. No I/O here: the
 * commands around it store each step before they take the next.
 *
 * The rule that outranks all others: while one attempt may still succeed (`isOpen`), no other is made, on any PSP.
 */
import type { Attempt, Payment, Refund } from '../schemas/payment.ts'
import type { BillingTerms } from '../schemas/storefront.ts'
import { consequences } from './decline-classes.ts'
import type { ChargeOutcome, RefundOutcome } from './psp/psp.ts'
import type { Route } from './route-payment.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** When to ask the PSP about an attempt without a final outcome: after 5 minutes, an hour, then daily. */
const INQUIRY_DELAYS_MS = [5 * 60_000, HOUR_MS, DAY_MS] as const
/** A refund that was not answered is asked for again, under the same key. */
const REFUND_RETRY_MS = HOUR_MS
/** One that is owed and was refused is not given up: the account may have been short of funds. */
const REFUSED_REFUND_RETRY_MS = DAY_MS
/**
 * A request may be under way for longer than any connection lives: only when a PSP has not seen an attempt after this
 * long, and nobody wants it any more, is it taken as never arrived.
 */
const NEVER_ARRIVED_AFTER_MS = DAY_MS

const later = (at: Date, ms: number): Date => new Date(at.getTime() + ms)

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

const isTimeTo = (at: Date | null | undefined, now: Date): boolean => !at || at <= now

/** A refund that is to be made, or tried again, now. */
export const dueRefund = (payment: Payment, now: Date): Refund | undefined =>
  payment.refunds.find((refund) => refund.status === 'due' && isTimeTo(refund.tryAt, now))

const earliest = (dates: (Date | null | undefined)[]): Date | undefined =>
  dates.reduce<Date | undefined>((first, at) => (at && (!first || at < first) ? at : first), undefined)

/** Somebody else has to see what becomes of it. Not of a one-time payment. */
const hasEffects = ({ subscriptionId }: Payment): boolean => subscriptionId !== undefined && subscriptionId !== null

/** What can be done without waiting for anything: a process that dies leaves it to a sweeper. */
const hasWork = (payment: Payment): boolean =>
  payment.effectsDue ||
  payment.status === 'due' ||
  payment.attempts.some((attempt) => attempt.status === 'sent') ||
  payment.refunds.some((refund) => refund.status === 'due' && !refund.tryAt)

/** The reminders of a payment follow from its parts, so that what happens to one part cannot forget another. */
const marked = (payment: Payment, repairAt: Date | undefined): Payment => ({
  ...payment,
  dueAt: earliest([
    ...payment.attempts.filter(isOpen).map((attempt) => attempt.inquireAt),
    ...payment.refunds.filter((refund) => refund.status === 'due').map((refund) => refund.tryAt),
  ]),
  repairAt: hasWork(payment) ? repairAt : undefined,
})

/** What can be done for a payment now, without anybody's help. */
export const nextStep = (payment: Payment): 'attempt' | 'nothing' =>
  payment.status === 'due' && !payment.abandoned && !openAttempt(payment) ? 'attempt' : 'nothing'

/**
 * Why no attempt with this method may be made now, on any account; undefined when one may. A card that was refused
 * for good is never tried again, one that needs its holder not until something has changed, and none more often than
 * card networks allow.
 */
export const barrier = (
  payment: Payment,
  paymentMethodId: string,
  limits: Pick<BillingTerms, 'maxAttempts' | 'maxAttemptsDays'>,
  now: Date,
): string | undefined => {
  const declined = payment.attempts.filter((attempt) => attempt.status === 'declined')
  const ofMethod = declined.filter((attempt) => attempt.paymentMethodId === paymentMethodId)
  if (ofMethod.some((attempt) => attempt.declineClass === 'hard')) return 'the payment method was declined for good'
  const last = ofMethod.at(-1)
  if (last?.declineClass && last.round < payment.round && !consequences[last.declineClass].laterUnchanged) {
    return `the payment method was declined (${last.declineClass}) and nothing has changed since`
  }
  const since = later(now, -limits.maxAttemptsDays * DAY_MS)
  const counted = declined.filter((attempt) => attempt.at > since && attempt.declineClass && consequences[attempt.declineClass].counts)
  return counted.length >= limits.maxAttempts ? `it was declined ${counted.length} times in ${limits.maxAttemptsDays} days` : undefined
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
export const startAttempt = (payment: Payment, account: string, paymentMethodId: string, why: Route, now: Date, repairAt: Date): Payment =>
  marked(
    {
      ...payment,
      status: 'processing',
      attempts: [
        ...payment.attempts,
        { id: `${payment.id}-${payment.attempts.length + 1}`, account, status: 'sent', round: payment.round, paymentMethodId, inquiries: 0, why, at: now },
      ],
    },
    repairAt,
  )

/** The payment that an attempt's id belongs to. */
export const paymentIdOfAttempt = (attemptId: string): string => attemptId.replace(/-\d+$/, '')

const withOutcome = (attempt: Attempt, outcome: ChargeOutcome, now: Date): Attempt => {
  const { declineClass: _, actionUrl: __, inquireAt: ___, ...kept } = attempt
  const open = isOpen({ ...attempt, status: outcome.status })
  return {
    ...kept,
    status: outcome.status,
    ...('declineClass' in outcome ? { declineClass: outcome.declineClass } : {}),
    ...('pspCode' in outcome ? { pspCode: outcome.pspCode } : {}),
    ...('pspReference' in outcome && outcome.pspReference ? { pspReference: outcome.pspReference } : {}),
    ...('actionUrl' in outcome ? { actionUrl: outcome.actionUrl } : {}),
    ...(open
      ? { inquireAt: attempt.inquireAt && attempt.inquireAt > now ? attempt.inquireAt : later(now, inquiryDelay(attempt.inquiries)) }
      : { resolvedAt: now }),
  }
}

/** Whether what a PSP says now adds to what is known of the attempt. */
const isNews = (attempt: Attempt, outcome: ChargeOutcome): boolean => {
  if (attempt.status === 'succeeded') return false
  // Events arrive out of order, and money that moved has moved: a success may follow anything.
  if (outcome.status === 'succeeded') return true
  if (!isOpen(attempt)) return false
  // What is known already is not replaced by less; and that one sending did not leave says nothing of another.
  if (outcome.status === 'unknown') return attempt.status === 'sent' || attempt.status === 'unknown'
  return outcome.status !== 'not_sent' || attempt.status === 'sent'
}

/**
 * What a PSP says of an attempt, whenever and however often it says it.
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
  const paid: Payment = { ...payment, status: 'succeeded' }
  const twice = payment.attempts.some((other) => other.id !== attempt.id && other.status === 'succeeded')
  if (twice) return giveBack(paid, attempt, 'paid_twice', now)
  if (payment.abandoned) return giveBack(paid, attempt, 'not_wanted', now)
  return { ...paid, effectsDue: hasEffects(payment) }
}

const giveBack = (payment: Payment, attempt: Attempt, reason: Refund['reason'], now: Date): Payment => {
  const refund: Refund = { id: `${attempt.id}-refund`, attemptId: attempt.id, amountMinor: payment.amountMinor, reason, status: 'due', at: now }
  return { ...payment, refunds: [...payment.refunds, refund] }
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
  marked({ ...payment, status: 'failed', failure, effectsDue: hasEffects(payment) }, repairAt)

/** Another round of attempts. @returns undefined when there is none to make. */
export const reopen = (payment: Payment, round: number, paymentMethodId: string | undefined, repairAt: Date): Payment | undefined => {
  if (payment.status !== 'failed' || payment.abandoned || payment.round >= round) return undefined
  return marked({ ...payment, status: 'due', round, paymentMethodId, failure: undefined, effectsDue: false }, repairAt)
}

/**
 * What it pays for is off: nothing is owed. What has arrived is given back; what is on its way is waited for, and
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

/** The subscription has seen the payment as it is. @returns undefined when there is nothing to note. */
export const recordSeen = (payment: Payment): Payment | undefined =>
  payment.effectsDue ? marked({ ...payment, effectsDue: false }, payment.repairAt ?? undefined) : undefined

/** What of a payment can still be given back on request. */
export const refundableMinor = (payment: Payment): number =>
  payment.status === 'succeeded' && !payment.abandoned
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

/** A requested refund that is refused has failed; one that is owed is tried again until it is made. */
export const recordRefund = (payment: Payment, refundId: string, outcome: RefundOutcome, now: Date, repairAt: Date): Payment | undefined => {
  const refund = payment.refunds.find(({ id }) => id === refundId)
  if (refund?.status !== 'due') return undefined
  const { tryAt: _, pspCode: __, ...kept } = refund
  const next = ((): Refund => {
    if (outcome.status === 'succeeded') return { ...kept, status: 'succeeded' }
    if (outcome.status === 'unknown') return { ...kept, pspCode: outcome.pspCode, tryAt: later(now, REFUND_RETRY_MS) }
    if (refund.reason === 'requested') return { ...kept, pspCode: outcome.pspCode, status: 'failed' }
    return { ...kept, pspCode: outcome.pspCode, tryAt: later(now, REFUSED_REFUND_RETRY_MS) }
  })()
  const concernsSubscription = next.status === 'succeeded' && refund.reason === 'requested' && hasEffects(payment)
  const refunds = payment.refunds.map((one) => (one.id === refundId ? next : one))
  return marked({ ...payment, refunds, effectsDue: payment.effectsDue || concernsSubscription }, repairAt)
}

export const refundedMinor = (payment: Payment): number =>
  payment.refunds.filter((refund) => refund.status === 'succeeded').reduce((sum, refund) => sum + refund.amountMinor, 0)
