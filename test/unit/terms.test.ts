/** What another set of terms takes away from a subscription. */
import test from 'ava'
import type { Subscription } from '../../control-plane/schemas/subscription.ts'
import { onTerms } from '../../control-plane/subscriptions/machine/change-terms.ts'
import { changed } from '../../control-plane/subscriptions/machine/state.ts'

const now = new Date('2024-03-15T00:00:00Z')
const pricing = (interval: 'day' | 'week' | 'month') => ({ amountMinor: 100, currency: 'USD', interval, intervalCount: 1 })
const monthly = {
  id: 's',
  status: 'active',
  bundleId: 'monthly',
  bundleVersion: 1,
  quantity: 1,
  pricing: pricing('month'),
  entitlements: [],
  refundEndsAccess: false,
  billingDay: 15,
  timeZone: 'UTC',
  anchor: now,
  currentPeriod: { index: 0, start: now, end: now },
  bills: [],
  events: [],
  eventsMade: 0,
} as unknown as Subscription

test('a billing day goes with the interval that it belongs to, and stays with one of its family', (t) => {
  const { bundleId, bundleVersion, quantity, entitlements, refundEndsAccess } = monthly
  const on = (interval: 'day' | 'week' | 'month') => {
    const terms = { bundleId, bundleVersion, quantity, entitlements, refundEndsAccess, pricing: pricing(interval) }
    return changed(monthly, onTerms(monthly, terms, now), { now, repairAt: now })
  }
  t.false('billingDay' in on('week'))
  t.false('billingDay' in on('day'))
  t.is(on('month').billingDay, 15)
})
