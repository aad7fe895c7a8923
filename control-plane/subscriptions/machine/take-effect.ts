/** A bill that is paid takes effect: its period begins, or its change is made, with the money that it brings. */
import { fixedQuotaAnchor, withPause } from '../../billing/allowance-anchor.ts'
import { wholePrice, withoutBill } from '../../billing/bills.ts'
import { joined, type Lot, takenNewest } from '../../billing/lots.ts'
import { billingDayOn, shareBetween, withoutAccess } from '../../billing/periods.ts'
import type { Bill, Change, Subscription } from '../../schemas/subscription.ts'
import type { Moment } from '../../work-time.ts'
import { isSameOffer, scheduledAfter, termsIn } from './scheduled-change.ts'
import { become, changed, type NewEvent } from './state.ts'
import { paidFromOf, remembersAsCredit } from './take-lots.ts'

/** The bill is paid, or there was nothing to pay: it takes effect. */
export const takeEffect = (subscription: Subscription, bill: Bill, moment: Moment): Subscription =>
  bill.reason === 'change' ? changeTakesEffect(subscription, bill, moment) : periodTakesEffect(subscription, bill, moment)

/** Removes the bill, unless it was never open: then its payment is still to be stored. */
const done = (subscription: Subscription, bill: Bill): Change => (bill.status === 'settled' ? {} : withoutBill(subscription, bill))

/** The money that a bill brings: its own payment's, and that of the credit it used. */
const broughtBy = (bill: Bill): Lot[] => joined(bill.creditFrom, [{ paymentId: bill.paymentId, amountMinor: bill.amountMinor }])

const changeTakesEffect = (subscription: Subscription, bill: Bill, moment: Moment): Subscription => {
  const { ownBill, firstBill, refunds } = subscription.currentPeriod
  const terms = bill.terms ?? termsIn(subscription)
  const samePeriod = bill.period.wholeStart.getTime() === subscription.currentPeriod.wholeStart.getTime() && !bill.anchor
  const unused = bill.lines.reduce((sum, { kind, amountMinor }) => (kind === 'unused' ? sum - amountMinor : sum), 0)
  // What was used of the period is gone with its oldest money; what is left over becomes credit.
  const kept = takenNewest(paidFromOf(subscription), unused).taken
  const { taken: toCredit, left } = takenNewest(kept, Math.max(0, -bill.creditMinor))
  const keepsPrice = samePeriod && isSameOffer(terms, subscription)
  const { pricing } = subscription.currentPeriod
  const currentPeriod: Subscription['currentPeriod'] = {
    ...bill.period,
    creditableMinor: bill.creditableMinor,
    ownBill: samePeriod ? ownBill : bill.seq,
    // What was credited from the period before is in this one.
    firstBill: samePeriod || unused > 0 ? firstBill : bill.seq,
    refunds,
    paidFrom: joined(left, broughtBy(bill)),
    ...(keepsPrice && pricing ? { pricing } : {}),
  }
  const creditFrom = joined(subscription.creditFrom, toCredit)
  const { scheduledChange, events } = scheduledAfter(subscription, terms)
  const moved = bill.anchor ? { anchor: bill.anchor, billingDay: billingDayOn(subscription, terms), quotaAnchor: fixedQuotaAnchor(subscription) } : {}
  return changed(
    subscription,
    { ...done(subscription, bill), ...terms, currentPeriod, creditFrom, scheduledChange, moneyBack: remembersAsCredit(subscription, bill.openedAt), ...moved },
    moment,
    { type: 'changed', why: `to ${terms.bundleId} × ${terms.quantity}, now`, paymentId: bill.paymentId, amountMinor: bill.amountMinor },
    ...events,
  )
}

/** The time from which its period counts as not served: a suspension; or all of a period that was over before it was paid. */
const notServedSince = (subscription: Subscription, bill: Bill, now: Date): Date | undefined => {
  const { status, billMissed } = subscription
  if (status === 'suspended') return subscription.suspendedAt
  const late = status === 'paused' || (status === 'incomplete' && !billMissed)
  return late && bill.period.end <= now ? bill.period.start : undefined
}

const periodTakesEffect = (subscription: Subscription, bill: Bill, moment: Moment): Subscription => {
  const { now } = moment
  const since = notServedSince(subscription, bill, now)
  const offSpans = [...(subscription.offSpans ?? []), ...(since ? [{ from: since, to: now }] : [])]
  // What is tried in a suspension leaves it out already, up to then.
  const { leftOutUntil } = bill
  const notLeftOut = since ? withoutAccess([{ from: leftOutUntil && leftOutUntil > since ? leftOutUntil : since, to: now }], bill.period) : []
  const notServed = Math.min(
    paidIn(bill),
    notLeftOut.reduce((sum, { from, to }) => sum + shareBetween(subscription, wholePrice(bill), bill.period, from, to), 0),
  )
  const creditMinor = notServed + paidTooMuch(subscription, bill)
  const { taken: toCredit, left } = takenNewest(broughtBy(bill), creditMinor)
  const resumed = subscription.status === 'paused' ? withPause(subscription, subscription.pausedAt, now) : {}
  const paid: Change = {
    ...done(subscription, bill),
    ...resumed,
    offSpans,
    currentPeriod: {
      ...bill.period,
      ownBill: bill.seq,
      firstBill: bill.seq,
      creditableMinor: bill.creditableMinor,
      ...(hasOtherPrice(bill, subscription) && bill.pricing ? { pricing: bill.pricing } : {}),
      refunds: [],
      paidFrom: left,
    },
    creditMinor: subscription.creditMinor + creditMinor,
    creditGivenMinor: (subscription.creditGivenMinor ?? 0) + notServed,
    creditFrom: joined(subscription.creditFrom, toCredit),
    accessFrom: subscription.accessFrom ?? bill.period.start,
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
            why: 'time without access is not billed: the money paid for it becomes credit',
            paymentId: bill.paymentId,
            amountMinor: creditMinor,
          },
        ]
      : []
  return changed(become(subscription, { status: 'active' }), paid, moment, { type, why, paymentId: bill.paymentId, amountMinor: bill.amountMinor }, ...credited)
}

/** A price that was raised while it was being paid is the next period's. */
const hasOtherPrice = ({ pricing }: Bill, subscription: Subscription): boolean =>
  pricing !== undefined && pricing.amountMinor !== subscription.pricing.amountMinor

/** The amount that was charged beyond what the bill came to in the end. */
const paidTooMuch = ({ bills }: Subscription, bill: Bill): number => {
  const owed = bills.find(({ paymentId }) => paymentId === bill.paymentId)
  return owed ? Math.max(0, bill.amountMinor - owed.amountMinor) : 0
}

const paidIn = ({ lines }: Bill): number => lines.reduce((sum, { kind, amountMinor }) => (kind === 'plan' ? sum + amountMinor : sum), 0)
