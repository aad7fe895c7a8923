/**
 * Takes money of one origin (a payment, or a subscription that credit was taken over from) off wherever it lies in a
 * subscription: what the running period was paid with, credit that an open renewal uses, the credit, and credit that
 * another subscription has taken over by now. What is found nowhere was used up before.
 */
import { shareOf } from '../../../common/money.ts'
import { dropBills, paymentIdOfBill } from '../../billing/bills.ts'
import { joined, type Lot, ofPayment, sumOf, without } from '../../billing/lots.ts'
import { pieceOf, shareOfRest } from '../../billing/periods.ts'
import type { Bill, Subscription } from '../../schemas/subscription.ts'
import { isFinal } from './transitions.ts'

export type TakenMoney = Pick<NonNullable<Subscription['moneyBack']>[number], 'period' | 'paidMinor' | 'worthMinor' | 'creditMinor' | 'movedMinor'>

/** The money that the running period was paid with. Of periods of before this was kept all is taken for their own bill's. */
export const paidFromOf = ({ tenantId, id, currentPeriod, ...rest }: Subscription): Lot[] => {
  const { paidFrom, creditableMinor, ownBill } = currentPeriod
  if (paidFrom) return paidFrom
  const [part, whole] = pieceOf(rest, currentPeriod, currentPeriod)
  return joined([{ paymentId: paymentIdOfBill(tenantId, id, ownBill), amountMinor: shareOf(creditableMinor, part, whole) }])
}

/** A period is worth as much less as less of what was paid for it is there. */
const worthAfter = (creditableMinor: number, before: readonly Lot[], after: readonly Lot[]): number => shareOf(creditableMinor, sumOf(after), sumOf(before))

const offPeriod = (subscription: Subscription, origin: string, wanted: number): { subscription: Subscription; paidMinor: number; worthMinor: number } => {
  const before = paidFromOf(subscription)
  const paidMinor = Math.min(wanted, ofPayment(before, origin))
  if (paidMinor === 0) return { subscription, paidMinor, worthMinor: 0 }
  const { currentPeriod } = subscription
  const paidFrom = without(before, origin, paidMinor)
  const creditableMinor = worthAfter(currentPeriod.creditableMinor, before, paidFrom)
  return {
    subscription: { ...subscription, currentPeriod: { ...currentPeriod, paidFrom: paidFrom, creditableMinor } },
    paidMinor,
    worthMinor: currentPeriod.creditableMinor - creditableMinor,
  }
}

const withoutCredit = (bill: Bill, origin: string, amountMinor: number): Bill => {
  const own = [{ paymentId: bill.paymentId, amountMinor: bill.amountMinor }]
  const creditFrom = without(bill.creditFrom, origin, amountMinor)
  return {
    ...bill,
    creditFrom: creditFrom,
    creditGoneMinor: (bill.creditGoneMinor ?? 0) + amountMinor,
    creditableMinor: worthAfter(bill.creditableMinor, joined(own, bill.creditFrom), joined(own, creditFrom)),
  }
}

/** Off the credit that renewals which are still to be paid use: they are worth less, and what they took does not return. */
const offBills = (subscription: Subscription, origin: string, wanted: number): { subscription: Subscription; amountMinor: number } => {
  let left = wanted
  const bills = subscription.bills.map((bill) => {
    const amountMinor = bill.status === 'open' ? Math.min(left, ofPayment(bill.creditFrom, origin)) : 0
    left -= amountMinor
    return amountMinor > 0 ? withoutCredit(bill, origin, amountMinor) : bill
  })
  return { subscription: { ...subscription, bills }, amountMinor: wanted - left }
}

/** @param untold whether credit whose origin is not known may be this. */
const offCredit = (subscription: Subscription, origin: string, wanted: number, untold: boolean): { subscription: Subscription; amountMinor: number } => {
  const unknown = Math.max(0, subscription.creditMinor - sumOf(subscription.creditFrom))
  const there = ofPayment(subscription.creditFrom, origin) + (untold ? unknown : 0)
  const amountMinor = Math.min(wanted, there, subscription.creditMinor)
  return {
    subscription: {
      ...subscription,
      creditMinor: subscription.creditMinor - amountMinor,
      creditFrom: without(subscription.creditFrom, origin, amountMinor),
      creditRefundedMinor: subscription.creditRefundedMinor + amountMinor,
    },
    amountMinor,
  }
}

const offMoved = (subscription: Subscription, origin: string, wanted: number): { subscription: Subscription; amountMinor: number } => {
  let left = wanted
  const creditMovedTo = subscription.creditMovedTo?.map((move) => {
    const amountMinor = Math.min(left, ofPayment(move.creditFrom, origin))
    left -= amountMinor
    return { ...move, creditFrom: without(move.creditFrom, origin, amountMinor), recalledMinor: move.recalledMinor + amountMinor }
  })
  return { subscription: creditMovedTo ? { ...subscription, creditMovedTo } : subscription, amountMinor: wanted - left }
}

/**
 * Takes up to `wanted` minor units of one origin: first off the running period, then off bills, off the credit, and off credit
 * that another subscription has taken over.
 * @param origin of the money: a payment's id, or `inheritedFrom(…)` of a subscription.
 * @param untold whether credit whose origin is not known may be of this one.
 * @returns the subscription, unchanged if it had nothing of that origin, and what was taken from where.
 */
export const takeLots = (before: Subscription, origin: string, wanted: number, untold: boolean): { subscription: Subscription; took: TakenMoney } => {
  // A change that is on its way was reckoned with money that is not there any more.
  const undone = { ...before, ...dropBills(before, ({ reason }) => reason === 'change') }
  const period = isFinal(before.status) ? { subscription: undone, paidMinor: 0, worthMinor: 0 } : offPeriod(undone, origin, wanted)
  const bills = offBills(period.subscription, origin, wanted - period.paidMinor)
  const credit = offCredit(bills.subscription, origin, wanted - period.paidMinor - bills.amountMinor, untold)
  const creditMinor = bills.amountMinor + credit.amountMinor
  const moved = offMoved(credit.subscription, origin, wanted - period.paidMinor - creditMinor)
  const took = { period: before.currentPeriod.ownBill, paidMinor: period.paidMinor, worthMinor: period.worthMinor, creditMinor, movedMinor: moved.amountMinor }
  return { subscription: period.paidMinor + creditMinor + moved.amountMinor === 0 ? before : moved.subscription, took }
}

/** Gives back what was taken: to the period while it runs, else as credit; and to whatever it was recalled from. */
export const giveLots = (subscription: Subscription, origin: string, took: TakenMoney): Subscription => {
  const { currentPeriod } = subscription
  const isSamePeriod = took.period === currentPeriod.ownBill && !isFinal(subscription.status)
  const paidMinor = isSamePeriod ? took.paidMinor : 0
  let left = took.movedMinor
  const creditMovedTo = subscription.creditMovedTo?.map((move) => {
    const amountMinor = Math.min(left, move.recalledMinor)
    left -= amountMinor
    const creditFrom = joined(move.creditFrom, [{ paymentId: origin, amountMinor }])
    return { ...move, creditFrom, recalledMinor: move.recalledMinor - amountMinor }
  })
  return {
    ...subscription,
    currentPeriod: {
      ...currentPeriod,
      ...(paidMinor > 0 ? { paidFrom: joined(currentPeriod.paidFrom, [{ paymentId: origin, amountMinor: paidMinor }]) } : {}),
      creditableMinor: currentPeriod.creditableMinor + (isSamePeriod ? took.worthMinor : 0),
    },
    creditMinor: subscription.creditMinor + took.creditMinor,
    creditFrom: joined(subscription.creditFrom, [{ paymentId: origin, amountMinor: took.creditMinor }]),
    creditRefundedMinor: subscription.creditRefundedMinor - took.creditMinor,
    ...(creditMovedTo ? { creditMovedTo } : {}),
  }
}

/**
 * If a period is left early, a part of what was taken off its worth would have become credit: that part comes back if the
 * money does.
 */
export const remembersAsCredit = (subscription: Subscription, now: Date): Subscription['moneyBack'] =>
  subscription.moneyBack?.map((one) => {
    if (one.period !== subscription.currentPeriod.ownBill || one.worthMinor === 0) return one
    const rest = shareOfRest(subscription, one.worthMinor, subscription.currentPeriod, now)
    return { ...one, worthMinor: 0, paidMinor: 0, creditMinor: one.creditMinor + Math.min(rest, one.paidMinor) }
  })
