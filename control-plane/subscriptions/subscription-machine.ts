/**
 * The states of a subscription, as pure functions from a document to the next one, given the tenant's time. Access
 * is on in trialing, active and past_due, and off in every other state (`entitlements/subscription-access.ts`).
 *
 * A subscription whose `openPaymentId` is set waits for that payment; the payment's id is derived from the
 * subscription and the period, so that opening it twice opens one.
 */
import { type Cycle, period, periodIndexAt, periodStart } from '../../common/calendar.ts'
import { AppError } from '../../common/errors.ts'
import { paymentIdOf } from '../keys.ts'
import type { Payment } from '../schemas/payment.ts'
import type { Subscription, SubscriptionStatus } from '../schemas/subscription.ts'

const HOUR_MS = 3_600_000
/** How long a first payment may take; the PSPs' own checkout sessions live about a day. */
const FIRST_PAYMENT_WITHIN_MS = 23 * HOUR_MS

export const isFinal = (status: SubscriptionStatus): boolean => status === 'canceled' || status === 'expired' || status === 'incomplete_expired'

const cycleOf = (subscription: Subscription): Cycle => ({
  anchor: subscription.anchor,
  interval: subscription.pricing.interval,
  count: subscription.pricing.intervalCount,
  timeZone: subscription.timeZone,
})

const periodAt = (subscription: Subscription, index: number): Subscription['currentPeriod'] => ({ index, ...period(cycleOf(subscription), index) })

const isFree = (subscription: Subscription): boolean => subscription.pricing.amountMinor === 0

/** When time alone changes the subscription next. */
const dueAtOf = (subscription: Subscription): Date | undefined => {
  const { status } = subscription
  switch (status) {
    case 'scheduled':
      return subscription.currentPeriod.start
    case 'incomplete':
      return subscription.payBy ?? undefined
    case 'trialing':
    case 'active':
      // While a payment is open its outcome decides, except that a cancellation does not wait for it.
      return subscription.openPaymentId && !subscription.cancelAtPeriodEnd ? undefined : subscription.currentPeriod.end
    case 'past_due':
      return subscription.graceUntil ?? undefined
    case 'suspended':
    case 'paused':
    case 'canceled':
    case 'expired':
    case 'incomplete_expired':
      return undefined
    default:
      return status satisfies never
  }
}

/** Every change goes through here: what follows from the new state is marked in the same write. */
const changed = (subscription: Subscription, change: Partial<Subscription>, repairAt: Date): Subscription => {
  const next = { ...subscription, ...change }
  return { ...next, dueAt: dueAtOf(next), repairAt }
}

const end = (
  subscription: Subscription,
  status: 'canceled' | 'incomplete_expired',
  endReason: NonNullable<Subscription['endReason']>,
  endedAt: Date,
  repairAt: Date,
): Subscription => changed(subscription, { status, endReason, endedAt, cancelAtPeriodEnd: false, graceUntil: undefined, payBy: undefined }, repairAt)

const openPayment = (subscription: Subscription, index: number): Pick<Subscription, 'openPaymentId'> => ({
  openPaymentId: paymentIdOf(subscription.tenantId, subscription.id, index),
})

/**
 * Begins a subscription whose time has come: into its trial, straight into access when it is free, or into waiting
 * for its first payment. A start in the past is kept as the anchor, and the period that contains now is billed.
 */
export const begin = (subscription: Subscription, now: Date, repairAt: Date): Subscription => {
  const { trialEnd } = subscription
  if (trialEnd && now < trialEnd) {
    const { start } = subscription.currentPeriod
    return changed(subscription, { status: 'trialing', accessFrom: start, currentPeriod: { index: -1, start, end: trialEnd } }, repairAt)
  }
  const currentPeriod = periodAt(subscription, periodIndexAt(cycleOf(subscription), now))
  if (isFree(subscription)) return changed(subscription, { status: 'active', currentPeriod, accessFrom: currentPeriod.start }, repairAt)
  const payBy = new Date(now.getTime() + FIRST_PAYMENT_WITHIN_MS)
  return changed(subscription, { status: 'incomplete', currentPeriod, payBy, ...openPayment(subscription, currentPeriod.index) }, repairAt)
}

/** What time alone does to a subscription by `now`, one step; undefined when nothing. */
export const afterTime = (subscription: Subscription, now: Date, repairAt: Date): Subscription | undefined => {
  const due = dueAtOf(subscription)
  if (!due || now < due) return undefined
  const { status } = subscription
  switch (status) {
    case 'scheduled':
      return begin(subscription, now, repairAt)
    case 'incomplete':
      return end(subscription, 'incomplete_expired', 'payment_not_made', due, repairAt)
    case 'trialing':
    case 'active': {
      if (subscription.cancelAtPeriodEnd) return end(subscription, 'canceled', 'period_end', due, repairAt)
      const next = subscription.currentPeriod.index + 1
      if (isFree(subscription)) return changed(subscription, { status: 'active', currentPeriod: periodAt(subscription, next) }, repairAt)
      if (!subscription.paymentMethodId) return changed(subscription, { status: 'paused' }, repairAt)
      return changed(subscription, openPayment(subscription, next), repairAt)
    }
    case 'past_due':
      return changed(subscription, { status: 'suspended', graceUntil: undefined }, repairAt)
    case 'suspended':
    case 'paused':
    case 'canceled':
    case 'expired':
    case 'incomplete_expired':
      return undefined
    default:
      return status satisfies never
  }
}

/** What the open payment's outcome does to the subscription; undefined when nothing. */
export const afterPayment = (subscription: Subscription, payment: Payment, now: Date, repairAt: Date): Subscription | undefined => {
  if (subscription.openPaymentId !== payment.id) return undefined
  if (isFinal(subscription.status) || payment.status === 'canceled') return changed(subscription, { openPaymentId: undefined }, repairAt)
  if (payment.status === 'succeeded') {
    const paid = {
      status: 'active',
      openPaymentId: undefined,
      currentPeriod: payment.period,
      accessFrom: subscription.accessFrom ?? payment.period.start,
      payBy: undefined,
      graceUntil: undefined,
    } as const
    return changed(subscription, paid, repairAt)
  }
  if (payment.status === 'failed' && (subscription.status === 'active' || subscription.status === 'trialing')) {
    const graceUntil = new Date(payment.period.start.getTime() + subscription.graceHours * HOUR_MS)
    return changed(subscription, { status: graceUntil <= now ? 'suspended' : 'past_due', graceUntil: graceUntil <= now ? undefined : graceUntil }, repairAt)
  }
  return undefined
}

/** The period that the open payment pays for: the one an incomplete subscription is in, else the next. */
export const openPeriodOf = (subscription: Subscription): Subscription['currentPeriod'] | undefined => {
  const { index } = subscription.currentPeriod
  return [index, index + 1]
    .filter((n) => paymentIdOf(subscription.tenantId, subscription.id, n) === subscription.openPaymentId)
    .map((n) => periodAt(subscription, n))[0]
}

/** Everything that followed from the last change is done. */
export const atRest = (subscription: Subscription): Subscription => ({ ...subscription, repairAt: undefined })

const refuse = (subscription: Subscription, what: string): AppError =>
  new AppError('not_allowed_in_state', `a subscription that is ${subscription.status} cannot be ${what}`)

/** @throws AppError `not_allowed_in_state`. */
export const cancel = (subscription: Subscription, at: 'now' | 'period_end', now: Date, repairAt: Date): Subscription => {
  if (isFinal(subscription.status)) throw refuse(subscription, 'canceled')
  // Only a trial or a paid period can run to its end; of one that is overdue the paid period is over already.
  const runsToItsEnd = subscription.status === 'trialing' || subscription.status === 'active'
  if (at === 'now' || !runsToItsEnd) return end(subscription, 'canceled', 'canceled', now, repairAt)
  return changed(subscription, { cancelAtPeriodEnd: true }, repairAt)
}

/** Takes a cancellation at period end back. @throws AppError `not_allowed_in_state`. */
export const reactivate = (subscription: Subscription, repairAt: Date): Subscription => {
  if (isFinal(subscription.status)) throw refuse(subscription, 'reactivated; make a new one')
  if (!subscription.cancelAtPeriodEnd) throw new AppError('not_allowed_in_state', 'the subscription is not going to be canceled at its period end')
  return changed(subscription, { cancelAtPeriodEnd: false }, repairAt)
}

/** Who pays how from now on. */
export const withPaymentMethod = (subscription: Subscription, paymentMethodId: string, repairAt: Date): Subscription => {
  if (isFinal(subscription.status)) throw refuse(subscription, 'given a payment method')
  return changed(subscription, { paymentMethodId }, repairAt)
}

/** What the customer pays next if nothing else happens. */
export const nextPaymentOf = (subscription: Subscription): { amountMinor: number; on: Date } | undefined => {
  const { amountMinor } = subscription.pricing
  if (amountMinor === 0 || subscription.cancelAtPeriodEnd) return undefined
  const { status } = subscription
  switch (status) {
    case 'scheduled':
      return { amountMinor, on: subscription.trialEnd ?? subscription.currentPeriod.start }
    case 'incomplete':
      return { amountMinor, on: subscription.currentPeriod.start }
    case 'trialing':
    case 'active':
      return { amountMinor, on: subscription.currentPeriod.end }
    case 'past_due':
    case 'suspended':
      return { amountMinor, on: periodStart(cycleOf(subscription), subscription.currentPeriod.index + 1) }
    case 'paused':
    case 'canceled':
    case 'expired':
    case 'incomplete_expired':
      return undefined
    default:
      return status satisfies never
  }
}
