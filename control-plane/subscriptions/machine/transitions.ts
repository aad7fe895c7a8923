/**
 * The states of a subscription: where each may go, and by what. A state that goes nowhere is final. docs/billing.md
 * has the same table, which a test compares with this one.
 */
import type { Transitions } from '../../illegal-transitions.ts'
import { type SubscriptionStatus, subscriptionStatuses } from '../../schemas/subscription.ts'

export const transitions = {
  scheduled: {
    trialing: 'its start comes, and it has a trial',
    incomplete: 'its start comes, and there is something to pay',
    active: 'its start comes, and it is free or credit covers it',
    canceled: 'somebody cancels it',
  },
  incomplete: {
    active: 'its first payment is made',
    incomplete_expired: 'its first payment is not made in time',
    canceled: 'somebody cancels it',
  },
  trialing: {
    active: 'its first period is paid, or there is nothing to charge',
    past_due: 'the payment of its first period fails',
    paused: 'its trial ends without a payment method',
    canceled: 'it is canceled',
  },
  active: {
    past_due: 'the payment of a renewal fails',
    paused: 'somebody asks, a renewal has no payment method, or a dispute opens',
    canceled: 'it is canceled, refunded, or a dispute is lost',
  },
  past_due: {
    active: 'the payment is made',
    suspended: 'grace is over',
    canceled: 'it is canceled, or the last retry fails',
  },
  suspended: {
    active: 'the payment is made',
    canceled: 'it is canceled, or the last retry fails',
  },
  paused: {
    active: 'it is resumed, and paid where nothing is left of its period',
    canceled: 'it is canceled, refunded, or a dispute is lost',
  },
  canceled: {},
  /** Never made by this version; documents and filters of before may name it. */
  expired: {},
  incomplete_expired: {},
} as const satisfies Transitions<SubscriptionStatus>

type FinalStatus = { [S in SubscriptionStatus]: keyof (typeof transitions)[S] extends never ? S : never }[SubscriptionStatus]

const goesNowhere = (status: SubscriptionStatus): boolean => Object.keys(transitions[status]).length === 0

export const isFinal = (status: SubscriptionStatus): status is FinalStatus => goesNowhere(status)

/** The statuses of subscriptions that are not over. */
export const livingStatuses = subscriptionStatuses.filter((status) => !goesNowhere(status))
