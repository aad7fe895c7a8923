/**
 * The states of a subscription, as pure functions from a document to the next one, given the tenant's time. Access
 * is on in trialing, active and past_due, and off in every other state (`entitlements/subscription-access.ts`).
 *
 *   begin, after-time, after-payment   what time and payments do
 *   end-subscription, pause, change-terms, pay   what callers do
 *
 * `become` makes every change of state, and `transitions.ts` says which there may be. Every function ends in `changed`, so
 * that what follows from a new state, and what a support agent will want to know of it, are in the same write as the state.
 */
import { defined } from '../../../common/defined.ts'
import { openBill } from '../../billing/bills.ts'
import { verdictBy } from '../../billing/dunning.ts'
import { checkTransition } from '../../illegal-transitions.ts'
import { type Change, inSituation, type Situation, type Subscription, type SubscriptionEvent } from '../../schemas/subscription.ts'
import type { Moment } from '../../work-time.ts'
import { noticeOf } from './notice.ts'
import { isFinal, transitions } from './transitions.ts'

export type NewEvent = Pick<SubscriptionEvent, 'type' | 'why'> & Partial<Pick<SubscriptionEvent, 'paymentId' | 'amountMinor' | 'at'>>

const earlier = (a: Date | undefined, b: Date | undefined): Date | undefined => (a && b && b < a ? b : (a ?? b))

/** The time at which time alone changes the subscription next. */
export const dueAtOf = (subscription: Subscription): Date | undefined => {
  const { status } = subscription
  if (isFinal(status)) return undefined
  const renewal = openBill(subscription, 'period')
  switch (status) {
    case 'scheduled':
      return subscription.currentPeriod.start
    case 'incomplete':
      return subscription.payBy
    case 'trialing':
    case 'active':
      // While the next period's payment is open its outcome decides, but not for longer than grace would last; and a
      // cancellation does not wait for it.
      if (subscription.cancelAtPeriodEnd || !renewal) return subscription.currentPeriod.end
      return earlier(verdictBy(subscription.billing, subscription.currentPeriod.end, renewal.openedAt), subscription.retryAt)
    case 'past_due':
      return earlier(subscription.graceUntil, subscription.retryAt)
    case 'suspended':
      return subscription.retryAt
    case 'paused':
      return subscription.resumeAt
    default:
      return status satisfies never
  }
}

/** The one door to another state: what belonged to the one before is left behind. */
export const become = (subscription: Subscription, situation: Situation): Subscription => {
  checkTransition(transitions, subscription.id, subscription.status, situation.status)
  return inSituation(subscription, situation)
}

/** Sets the time at which its payment is tried next. Undefined: not by itself. */
export const withRetryAt = (subscription: Subscription, retryAt: Date | undefined): Subscription => {
  switch (subscription.status) {
    case 'trialing':
    case 'active':
    case 'past_due':
    case 'suspended':
      return defined({ ...subscription, retryAt })
    default:
      throw new Error(`subscription ${subscription.id} is ${subscription.status}, in which no payment is tried again`)
  }
}

const withEvents = (subscription: Subscription, now: Date, events: NewEvent[]): Pick<Subscription, 'events' | 'eventsMade'> => ({
  events: [...subscription.events, ...events.map((event, n) => ({ at: now, ...event, seq: subscription.eventsMade + n }))],
  eventsMade: subscription.eventsMade + events.length,
})

/** Every change goes through here: what follows from the new state is marked in the same write. */
export const changed = (subscription: Subscription, change: Change, { now, repairAt }: Moment, ...events: NewEvent[]): Subscription => {
  const next: Subscription = defined({ ...subscription, ...change, ...withEvents(subscription, now, events) })
  return defined({ ...next, dueAt: dueAtOf(next), noticeAt: noticeOf(next)?.at, repairAt })
}

/** Everything that followed from the last change is done. */
export const atRest = (subscription: Subscription): Subscription => defined({ ...subscription, repairAt: undefined })
