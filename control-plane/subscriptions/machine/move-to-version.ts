import { anchorFrom } from '../../billing/periods.ts'
import type { Terms } from '../../schemas/bundle.ts'
import type { Subscription } from '../../schemas/subscription.ts'
import { changed, isFinal, type Moment } from './state.ts'

/**
 * A newer version of the subscription's own bundle, which its owner applies to all: entitlements at once, the price
 * from the next period, and another interval when the current period ends. @returns undefined when it is there already.
 */
export const moveToVersion = (subscription: Subscription, terms: Terms, moment: Moment): Subscription | undefined => {
  const { scheduledChange, pricing } = subscription
  if (isFinal(subscription.status) || subscription.bundleId !== terms.bundleId || subscription.bundleVersion >= terms.bundleVersion) return undefined
  const next = { ...terms, quantity: subscription.quantity }
  const event = { type: 'moved_to_version', why: `version ${terms.bundleVersion} of ${terms.bundleId} is for all subscribers` }
  if (subscription.status === 'scheduled') {
    const anchored = { ...subscription, ...next }
    return changed(anchored, { anchor: anchorFrom(anchored, subscription.trialEnd ?? subscription.currentPeriod.start) }, moment, event)
  }
  const sameCycle = next.pricing.interval === pricing.interval && next.pricing.intervalCount === pricing.intervalCount
  const leaving = scheduledChange && scheduledChange.bundleId !== terms.bundleId
  const scheduled = scheduledChange && !leaving ? { scheduledChange: { ...next, quantity: scheduledChange.quantity } } : {}
  if (sameCycle) return changed(subscription, { ...next, ...scheduled }, moment, event)
  const isMarked = scheduledChange?.bundleId === terms.bundleId && scheduledChange.bundleVersion >= terms.bundleVersion
  if (isMarked) return undefined
  // One that is leaving for another bundle does so when the new price would begin.
  return changed(subscription, { entitlements: next.entitlements, ...(leaving ? {} : { scheduledChange: next, ...scheduled }) }, moment, event)
}
