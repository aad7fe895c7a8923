import { isSameCycle } from '../../billing/periods.ts'
import type { Terms } from '../../schemas/bundle.ts'
import type { Subscription } from '../../schemas/subscription.ts'
import type { Moment } from '../../work-time.ts'
import { onTerms } from './change-terms.ts'
import { changed } from './state.ts'
import { isFinal } from './transitions.ts'

/**
 * A newer version of the subscription's own bundle, which its owner applies to all: entitlements at once, the price
 * from the next period, and another interval when the current period ends. @returns undefined when it is there already.
 */
export const moveToVersion = (subscription: Subscription, terms: Terms, moment: Moment): Subscription | undefined => {
  const { scheduledChange, pricing, currentPeriod } = subscription
  if (isFinal(subscription.status) || subscription.bundleId !== terms.bundleId || subscription.bundleVersion >= terms.bundleVersion) return undefined
  const next = { ...terms, quantity: subscription.quantity }
  const event = { type: 'moved_to_version', why: `version ${terms.bundleVersion} of ${terms.bundleId} is for all subscribers` }
  if (subscription.status === 'scheduled') {
    return changed(subscription, onTerms(subscription, next, subscription.trialEnd ?? currentPeriod.start), moment, event)
  }
  const leaving = scheduledChange && scheduledChange.bundleId !== terms.bundleId
  const scheduled = scheduledChange && !leaving ? { scheduledChange: { ...next, quantity: scheduledChange.quantity } } : {}
  if (isSameCycle(next, subscription)) {
    // The price is the next period's: what happens within this one is reckoned with what was agreed for it.
    const inForce = { ...currentPeriod, pricing: currentPeriod.pricing ?? pricing }
    const hasOtherPrice = next.pricing.amountMinor !== pricing.amountMinor
    return changed(subscription, { ...next, ...scheduled, ...(hasOtherPrice ? { currentPeriod: inForce } : {}) }, moment, event)
  }
  const isMarked = scheduledChange?.bundleId === terms.bundleId && scheduledChange.bundleVersion >= terms.bundleVersion
  if (isMarked) return undefined
  // One that is leaving for another bundle does so when the new price would begin.
  return changed(subscription, { entitlements: next.entitlements, ...(leaving ? {} : { scheduledChange: next, ...scheduled }) }, moment, event)
}
