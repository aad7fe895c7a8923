/** Terms that take over at the period's end, and what becomes of them when others take over before. Pure. */
import type { Terms } from '../../schemas/bundle.ts'
import type { Subscription } from '../../schemas/subscription.ts'
import type { NewEvent } from './state.ts'

type Offer = Pick<Terms, 'bundleId' | 'bundleVersion'>

/** The same bundle in the same version: at most another number of seats. */
export const isSameOffer = (a: Offer, b: Offer): boolean => a.bundleId === b.bundleId && a.bundleVersion === b.bundleVersion

export const isSameTerms = (a: Offer & Pick<Terms, 'quantity'>, b: Offer & Pick<Terms, 'quantity'>): boolean => isSameOffer(a, b) && a.quantity === b.quantity

/** The terms of a subscription alone. */
export const termsIn = ({ bundleId, bundleVersion, quantity, pricing, entitlements, refundEndsAccess }: Terms): Terms => ({
  bundleId,
  bundleVersion,
  quantity,
  pricing,
  entitlements,
  refundEndsAccess,
})

/**
 * The rest of a scheduled change when `terms` take over now. Seats that are added or given up leave it standing, with the new
 * number where it was to keep the old one; another bundle takes its place.
 */
export const scheduledAfter = (subscription: Subscription, terms: Terms): { scheduledChange: Subscription['scheduledChange']; events: NewEvent[] } => {
  const { scheduledChange: scheduled } = subscription
  if (!scheduled) return { scheduledChange: undefined, events: [] }
  const what = `the change to ${scheduled.bundleId} × ${scheduled.quantity} that was scheduled for the period's end`
  if (terms.bundleId !== subscription.bundleId) {
    return { scheduledChange: undefined, events: [{ type: 'change_taken_back', why: `${what} is replaced by this one` }] }
  }
  const next = { ...scheduled, quantity: scheduled.quantity === subscription.quantity ? terms.quantity : scheduled.quantity }
  if (isSameTerms(next, terms)) return { scheduledChange: undefined, events: [{ type: 'change_taken_back', why: `${what} is already made by this one` }] }
  return { scheduledChange: next, events: [{ type: 'change_kept', why: `${what} stands, with quantity ${next.quantity}` }] }
}
