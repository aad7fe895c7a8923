/**
 * The effect of a dispute of one of its payments on a subscription, by the storefront's rules. Banks take weeks, so it is
 * rarely the current period's payment: any payment of the subscription counts. What the money is missing from is said in
 * `money-back.ts`.
 */
import { dropBills, openBill } from '../../billing/bills.ts'
import type { Dispute, Payment } from '../../schemas/payment.ts'
import type { Subscription } from '../../schemas/subscription.ts'
import type { Moment } from '../../work-time.ts'
import { endSubscription } from './end-subscription.ts'
import { resume } from './pause.ts'
import { become, changed, type NewEvent } from './state.ts'
import { isFinal } from './transitions.ts'

/** More than any subscription sees; the oldest are forgotten, which at worst notes one twice. */
const MAX_KNOWN = 50

const pause = (subscription: Subscription, event: NewEvent, moment: Moment): Subscription => {
  // Of one that is overdue, or in its trial, dunning or the trial's end decides.
  if (subscription.status !== 'active') return changed(subscription, {}, moment, event)
  const paused = become(subscription, { status: 'paused', pausedAt: moment.now, pauseReason: 'dispute' })
  const bills = dropBills(subscription, () => true)
  return changed(paused, bills, moment, event, { type: 'paused', why: 'a payment is disputed, and the storefront pauses access during a dispute' })
}

const react = (subscription: Subscription, payment: Payment, dispute: Dispute, moment: Moment): Subscription => {
  const event: NewEvent = {
    type: `dispute_${dispute.status}`,
    why: `${dispute.reason} (${dispute.id})`,
    paymentId: payment.id,
    amountMinor: dispute.amountMinor,
  }
  const { onDispute = 'nothing', onDisputeLost = 'cancel' } = subscription.billing
  if (dispute.status === 'won') {
    const noted = changed(subscription, {}, moment, event)
    const isAnotherOpen = (subscription.disputes ?? []).some(({ status }) => status === 'open')
    // One that is being resumed already waits for its payment.
    return noted.pauseReason === 'dispute' && !isAnotherOpen && !openBill(noted) ? resume(noted, moment) : noted
  }
  const effect = dispute.status === 'open' ? onDispute : onDisputeLost
  if (effect === 'pause') return pause(subscription, event, moment)
  const noted = changed(subscription, {}, moment, event)
  return effect === 'cancel' ? endSubscription(noted, 'dispute', moment.now, moment) : noted
}

/** @returns undefined when the subscription knows of all of them. */
export const afterDispute = (subscription: Subscription, payment: Payment, moment: Moment): Subscription | undefined => {
  if (isFinal(subscription.status)) return undefined
  const known = subscription.disputes ?? []
  const news = (payment.disputes ?? []).filter(({ id, status }) => !known.some((one) => one.id === id && one.status === status))
  if (news.length === 0) return undefined
  let current = subscription
  for (const dispute of news) {
    if (isFinal(current.status)) break
    const disputes = [...(current.disputes ?? []).filter(({ id }) => id !== dispute.id), { id: dispute.id, status: dispute.status }].slice(-MAX_KNOWN)
    current = react({ ...current, disputes }, payment, dispute, moment)
  }
  return current
}
