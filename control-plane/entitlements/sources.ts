/**
 * What a customer's set is made of: all that it was given by hand, and which of its subscriptions. All that ever were would do, and would make each renewal dearer
 * than the last; these give the same set: those that live, and of those that have ended the ones that the stored set was
 * made of or that end just now. What neither has can never matter again, since what has ended does not change, and a
 * later end of the same key stands before it for good.
 */
import { deriveGrants, type SourceAccess } from '../../common/entitlements/derive.ts'
import type { CustomerKey, Grant } from '../../common/entitlements/model.ts'
import type { CustomerGrants } from '../schemas/customer-grants.ts'
import type { StoredEntitlementSet, UsageCounters } from '../schemas/entitlement-set.ts'
import type { Subscription } from '../schemas/subscription.ts'
import { all } from '../storage/every.ts'
import { livingStatuses } from '../subscriptions/machine/transitions.ts'
import type { TenantScope } from '../tenant-scope.ts'
import type { Holder } from './allowances.ts'
import { accessOfGrants, holderOfGrant } from './grant-access.ts'
import { accessOfSubscription } from './subscription-access.ts'

export interface Sources {
  /** In the order of `createdAt`. */
  subscriptions: Subscription[]
  /** Undefined: the customer has been given nothing by hand. */
  grants: CustomerGrants | undefined
}

export const accessOf = ({ subscriptions, grants }: Sources): SourceAccess[] => [...subscriptions.map(accessOfSubscription), ...accessOfGrants(grants)]

/** Whose allowances uses are taken from. */
export const holdersOf = ({ subscriptions, grants }: Sources): Holder[] => [
  ...subscriptions,
  ...[...(grants?.living ?? []), ...(grants?.ended ?? [])].map(holderOfGrant),
]

/** What the sources give, and whose allowances uses are taken from. */
export interface Granted {
  grants: readonly Grant[]
  holders: readonly Holder[]
}

export const grantedBy = (sources: Sources): Granted => ({ grants: deriveGrants(accessOf(sources)), holders: holdersOf(sources) })

/** All of a customer, ended ones too. */
export const subscriptionsOf = ({ storage }: Pick<TenantScope, 'storage'>, { tenantId, storefrontId, customerId }: CustomerKey): Promise<Subscription[]> =>
  all(storage.subscriptions, { tenantId, storefrontId, customerId })

const byAge = (a: Subscription, b: Subscription): number => a.createdAt.getTime() - b.createdAt.getTime() || (a._id < b._id ? -1 : 1)

/** Those that live with those that are named, and the heirs of what has been used of them. */
const withNamed = async (
  of: Pick<TenantScope, 'storage' | 'keys'>,
  { storefrontId, customerId }: CustomerKey,
  living: readonly Subscription[],
  named: readonly string[],
): Promise<Subscription[]> => {
  const found = new Map<string, Subscription | undefined>(living.map((one) => [one.id, one]))
  let wanted = named
  while (wanted.length > 0) {
    const unread = [...new Set(wanted)].filter((id) => !found.has(id))
    const read = await Promise.all(unread.map((id) => of.storage.subscriptions.find(of.keys.subscription(id))))
    for (const [n, id] of unread.entries()) found.set(id, read[n])
    // What has been used of one that ended counts with its heir.
    wanted = read.flatMap((one) => one?.creditMovedTo?.map(({ subscriptionId }) => subscriptionId) ?? [])
  }
  return [...found.values()].flatMap((one) => (one?.storefrontId === storefrontId && one.customerId === customerId ? one : [])).sort(byAge)
}

/**
 * @param stored the customer's set, read before this.
 * @param counters its usage: a count is of the source that it was taken from, or of the subscription that has inherited from it.
 * @param changed ids of subscriptions that nobody has published since they changed.
 */
export const sourcesOf = async (
  of: Pick<TenantScope, 'storage' | 'keys'>,
  customer: CustomerKey,
  stored: Pick<StoredEntitlementSet, 'grants' | 'hidden'> | undefined,
  counters: Pick<UsageCounters, 'entries'> | undefined,
  changed: Iterable<string> = [],
): Promise<Sources> => {
  const { tenantId, storefrontId, customerId } = customer
  const { customerGrants, subscriptions } = of.storage
  const [grants, living] = await Promise.all([
    customerGrants.find(of.keys.customer(storefrontId, customerId)),
    stored?.hidden ? all(subscriptions, { tenantId, storefrontId, customerId, status: livingStatuses }) : subscriptionsOf(of, customer),
  ])
  if (!stored?.hidden) return { subscriptions: living, grants }
  const counted = (counters?.entries ?? []).flatMap(({ subscriptionId }) => subscriptionId ?? [])
  const byHand = new Set(['', ...(grants?.living ?? []).map(({ id }) => id)])
  const named = [...stored.grants.map(({ subscriptionId }) => subscriptionId), ...stored.hidden, ...changed, ...counted]
  return {
    subscriptions: await withNamed(
      of,
      customer,
      living,
      named.filter((id) => !byHand.has(id)),
    ),
    grants,
  }
}

/** As `sourcesOf`, for whoever asks what the customer has and not what is to be published. */
export const currentSourcesOf = async (
  of: Pick<TenantScope, 'storage' | 'keys'>,
  customer: CustomerKey,
  counters?: Pick<UsageCounters, 'entries'>,
): Promise<Sources> => {
  const id = of.keys.customer(customer.storefrontId, customer.customerId)
  return sourcesOf(of, customer, await of.storage.entitlementSets.find(id), counters)
}
