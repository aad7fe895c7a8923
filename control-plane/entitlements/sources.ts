/**
 * Chooses the subscriptions that a customer's set is made of. All that ever were would do, and would make each renewal dearer
 * than the last; these give the same set: those that live, and of those that have ended the ones that the stored set was made
 * of or that end just now. What neither has can never matter again, since what has ended does not change, and a later end of
 * the same key stands before it for good.
 */
import type { CustomerKey } from '../../common/entitlements/model.ts'
import type { StoredEntitlementSet, UsageCounters } from '../schemas/entitlement-set.ts'
import type { Subscription } from '../schemas/subscription.ts'
import { all } from '../storage/every.ts'
import { livingStatuses } from '../subscriptions/machine/transitions.ts'
import type { TenantScope } from '../tenant-scope.ts'

/** All of a customer, ended ones too. */
export const subscriptionsOf = ({ storage }: Pick<TenantScope, 'storage'>, { tenantId, storefrontId, customerId }: CustomerKey): Promise<Subscription[]> =>
  all(storage.subscriptions, { tenantId, storefrontId, customerId })

const byAge = (a: Subscription, b: Subscription): number => a.createdAt.getTime() - b.createdAt.getTime() || (a._id < b._id ? -1 : 1)

/**
 * The subscriptions that the set is made of.
 * @param stored the customer's set, read before this.
 * @param counters its usage: a count is of the subscription that it was taken from, or that has inherited from it.
 * @param changed ids of subscriptions that nobody has published since they changed.
 * @returns in the order of `createdAt`.
 */
export const sourcesOf = async (
  of: Pick<TenantScope, 'storage' | 'keys'>,
  customer: CustomerKey,
  stored: Pick<StoredEntitlementSet, 'grants' | 'hidden'> | undefined,
  counters: Pick<UsageCounters, 'entries'> | undefined,
  changed: Iterable<string> = [],
): Promise<Subscription[]> => {
  if (!stored?.hidden) return subscriptionsOf(of, customer)
  const { tenantId, storefrontId, customerId } = customer
  const found = new Map<string, Subscription | undefined>()
  for (const one of await all(of.storage.subscriptions, { tenantId, storefrontId, customerId, status: livingStatuses })) found.set(one.id, one)
  const counted = (counters?.entries ?? []).flatMap(({ subscriptionId }) => subscriptionId ?? [])
  let wanted = [...stored.grants.map(({ subscriptionId }) => subscriptionId), ...stored.hidden, ...changed, ...counted]
  while (wanted.length > 0) {
    const unread = [...new Set(wanted)].filter((id) => !found.has(id))
    const read = await Promise.all(unread.map((id) => of.storage.subscriptions.find(of.keys.subscription(id))))
    for (const [n, id] of unread.entries()) found.set(id, read[n])
    // What has been used of one that ended counts with its heir.
    wanted = read.flatMap((one) => one?.creditMovedTo?.map(({ subscriptionId }) => subscriptionId) ?? [])
  }
  return [...found.values()].flatMap((one) => (one?.storefrontId === storefrontId && one.customerId === customerId ? one : [])).sort(byAge)
}

/** Like `sourcesOf`, for whoever asks what the customer has and not what is to be published. */
export const currentSubscriptionsOf = async (
  of: Pick<TenantScope, 'storage' | 'keys'>,
  customer: CustomerKey,
  counters?: Pick<UsageCounters, 'entries'>,
): Promise<Subscription[]> => {
  const id = of.keys.customer(customer.storefrontId, customer.customerId)
  return sourcesOf(of, customer, await of.storage.entitlementSets.find(id), counters)
}
