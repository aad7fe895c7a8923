/**
 * The rule that what is sold can be published: a customer's set has at most `MAX_SET_BYTES`, as the feed says. A set grows
 * after it is sold, without anybody being asked: grants get an end, and usage is reported. So it is measured as large as
 * it can become by itself.
 */
import { deriveGrants } from '../../common/entitlements/derive.ts'
import { type CustomerKey, type EntitlementSet, type Grant, sourceIdOf } from '../../common/entitlements/model.ts'
import { encodeSet } from '../../common/entitlements/wire.ts'
import { AppError } from '../../common/errors.ts'
import { MAX_SET_BYTES } from '../../common/feed/feed.ts'
import type { Subscription } from '../schemas/subscription.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { accessOfGrants, type GivenGrants } from './grant-access.ts'
import { accessOf, currentSourcesOf } from './sources.ts'
import { accessOfSubscription } from './subscription-access.ts'

/** Bytes of a usage beside its texts: tags, lengths, and two numbers of at most ten bytes each. */
const USAGE_BYTES = 40
/** A number below zero takes ten bytes, more than any end that there will be. */
const LONGEST_MS = -1

/** Bytes of the usage that may be reported for a grant: a count of its own, under its key and its source. */
const usageBytesOf = (grant: Grant): number => {
  const { key, terms } = grant
  return terms.kind === 'quota' || terms.kind === 'capacity' ? USAGE_BYTES + Buffer.byteLength(key) + Buffer.byteLength(sourceIdOf(grant)) : 0
}

/** Encoded bytes of a customer's set with these grants, as large as it can become by itself. Pure. */
export const setBytesAtMost = (customer: CustomerKey, grants: readonly Grant[]): number => {
  const { tenantId, storefrontId, customerId } = customer
  const grown: EntitlementSet = {
    tenantId,
    storefrontId,
    customerId,
    revision: Number.MAX_SAFE_INTEGER,
    sandbox: true,
    grants: grants.map((grant) => ({ ...grant, untilMs: LONGEST_MS, inactive: true })),
    usage: [],
  }
  return encodeSet(grown).length + grants.reduce((sum, grant) => sum + usageBytesOf(grant), 0)
}

/** The subscriptions of a customer with those that are planned in place of what they are now, or beside them. */
const withPlanned = (stored: readonly Subscription[], planned: readonly Subscription[]): Subscription[] => {
  const ids = new Set(planned.map(({ id }) => id))
  return [...stored.filter(({ id }) => !ids.has(id)), ...planned]
}

/**
 * Checks that the customer's set stays small enough, before anything is sold or given that makes it larger.
 * @param planned subscriptions of this customer as they are to be; they count as if they gave access already.
 * @param given what it is to have by hand; undefined: what it has.
 * @throws AppError `set_too_large`, in words for whoever buys or sells.
 */
export const checkSetFits = async (
  of: Pick<TenantScope, 'storage' | 'keys'>,
  customer: CustomerKey,
  planned: readonly Subscription[],
  given?: GivenGrants,
): Promise<void> => {
  const ids = new Set(planned.map(({ id }) => id))
  const stored = await currentSourcesOf(of, customer)
  const subscriptions = withPlanned(stored.subscriptions, planned)
  const byHand = given ?? stored.grants
  const grants = deriveGrants([
    ...subscriptions.map((one) => (ids.has(one.id) ? { ...accessOfSubscription(one), access: 'on' as const } : accessOfSubscription(one))),
    ...accessOfGrants(byHand),
  ])
  const bytes = setBytesAtMost(customer, grants)
  if (bytes <= MAX_SET_BYTES) return
  // Who is beyond it already, since before there was a limit, may still hold less.
  if (bytes < setBytesAtMost(customer, deriveGrants(accessOf(stored)))) return
  throw new AppError(
    'set_too_large',
    `the customer would hold ${grants.length} entitlements from ${subscriptions.length} subscriptions and ${byHand?.living.length ?? 0} grants by hand: ${bytes} bytes, but at most ${MAX_SET_BYTES} can be sent to sidecars; end subscriptions or remove grants that are not needed, or sell fewer entitlements in one bundle`,
  )
}
