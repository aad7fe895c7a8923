/** Claims that may still be carried out. */
import type { Customer } from '../schemas/customer.ts'
import type { Subscription } from '../schemas/subscription.ts'
import { isFinal } from '../subscriptions/machine/transitions.ts'

export type Claim = NonNullable<Customer['claims']>[number]

/**
 * Between a claim and its subscription lie a few writes and, where a period has just ended, its charge: minutes at the
 * very worst. An older claim is of somebody who has died on the way.
 */
export const CLAIM_COUNTS_FOR_MS = 10 * 60_000

/** The claims that may be in the middle of being written by somebody else. */
export const freshClaims = (claims: readonly Claim[] | undefined, now: Date): Claim[] =>
  (claims ?? []).filter(({ at }) => now.getTime() - at.getTime() < CLAIM_COUNTS_FOR_MS)

/** True if the claimed change is in the subscription, which then says more than its claim, or can never come. */
export const isCarriedOut = ({ commandId }: Claim, subscription: Subscription | undefined): boolean =>
  subscription !== undefined && (isFinal(subscription.status) || !commandId || subscription.recentCommands.includes(commandId))
