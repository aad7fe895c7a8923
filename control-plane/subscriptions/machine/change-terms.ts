/**
 * Other terms: another bundle, another quantity. Now: what is left of the paid period is credited, the same time on
 * the new terms is charged, and the change takes effect when that is paid. At the period's end: nothing is due now.
 *
 * A preview calls the same functions on the same document and stores nothing, so its amounts are the change's own.
 */
import { defined } from '../../../common/defined.ts'
import { AppError } from '../../../common/errors.ts'
import { type BillDraft, planLine, withBill } from '../../billing/bills.ts'
import { anchorFrom, billingDayOn, isSameCycle, periodFrom, priceOf, shareOfRest } from '../../billing/periods.ts'
import type { Terms } from '../../schemas/bundle.ts'
import type { Bill, Subscription } from '../../schemas/subscription.ts'
import type { Moment } from '../../work-time.ts'
import { refuse, refuseWhilePaying } from './end-subscription.ts'
import { isSameOffer, isSameTerms, scheduledAfter } from './scheduled-change.ts'
import { changed } from './state.ts'
import { takeEffect } from './take-effect.ts'

export interface ChangedTerms {
  subscription: Subscription
  /** The bill of the change; absent when it makes none. */
  bill?: Bill
}

const describe = (terms: Terms): string => `to ${terms.bundleId} × ${terms.quantity}`

/** @throws AppError `not_allowed_in_state`. */
export const changeTerms = (subscription: Subscription, terms: Terms, at: 'now' | 'period_end', moment: Moment): ChangedTerms => {
  const { status } = subscription
  if (status === 'scheduled') return changeBeforeStart(subscription, terms, moment)
  if (status === 'past_due' || status === 'suspended' || status === 'incomplete') throw refuse(subscription, 'changed', 'pay the overdue payment first')
  if (status === 'paused') throw refuse(subscription, 'changed', 'resume it first')
  if (status !== 'active' && status !== 'trialing') throw refuse(subscription, 'changed', 'it has ended; create a new one')
  refuseWhilePaying(subscription)
  if (at === 'period_end') return schedule(subscription, terms, moment)
  if (isSameTerms(subscription, terms)) throw new AppError('not_allowed_in_state', 'the subscription already has these terms')
  if (status === 'trialing') {
    const { scheduledChange, events } = scheduledAfter(subscription, terms)
    const event = { type: 'changed', why: `${describe(terms)}, in the trial, which ends as agreed` }
    return {
      subscription: changed(subscription, { ...onTerms(subscription, terms, subscription.currentPeriod.end), scheduledChange }, moment, event, ...events),
    }
  }
  if (subscription.collectionPausedAt) {
    throw new AppError('not_allowed_in_state', 'collection is paused: resume it first, or change the subscription at its period end')
  }
  return changeNow(subscription, terms, moment)
}

const changeBeforeStart = (subscription: Subscription, terms: Terms, moment: Moment): ChangedTerms => {
  if (isSameTerms(subscription, terms)) throw new AppError('not_allowed_in_state', 'the subscription already has these terms')
  const start = subscription.trialEnd ?? subscription.currentPeriod.start
  const event = { type: 'changed', why: `${describe(terms)}, before its start` }
  return { subscription: changed(subscription, { ...onTerms(subscription, terms, start), scheduledChange: undefined }, moment, event) }
}

/** Other terms from a moment on at which no paid period is left: the periods are counted anew from there. */
export const onTerms = (subscription: Subscription, terms: Terms, from: Date): Terms & { anchor: Date; billingDay: number | undefined } => {
  const billingDay = billingDayOn(subscription, terms)
  // A day that means nothing on the new terms is named as undefined, so that it replaces the old one.
  return { ...terms, billingDay, anchor: anchorFrom(defined({ ...terms, billingDay, timeZone: subscription.timeZone }), from) }
}

const schedule = (subscription: Subscription, terms: Terms, moment: Moment): ChangedTerms => {
  if (subscription.cancelAtPeriodEnd) throw new AppError('not_allowed_in_state', 'the subscription will end with its period; reactivate it first')
  if (isSameTerms(subscription, terms)) {
    if (!subscription.scheduledChange) throw new AppError('not_allowed_in_state', 'the subscription already has these terms')
    const event = { type: 'change_taken_back', why: 'it stays on its terms' }
    return { subscription: changed(subscription, { scheduledChange: undefined }, moment, event) }
  }
  const event = { type: 'change_scheduled', why: `${describe(terms)}, on ${subscription.currentPeriod.end.toISOString()}` }
  return { subscription: changed(subscription, { scheduledChange: terms }, moment, event) }
}

/** The charge and the credit of a change now, and the period it leads to. */
const draftOf = (subscription: Subscription, terms: Terms, now: Date): BillDraft => {
  const { currentPeriod } = subscription
  const unused = shareOfRest(subscription, currentPeriod.creditableMinor, currentPeriod, now)
  const credit = { ...planLine(subscription, unused === 0 ? 0 : -unused, { start: now, end: currentPeriod.end }), kind: 'unused' as const }
  // Seats of this period cost what was agreed for it, whatever is agreed for the next by now.
  const pricing = isSameOffer(terms, subscription) ? (currentPeriod.pricing ?? terms.pricing) : terms.pricing
  const price = priceOf({ ...terms, pricing })
  // Whoever asks for it is there: they can be asked to act.
  const common = { reason: 'change', terms, creditableMinor: price, onSession: true } as const
  if (isSameCycle(terms, subscription)) {
    const { index, start, end, wholeStart, wholeEnd } = currentPeriod
    const charge = planLine(terms, shareOfRest(subscription, price, currentPeriod, now), { start: now, end })
    return { ...common, period: { index, start, end, wholeStart, wholeEnd }, lines: [credit, charge] }
  }
  const next: Subscription = defined({ ...subscription, ...onTerms(subscription, terms, now) })
  const { anchor } = next
  const period = periodFrom(next, now)
  const charge = planLine(terms, shareOfRest(subscription, price, period, now), period)
  return { ...common, period, anchor, lines: [credit, charge] }
}

const changeNow = (subscription: Subscription, terms: Terms, moment: Moment): ChangedTerms => {
  const { subscription: billed, bill } = withBill(subscription, draftOf(subscription, terms, moment.now), moment.now)
  const event = { type: 'change_asked', why: describe(terms), paymentId: bill.paymentId, amountMinor: bill.amountMinor }
  const asked = changed(billed, {}, moment, event)
  // Nothing to charge, so nothing to wait for.
  return { subscription: bill.status === 'settled' ? takeEffect(asked, bill, moment) : asked, bill }
}
