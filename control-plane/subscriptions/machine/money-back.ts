/**
 * Money of its payments that went back to the customer: refunds that somebody asked for, and disputes that were lost. It
 * cannot be credited a second time: it comes off what the current period is worth, then off the credit, as far as either
 * is that payment's money. When it comes back after all (a refund that bounced, a dispute won late), so does what it took.
 *
 * Every fact of a payment is looked at each time, whatever their number and order; what is accounted for is remembered
 * here and marked in the payment, so that looking again is harmless. What another subscription has taken over is recalled
 * from there by a number that only its own document answers for (`reconciled`), so that it too counts once.
 */
import { joined, ofPayment } from '../../billing/lots.ts'
import { moneyFacts } from '../../payments/machine/money-facts.ts'
import { refundableMinor } from '../../payments/machine/refunds.ts'
import type { Payment } from '../../schemas/payment.ts'
import type { Subscription } from '../../schemas/subscription.ts'
import type { Moment } from '../../work-time.ts'
import { endSubscription } from './end-subscription.ts'
import { changed, type NewEvent } from './state.ts'
import { giveLots, paidFromOf, type TakenMoney, takeLots } from './take-lots.ts'
import { isFinal } from './transitions.ts'

/** The payments have them all: here are those that may not be marked there yet, and some more. */
const MAX_REMEMBERED = 60
/** So many facts are accounted for in one write, so that none is forgotten before it is marked. */
const MAX_AT_ONCE = 40

type Marked = Partial<TakenMoney> & Pick<TakenMoney, 'period' | 'worthMinor' | 'creditMinor'>
const whole = ({ period, paidMinor = 0, worthMinor, creditMinor, movedMinor = 0 }: Marked): TakenMoney => ({
  period,
  paidMinor,
  worthMinor,
  creditMinor,
  movedMinor,
})

/** The record of a fact: here, in the payment, or in a period from before either was kept. */
const remembered = (subscription: Subscription, id: string, marked: Marked | undefined): TakenMoney | undefined => {
  const here = subscription.moneyBack?.find((one) => one.id === id) ?? marked
  if (here) return whole(here)
  const { currentPeriod } = subscription
  if (!currentPeriod.refunds.includes(id)) return undefined
  const took = currentPeriod.refundsTook?.find(({ refundId }) => refundId === id)
  return whole({ period: currentPeriod.ownBill, worthMinor: took?.creditableMinor ?? 0, creditMinor: took?.creditMinor ?? 0 })
}

/** A payment of before facts were marked: what happened before this period was seen then. */
const wasSeenBefore = (subscription: Subscription, payment: Payment, at: Date): boolean => !payment.countsMoneyBack && at < subscription.currentPeriod.start

/** The origin of a payment's money. In periods from before lots were kept, it is all taken for the own bill's. */
const originOf = (subscription: Subscription, payment: Payment): string => {
  const { paidFrom, firstBill } = subscription.currentPeriod
  const [own] = paidFromOf(subscription)
  return !paidFrom && own && payment.subscriptionId === subscription.id && payment.seq !== undefined && payment.seq >= firstBill ? own.paymentId : payment.id
}

const tellings = {
  refund: { gone: { type: 'refunded', why: 'a refund was asked for' }, back: { type: 'refund_failed', why: "the customer's bank sent it back" } },
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
    const event = isGone ? tellings[kind].gone : tellings[kind].back
    const told: NewEvent[] = event ? [{ ...event, paymentId: payment.id, amountMinor }] : []
    const others = (current.moneyBack ?? []).filter((one) => one.id !== id)
    const origin = originOf(current, payment)
    if (known) {
      const back = giveLots(current, origin, known)
      const currentPeriod = { ...back.currentPeriod, refunds: back.currentPeriod.refunds.filter((one) => one !== id) }
      current = changed(back, { currentPeriod, moneyBack: others }, moment, ...told)
    } else {
      const { subscription: taken, took } = takeLots(current, origin, amountMinor, !payment.countsMoneyBack)
      const moneyBack = [...others, { id, ...took }].slice(-MAX_REMEMBERED)
      current = changed(taken, { moneyBack }, moment, ...told)
    }
  }
  if (done === 0) return undefined
  return endsAccess(subscription, current, payment) ? endSubscription(current, 'refunded', moment.now, moment) : current
}

/** True if all the money that its period was paid with went back, in whichever order, and some of it was this payment's. */
const endsAccess = (before: Subscription, after: Subscription, payment: Payment): boolean => {
  if (!after.refundEndsAccess || isFinal(after.status) || after.currentPeriod.creditableMinor > 0 || refundableMinor(payment) > 0) return false
  if (!payment.refunds.some(({ reason, status }) => reason === 'requested' && status === 'succeeded')) return false
  return ofPayment(paidFromOf(before), originOf(before, payment)) > 0
}

/** The origin of credit that was taken over from another subscription. */
export const inheritedFrom = (subscriptionId: string): string => `credit:${subscriptionId}`

/** The credit that another subscription says it has handed over, in all, and recalled since. */
export interface Inheritance {
  from: string
  amountMinor: number
  recalledMinor: number
}

/** @returns undefined when it is accounted for. */
export const reconciled = (subscription: Subscription, { from, amountMinor, recalledMinor }: Inheritance, moment: Moment): Subscription | undefined => {
  const known = subscription.inherited?.find(({ subscriptionId }) => subscriptionId === from)
  const [more, gone] = [amountMinor - (known?.amountMinor ?? 0), recalledMinor - (known?.recalledMinor ?? 0)]
  if (more === 0 && gone === 0) return undefined
  const others = (subscription.inherited ?? []).filter((one) => one !== known)
  const inherited = [...others, { subscriptionId: from, amountMinor, recalledMinor }]
  const origin = inheritedFrom(from)
  const arrived: Subscription = {
    ...subscription,
    creditMinor: subscription.creditMinor + more,
    creditGivenMinor: (subscription.creditGivenMinor ?? 0) + more,
    creditFrom: joined(subscription.creditFrom, [{ paymentId: origin, amountMinor: more }]),
  }
  if (gone === 0) return changed(arrived, { inherited }, moment)
  const told: NewEvent = { type: 'credit_recalled', why: `it came from ${from}, whose payment was refunded or lost`, amountMinor: gone }
  const next =
    gone > 0
      ? takeLots(arrived, origin, gone, false).subscription
      : giveLots(arrived, origin, { period: -1, paidMinor: 0, worthMinor: 0, creditMinor: -gone, movedMinor: 0 })
  return changed(next, { inherited }, moment, told)
}
