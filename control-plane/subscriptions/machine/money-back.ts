/**
 * Money of its payments that went back to the customer: refunds that somebody asked for, and disputes that were lost. It
 * cannot be credited a second time: it comes off what the current period is worth, then off the credit, as far as either
 * is that payment's money. When it comes back after all (a refund that bounced, a dispute won late), so does what it took.
 *
 * Every fact of a payment is looked at each time, whatever their number and order; what is accounted for is remembered
 * here and marked in the payment, so that looking again is harmless.
 */
import { shareOf } from '../../../common/money.ts'
import { dropBills } from '../../billing/bills.ts'
import { joined, type Lot, ofPayment, sumOf, without } from '../../billing/lots.ts'
import { pieceOf } from '../../billing/periods.ts'
import { moneyFacts } from '../../payments/machine/money-facts.ts'
import { refundableMinor } from '../../payments/machine/refunds.ts'
import type { Payment } from '../../schemas/payment.ts'
import type { Bill, Subscription } from '../../schemas/subscription.ts'
import { end } from './end-subscription.ts'
import { changed, isFinal, type Moment, type NewEvent } from './state.ts'

type MoneyBack = NonNullable<Subscription['moneyBack']>[number]
type Took = Pick<MoneyBack, 'period' | 'worthMinor' | 'creditMinor'>

/** The payments have them all: here are those that may not be marked there yet, and some more. */
const MAX_REMEMBERED = 60
/** So many facts are accounted for in one write, so that none is forgotten before it is marked. */
const MAX_AT_ONCE = 40

/** What a period, or a bill that will begin one, holds of a payment. Periods of before lots were kept hold all since their first bill. */
interface Holder {
  period: number
  lots: readonly Lot[] | undefined
  creditableMinor: number
  piece: [part: number, whole: number]
}

const currentHolder = (subscription: Subscription, payment: Payment): Holder => {
  const { currentPeriod } = subscription
  const { ownBill, firstBill, paidFrom, creditableMinor } = currentPeriod
  const seq = payment.seq ?? -1
  // A payment of a piece of the period is of so much of the whole one's price.
  const line = seq >= ownBill ? payment.lines.find(({ kind }) => kind === 'plan') : paidFrom ? currentPeriod : undefined
  const lots = paidFrom ?? (seq >= firstBill ? undefined : [])
  return { period: ownBill, lots, creditableMinor, piece: line ? pieceOf(subscription, line, currentPeriod) : [1, 1] }
}

const billHolder = (subscription: Subscription, bill: Bill): Holder => ({
  period: bill.seq,
  lots: bill.creditFrom ?? [],
  creditableMinor: bill.creditableMinor,
  piece: pieceOf(subscription, bill.period, bill.period),
})

/** What of an amount comes off a holder's worth, and what of the amount is left after it. */
const offWorth = ({ lots, creditableMinor, piece: [part, whole] }: Holder, paymentId: string, amountMinor: number): { worthMinor: number; left: number } => {
  const within = lots ? Math.min(amountMinor, ofPayment(lots, paymentId)) : amountMinor
  const ofWhole = shareOf(within, whole, part)
  if (ofWhole <= creditableMinor) return { worthMinor: ofWhole, left: amountMinor - within }
  return { worthMinor: creditableMinor, left: Math.max(0, amountMinor - shareOf(creditableMinor, part, whole)) }
}

const renewalUsing = ({ bills }: Subscription, paymentId: string): Bill | undefined =>
  bills.find(({ status, reason, creditFrom }) => status === 'open' && reason === 'period' && ofPayment(creditFrom, paymentId) > 0)

/** How much of the credit is this payment's money. Credit of before its origin was kept may be any payment's. */
const creditOf = (subscription: Subscription, payment: Payment): number => {
  const untold = subscription.creditMinor - sumOf(subscription.creditFrom)
  return Math.min(subscription.creditMinor, ofPayment(subscription.creditFrom, payment.id) + (payment.countsMoneyBack ? 0 : Math.max(0, untold)))
}

const take = (before: Subscription, payment: Payment, amountMinor: number): { subscription: Subscription; took: Took } => {
  // A change that is on its way was reckoned with money that is not there any more.
  const subscription = { ...before, ...dropBills(before, ({ reason }) => reason === 'change') }
  const { currentPeriod } = subscription
  let left = amountMinor
  const isRunning = !isFinal(subscription.status)
  const off = isRunning ? offWorth(currentHolder(subscription, payment), payment.id, left) : { worthMinor: 0, left }
  left = off.left
  const renewal = isRunning ? renewalUsing(subscription, payment.id) : undefined
  const offRenewal = renewal ? offWorth(billHolder(subscription, renewal), payment.id, left) : { worthMinor: 0, left }
  left = offRenewal.left
  const creditMinor = Math.min(left, creditOf(subscription, payment))
  if (off.worthMinor + offRenewal.worthMinor + creditMinor === 0)
    return { subscription: before, took: { period: currentPeriod.ownBill, worthMinor: 0, creditMinor: 0 } }
  return {
    subscription: {
      ...subscription,
      currentPeriod: { ...currentPeriod, creditableMinor: currentPeriod.creditableMinor - off.worthMinor },
      bills: subscription.bills.map((bill) => (bill === renewal ? { ...bill, creditableMinor: bill.creditableMinor - offRenewal.worthMinor } : bill)),
      creditMinor: subscription.creditMinor - creditMinor,
      creditFrom: without(subscription.creditFrom, payment.id, creditMinor) as Subscription['creditFrom'],
      creditRefundedMinor: subscription.creditRefundedMinor + creditMinor,
    },
    took: { period: currentPeriod.ownBill, worthMinor: off.worthMinor, creditMinor },
  }
}

/** What it took is there again; of a period that is over by then nothing is. */
const giveAgain = (subscription: Subscription, payment: Payment, { period, worthMinor, creditMinor }: Took): Subscription => {
  const { currentPeriod } = subscription
  const worth = period === currentPeriod.ownBill ? worthMinor : 0
  return {
    ...subscription,
    currentPeriod: { ...currentPeriod, creditableMinor: currentPeriod.creditableMinor + worth },
    creditMinor: subscription.creditMinor + creditMinor,
    creditFrom: joined(subscription.creditFrom, [{ paymentId: payment.id, amountMinor: creditMinor }]) as Subscription['creditFrom'],
    creditRefundedMinor: subscription.creditRefundedMinor - creditMinor,
  }
}

/** What is remembered of a fact: here, in the payment, or in a period of before either was kept. */
const remembered = (subscription: Subscription, id: string, marked: Took | undefined): Took | undefined => {
  const here = subscription.moneyBack?.find((one) => one.id === id) ?? marked
  if (here) return here
  const { currentPeriod } = subscription
  if (!currentPeriod.refunds.includes(id)) return undefined
  const took = currentPeriod.refundsTook?.find(({ refundId }) => refundId === id)
  return { period: currentPeriod.ownBill, worthMinor: took?.creditableMinor ?? 0, creditMinor: took?.creditMinor ?? 0 }
}

/** A payment of before facts were marked: what happened before this period was seen then. */
const wasSeenBefore = (subscription: Subscription, payment: Payment, at: Date): boolean => !payment.countsMoneyBack && at < subscription.currentPeriod.start

const events = {
  refund: { gone: { type: 'refunded', why: 'a refund was asked for' }, back: { type: 'refund_failed', why: 'the bank of the customer sent it back' } },
  dispute: { gone: undefined, back: undefined },
} satisfies Record<string, { gone: NewEvent | undefined; back: NewEvent | undefined }>

/** @returns undefined when everything that went back is accounted for. */
export const afterMoneyBack = (subscription: Subscription, payment: Payment, moment: Moment): Subscription | undefined => {
  let current = subscription
  let done = 0
  for (const { id, kind, isGone, amountMinor, counted, at } of moneyFacts(payment)) {
    const known = remembered(current, id, counted)
    if (isGone === (known !== undefined) || (isGone && wasSeenBefore(current, payment, at)) || done === MAX_AT_ONCE) continue
    done += 1
    const event = isGone ? events[kind].gone : events[kind].back
    const told: NewEvent[] = event ? [{ ...event, paymentId: payment.id, ...(isGone ? { amountMinor } : {}) }] : []
    const others = (current.moneyBack ?? []).filter((one) => one.id !== id)
    if (known) {
      const { refunds } = current.currentPeriod
      const back = giveAgain(current, payment, known)
      const currentPeriod = { ...back.currentPeriod, refunds: refunds.filter((one) => one !== id) }
      current = changed(back, { currentPeriod, moneyBack: others as Subscription['moneyBack'] }, moment, ...told)
    } else {
      const { subscription: taken, took } = take(current, payment, amountMinor)
      const moneyBack = [...others, { id, ...took }].slice(-MAX_REMEMBERED) as Subscription['moneyBack']
      current = changed(taken, { moneyBack }, moment, ...told)
    }
  }
  if (done === 0) return undefined
  return endsAccess(current, payment) ? end(current, 'refunded', moment.now, moment) : current
}

/** Its period is worth nothing any more, and this payment of it went back in full: in whichever order that came about. */
const endsAccess = (subscription: Subscription, payment: Payment): boolean => {
  const { currentPeriod, refundEndsAccess, status } = subscription
  if (!refundEndsAccess || isFinal(status) || currentPeriod.creditableMinor > 0 || refundableMinor(payment) > 0) return false
  if (!payment.refunds.some(({ reason, status: of }) => reason === 'requested' && of === 'succeeded')) return false
  return currentPeriod.paidFrom ? ofPayment(currentPeriod.paidFrom, payment.id) > 0 : (payment.seq ?? -1) >= currentPeriod.firstBill
}

/** Where money of a subscription's payments lies by now beside itself. */
export const heirsOf = ({ creditMovedTo }: Pick<Subscription, 'creditMovedTo'>, paymentId: string): string[] =>
  (creditMovedTo ?? []).filter(({ creditFrom }) => ofPayment(creditFrom, paymentId) > 0).map(({ subscriptionId }) => subscriptionId)
