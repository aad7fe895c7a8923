/** What each subscription state means for access: the state table, in the words that `deriveGrants` takes. */
import type { SourceAccess } from '../../common/entitlements/derive.ts'
import { type Entitlement, MAX_COUNT } from '../../common/entitlements/model.ts'
import { allowanceAnchor } from '../billing/allowance-anchor.ts'
import { openBill } from '../billing/bills.ts'
import { graceFrom, verdictBy } from '../billing/dunning.ts'
import { priceOf } from '../billing/periods.ts'
import { toEntitlement } from '../schemas/bundle.ts'
import type { Subscription } from '../schemas/subscription.ts'
import { isFinal } from '../subscriptions/machine/transitions.ts'

const accessOf = (subscription: Subscription): SourceAccess['access'] => {
  const { status } = subscription
  if (isFinal(status)) {
    if (!subscription.accessFrom) return 'never'
    return subscription.endReason === 'period_end' ? 'ended' : 'revoked'
  }
  switch (status) {
    case 'trialing':
    case 'active':
    case 'past_due':
      return 'on'
    case 'scheduled':
    case 'incomplete':
    case 'suspended':
    case 'paused':
      return 'off'
    default:
      return status satisfies never
  }
}

/**
 * The time at which access ends if nothing more is heard of the subscription. A renewing one is not cut off at the end of its
 * period, since the payment of the next is made then, and even if that fails there is grace: its access ends where the grace
 * would. So a control plane that is down at the turn of a period locks nobody out.
 */
const untilOf = (subscription: Subscription): Date | undefined => {
  const { status, currentPeriod } = subscription
  if (subscription.endedAt) return subscription.endedAt
  if (status === 'past_due') return subscription.graceUntil
  if (status !== 'trialing' && status !== 'active') return undefined
  if (subscription.cancelAtPeriodEnd) return currentPeriod.end
  const next = subscription.scheduledChange ?? subscription
  if (priceOf(next) === 0 || subscription.collectionPausedAt) return undefined
  const renewal = openBill(subscription, 'period')
  if (renewal) return verdictBy(subscription.billing, currentPeriod.end, renewal.openedAt)
  // Nothing can be charged, so the subscription pauses then.
  if (!subscription.paymentMethodId && subscription.creditMinor < priceOf(next)) return currentPeriod.end
  return graceFrom(subscription.billing, currentPeriod.end)
}

/** Bought so many times, quotas and capacities count so many times, as two subscriptions would. */
const timesQuantity = (entitlement: Entitlement, quantity: number): Entitlement =>
  (entitlement.kind === 'quota' || entitlement.kind === 'capacity') && entitlement.limit !== null
    ? { ...entitlement, limit: Math.min(MAX_COUNT, entitlement.limit * quantity) }
    : entitlement

export const accessOfSubscription = (subscription: Subscription): SourceAccess => {
  const from = subscription.accessFrom ?? subscription.currentPeriod.start
  const until = untilOf(subscription)
  return {
    subscriptionId: subscription.id,
    bundleId: subscription.bundleId,
    access: accessOf(subscription),
    fromMs: from.getTime(),
    ...(until ? { untilMs: until.getTime() } : {}),
    anchorMs: (per) => allowanceAnchor(subscription, per).getTime(),
    timeZone: subscription.timeZone,
    entitlements: subscription.entitlements.map((stored) => timesQuantity(toEntitlement(stored), subscription.quantity)),
  }
}
