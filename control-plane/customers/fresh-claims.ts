import type { Customer } from '../schemas/customer.ts'

export type Claim = NonNullable<Customer['claims']>[number]

/**
 * Between a claim and its subscription lie a few writes and, where a period has just ended, its charge: minutes at the
 * very worst. An older claim is of somebody who has died on the way.
 */
export const CLAIM_COUNTS_FOR_MS = 10 * 60_000

/** What is being written elsewhere now, as far as anybody can tell. */
export const freshClaims = (claims: readonly Claim[] | null | undefined, now: Date): Claim[] =>
  (claims ?? []).filter(({ at }) => now.getTime() - at.getTime() < CLAIM_COUNTS_FOR_MS)
