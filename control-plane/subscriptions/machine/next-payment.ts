import { defined } from '../../../common/defined.ts'
import { openBill } from '../../billing/bills.ts'
import type { Bill, Subscription } from '../../schemas/subscription.ts'
import type { Moment } from '../../work-time.ts'
import { turnPeriod } from './after-time.ts'
import { beginSubscription } from './begin.ts'
import { isFinal } from './transitions.ts'

/** The bill that would be made if the subscription's time had come; undefined when none would. */
const billedBy = (subscription: Subscription, step: (from: Subscription, moment: Moment) => Subscription, now: Date): Bill | undefined => {
  // A method or none: what is owed is the same.
  const next = step({ ...subscription, paymentMethodId: subscription.paymentMethodId ?? 'any' }, { now, repairAt: now })
  return next.billsMade > subscription.billsMade ? next.bills.at(-1) : undefined
}

/**
 * The payment that the customer makes next if nothing else happens: found by letting it happen, on a copy. What credit will
 * pay is taken off.
 */
export const nextPaymentOf = (subscription: Subscription): { amountMinor: number; on: Date } | undefined => {
  const answer = (bill: Bill | undefined) => bill && { amountMinor: bill.amountMinor, on: bill.period.start }
  const { status } = subscription
  if (isFinal(status)) return undefined
  switch (status) {
    case 'scheduled':
      return answer(
        billedBy(defined({ ...subscription, trialEnd: undefined, currentPeriod: startOf(subscription) }), beginSubscription, startOf(subscription).start),
      )
    case 'incomplete':
    case 'past_due':
    case 'suspended':
      return answer(openBill(subscription, 'period'))
    case 'trialing':
    case 'active': {
      if (subscription.cancelAtPeriodEnd || subscription.collectionPausedAt) return undefined
      const open = openBill(subscription, 'period')
      if (open) return answer(open)
      return answer(billedBy(subscription, turnPeriod, subscription.currentPeriod.end))
    }
    case 'paused':
      return undefined
    default:
      return status satisfies never
  }
}

const startOf = ({ currentPeriod, trialEnd }: Subscription): Subscription['currentPeriod'] => ({ ...currentPeriod, start: trialEnd ?? currentPeriod.start })
