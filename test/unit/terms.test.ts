/** What another set of terms takes away from a subscription. */
import test from 'ava'
import { onTerms } from '../../control-plane/subscriptions/machine/change-terms.ts'
import { changed } from '../../control-plane/subscriptions/machine/state.ts'
import { moment, now, pricing, subscriptionOf } from '../support/subscriptions.ts'

const priced = (interval: 'day' | 'week' | 'month') => ({ ...pricing, interval })
const monthly = subscriptionOf({ billingDay: 15, entitlements: [], refundEndsAccess: false })

test('a billing day goes with the interval that it belongs to, and stays with one of its family', (t) => {
  const { bundleId, bundleVersion, quantity, entitlements, refundEndsAccess } = monthly
  const on = (interval: 'day' | 'week' | 'month') => {
    const terms = { bundleId, bundleVersion, quantity, entitlements, refundEndsAccess, pricing: priced(interval) }
    return changed(monthly, onTerms(monthly, terms, now), moment)
  }
  t.false('billingDay' in on('week'))
  t.false('billingDay' in on('day'))
  t.is(on('month').billingDay, 15)
})
