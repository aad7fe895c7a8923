/** What the outcome of a bill's payment does to its subscription. */
import { fixedQuotaAnchor, withPause } from '../../billing/allowance-anchor.ts'
import { openBill, replaceBill, withoutBill } from '../../billing/bills.ts'
import { graceFrom, lastWordBy, nextRetryAt } from '../../billing/dunning.ts'
import { joined, type Lot, takenNewest } from '../../billing/lots.ts'
import { billingDayOn, shareBetween, withoutAccess } from '../../billing/periods.ts'
import { consequences } from '../../payments/machine/decline-classes.ts'
import { openAttempt } from '../../payments/machine/state.ts'
import type { Payment } from '../../schemas/payment.ts'
import type { Bill, Subscription } from '../../schemas/subscription.ts'
import { dropped, end } from './end-subscription.ts'
import { isSameOffer, scheduledAfter, termsIn } from './scheduled-change.ts'
import { changed, type Moment, type NewEvent } from './state.ts'
import { triedAgain } from './try-again.ts'

/** @returns undefined when nothing changes. */
export const afterPayment = (subscription: Subscription, bill: Bill, payment: Payment, moment: Moment): Subscription | undefined => {
  const { status } = bill
  switch (status) {
    case 'settled':
    case 'dropped':
      // Its payment is stored, or knows that nobody wants it: the bill has served.
      return changed(subscription, withoutBill(subscription, bill), moment)
    case 'open':
      if (payment.status === 'succeeded') return settled({ ...subscription, ...paidAt(payment) }, asPaid(bill, payment), moment)
      if (payment.status === 'canceled') return dropped(subscription, bill, moment)
      if (payment.status === 'failed' && bill.failedRound < payment.round) return failed(subscription, bill, payment, moment)
      if (bill.reason === 'period' && payment.status === 'processing' && isRunning(subscription) && openAttempt(payment)?.status === 'requires_action') {
        return overdue(subscription, bill, moment, 'the customer has to act before the payment can be made')
      }
      return undefined
    default:
      return status satisfies never
  }
}

/** An attempt that was made for more, and succeeds after all: what is more is credited when the bill takes effect. */
const asPaid = (bill: Bill, payment: Payment): Bill => ({ ...bill, amountMinor: payment.amountMinor })

/** Renewals stay with the account that took the last payment. */
const paidAt = (payment: Payment): Pick<Subscription, 'paidAt'> => {
  const account = payment.attempts.find(({ status }) => status === 'succeeded')?.account
  return account ? { paidAt: account } : {}
}

/** A renewal is being paid, and access does not hang on it yet. */
const isRunning = ({ status }: Subscription): boolean => status === 'active' || status === 'trialing'

/** Grace begins, and the retry schedule. */
export const overdue = (subscription: Subscription, bill: Bill, moment: Moment, why: string): Subscription => {
  const failedAt = bill.failedAt ?? moment.now
  const graceUntil = graceFrom(subscription.billing, moment.now)
  const retryAt = nextRetryAt(subscription.billing, failedAt, moment.now)
  const known = replaceBill(subscription, { ...bill, failedAt })
  return changed(subscription, { ...known, status: 'past_due', graceUntil, retryAt }, moment, {
    type: 'past_due',
    why: `${why}; access until ${graceUntil.toISOString()}, next try ${retryAt?.toISOString() ?? 'never'}`,
    paymentId: bill.paymentId,
    amountMinor: bill.amountMinor,
  })
}

/** The bill is paid, or there was nothing to pay: it takes effect. */
export const settled = (subscription: Subscription, bill: Bill, moment: Moment): Subscription =>
  bill.reason === 'change' ? changeSettled(subscription, bill, moment) : periodSettled(subscription, bill, moment)

/** One that was never open has its payment still to be stored. */
const done = (subscription: Subscription, bill: Bill): Partial<Subscription> => (bill.status === 'settled' ? {} : withoutBill(subscription, bill))

/** The money that a bill brings: its own payment's, and that of the credit it used. */
const broughtBy = (bill: Bill): Lot[] => joined(bill.creditFrom, [{ paymentId: bill.paymentId, amountMinor: bill.amountMinor }])

const changeSettled = (subscription: Subscription, bill: Bill, moment: Moment): Subscription => {
  const { ownBill, firstBill, refunds, paidFrom, pricing } = subscription.currentPeriod
  const terms = bill.terms ?? termsIn(subscription)
  const samePeriod = bill.period.wholeStart.getTime() === subscription.currentPeriod.wholeStart.getTime() && !bill.anchor
  const unused = bill.lines.reduce((sum, { kind, amountMinor }) => (kind === 'unused' ? sum - amountMinor : sum), 0)
  // What was used of the period left is gone with its oldest money; what is left over becomes credit.
  const kept = samePeriod ? (paidFrom ?? undefined) : takenNewest(paidFrom, unused).taken
  const { taken: toCredit, left } = takenNewest(kept, Math.max(0, -bill.creditMinor))
  const keepsPrice = samePeriod && isSameOffer(terms, subscription)
  const currentPeriod: Subscription['currentPeriod'] = {
    ...bill.period,
    creditableMinor: bill.creditableMinor,
    ownBill: samePeriod ? ownBill : bill.seq,
    // What was credited from the period before is in this one.
    firstBill: samePeriod || unused > 0 ? firstBill : bill.seq,
    refunds,
    ...(paidFrom || !samePeriod ? { paidFrom: joined(left, broughtBy(bill)) as typeof paidFrom } : {}),
    ...(keepsPrice && pricing ? { pricing } : {}),
  }
  const creditFrom = joined(subscription.creditFrom, toCredit) as Subscription['creditFrom']
  const { scheduledChange, events } = scheduledAfter(subscription, terms)
  const moved = bill.anchor ? { anchor: bill.anchor, billingDay: billingDayOn(subscription, terms), quotaAnchor: fixedQuotaAnchor(subscription) } : {}
  return changed(
    subscription,
    { ...done(subscription, bill), ...terms, currentPeriod, creditFrom, scheduledChange, ...moved },
    moment,
    { type: 'changed', why: `to ${terms.bundleId} × ${terms.quantity}, now`, paymentId: bill.paymentId, amountMinor: bill.amountMinor },
    ...events,
  )
}

/** From when its time counts as not served: a suspension; or all of a period that was over before it was paid. */
const notServedSince = (subscription: Subscription, bill: Bill, now: Date): Date | undefined => {
  const { status, suspendedAt, billMissed } = subscription
  if (status === 'suspended') return suspendedAt ?? undefined
  const late = status === 'paused' || (status === 'incomplete' && !billMissed)
  return late && bill.period.end <= now ? bill.period.start : undefined
}

const periodSettled = (subscription: Subscription, bill: Bill, moment: Moment): Subscription => {
  const { now } = moment
  const since = notServedSince(subscription, bill, now)
  const restored = since ? { suspendedAt: since, resumedAt: now } : subscription.resumedAt ? {} : { suspendedAt: undefined }
  // What is tried in a suspension leaves it out already, up to then.
  const notLeftOut = since && bill.leftOutUntil && bill.leftOutUntil > since ? bill.leftOutUntil : since
  const without = notLeftOut ? withoutAccess({ suspendedAt: notLeftOut, resumedAt: now }, bill.period) : undefined
  const notServed = without ? Math.min(paidIn(bill), shareBetween(subscription, priceIn(bill), bill.period, without.from, without.to)) : 0
  const creditMinor = notServed + paidTooMuch(subscription, bill)
  const { taken: toCredit, left } = takenNewest(broughtBy(bill), creditMinor)
  const resumed = subscription.status === 'paused' && subscription.pausedAt ? withPause(subscription, subscription.pausedAt, now) : {}
  const paid: Partial<Subscription> = {
    ...done(subscription, bill),
    ...restored,
    ...resumed,
    status: 'active',
    currentPeriod: {
      ...bill.period,
      ownBill: bill.seq,
      firstBill: bill.seq,
      creditableMinor: bill.creditableMinor,
      refunds: [],
      paidFrom: left as Subscription['currentPeriod']['paidFrom'],
    },
    creditMinor: subscription.creditMinor + creditMinor,
    creditGivenMinor: (subscription.creditGivenMinor ?? 0) + notServed,
    creditFrom: joined(subscription.creditFrom, toCredit) as Subscription['creditFrom'],
    accessFrom: subscription.accessFrom ?? bill.period.start,
    payBy: undefined,
    graceUntil: undefined,
    retryAt: undefined,
    pausedAt: undefined,
    pauseReason: undefined,
    resumeAt: undefined,
  }
  const type =
    subscription.status === 'active' ? 'renewed' : subscription.status === 'past_due' || subscription.status === 'suspended' ? 'recovered' : 'activated'
  const how = bill.amountMinor > 0 ? 'the payment was made for' : bill.creditMinor > 0 ? 'credit covers' : 'nothing was due yet for'
  const why = `${how} the period from ${bill.period.start.toISOString()} to ${bill.period.end.toISOString()}`
  const credited: NewEvent[] =
    creditMinor > 0
      ? [
          {
            type: 'suspension_credited',
            why: 'time without access is not billed: what was paid for it is credit',
            paymentId: bill.paymentId,
            amountMinor: creditMinor,
          },
        ]
      : []
  return changed(subscription, paid, moment, { type, why, paymentId: bill.paymentId, amountMinor: bill.amountMinor }, ...credited)
}

/** What a whole one of the bill's periods cost when it was made: refunds may have lowered its worth since. */
const priceIn = ({ lines, period, creditableMinor }: Bill): number => {
  const plan = lines.find(({ kind }) => kind === 'plan')
  return plan && period.start.getTime() === period.wholeStart.getTime() && period.end.getTime() === period.wholeEnd.getTime()
    ? plan.amountMinor
    : creditableMinor
}

/** What was charged beyond what the bill came to in the end. */
const paidTooMuch = ({ bills }: Subscription, bill: Bill): number => {
  const owed = bills.find(({ paymentId }) => paymentId === bill.paymentId)
  return owed ? Math.max(0, bill.amountMinor - owed.amountMinor) : 0
}

const paidIn = ({ lines }: Bill): number => lines.reduce((sum, { kind, amountMinor }) => (kind === 'plan' ? sum + amountMinor : sum), 0)

/** Nobody has refused the customer when only providers were away: they are asked again, at first this soon, then ever later. */
const ASK_AGAIN_AFTER_MS = 3_600_000
/** Card networks count every request; and what is still broken after a day is mended by people. */
const ASK_AGAIN_AT_MOST_MS = 24 * 3_600_000

const askAgainAt = (now: Date, round: number): Date => new Date(now.getTime() + Math.min(ASK_AGAIN_AFTER_MS * 2 ** (round - 1), ASK_AGAIN_AT_MOST_MS))
const leavesAccess = (payment: Payment): boolean => {
  const tried = payment.attempts.filter(({ round }) => round === payment.round)
  return tried.length > 0 && tried.every(({ status, declineClass }) => status === 'not_sent' || (declineClass && consequences[declineClass].accessUnchanged))
}

const lastWord = (payment: Payment): string => {
  if (payment.failure) return payment.failure
  const last = payment.attempts.at(-1)
  if (!last) return 'no payment provider could take it'
  return last.declineClass ? `${last.account} declined: ${last.declineClass}${last.pspCode ? ` (${last.pspCode})` : ''}` : `${last.account}: ${last.status}`
}

const failed = (subscription: Subscription, bill: Bill, payment: Payment, moment: Moment): Subscription => {
  const facts = { paymentId: bill.paymentId, amountMinor: bill.amountMinor }
  const why = lastWord(payment)
  // A retry that was asked for meanwhile is over with this round; another method is tried at once.
  const another = subscription.paymentMethodId && subscription.paymentMethodId !== payment.paymentMethodId
  const refused: Bill = { ...bill, failedRound: payment.round, round: payment.round }
  const { status } = subscription
  const present = { onSession: bill.onSession, returnUrl: bill.returnUrl }
  if ((bill.reason === 'change' || status === 'paused') && another) return changed(triedAgain(subscription, refused, present, moment), {}, moment)
  // Nothing has changed for the customer: the change, or the resumption, did not come about.
  if (bill.reason === 'change') return changed(dropped(subscription, bill, moment), {}, moment, { type: 'change_declined', why, ...facts })
  if (status === 'paused') return changed(dropped(subscription, bill, moment), {}, moment, { type: 'resume_declined', why, ...facts })

  const told = changed(subscription, replaceBill(subscription, refused), moment, { type: 'payment_failed', why, ...facts })
  const noted = another ? triedAgain(told, refused, present, moment) : told
  if (noted.status !== status) return noted
  if (isRunning(subscription)) {
    // Nobody has refused the customer: access is left alone, and the providers are asked again soon.
    if (leavesAccess(payment)) return changed(noted, { retryAt: askAgainAt(moment.now, payment.round) }, moment)
    return overdue(noted, openBill(noted, 'period') ?? refused, moment, why)
  }
  if (status === 'past_due' || status === 'suspended') {
    const retryAt = nextRetryAt(subscription.billing, bill.failedAt ?? moment.now, moment.now)
    if (!retryAt && !another) return end(noted, 'unpaid', moment.now, moment)
    return changed(noted, { retryAt: retryAt ?? lastWordBy(moment.now) }, moment)
  }
  // Incomplete: another payment method, or time, decides.
  return noted
}
