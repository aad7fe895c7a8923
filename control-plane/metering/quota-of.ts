/** What the ledger of one key of a customer is made from, as it is stored now. */
import { isCurrent } from '../../common/entitlements/decide.ts'
import { deriveGrants } from '../../common/entitlements/derive.ts'
import type { CustomerKey, Grant } from '../../common/entitlements/model.ts'
import type { HeldQuota } from '../entitlements/count-usage.ts'
import { currentSubscriptionsOf } from '../entitlements/sources.ts'
import { accessOfSubscription } from '../entitlements/subscription-access.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import type { Subscription } from '../schemas/subscription.ts'
import type { TenantScope } from '../tenant-scope.ts'

export interface QuotaSources {
  known: UsageCounters | undefined
  subscriptions: Subscription[]
  /** All grants of the key, whatever they are. */
  grants: Grant[]
  /** Its quotas, each with its subscription. */
  held: HeldQuota[]
  /** Those that give access now. */
  current: HeldQuota[]
  /** The tenant's time. */
  now: Date
}

export const quotaOf = async (of: TenantScope, customer: CustomerKey, key: string): Promise<QuotaSources> => {
  const known = await of.storage.usageCounters.find(of.keys.customer(customer.storefrontId, customer.customerId))
  const subscriptions = await currentSubscriptionsOf(of, customer, known)
  const grants = deriveGrants(subscriptions.map(accessOfSubscription)).filter((grant) => grant.key === key)
  const held = grants.flatMap((grant) => {
    const subscription = subscriptions.find(({ id }) => id === grant.subscriptionId)
    return subscription && grant.terms.kind === 'quota' ? [{ grant, subscription }] : []
  })
  const now = of.now()
  return { known, subscriptions, grants, held, current: held.filter(({ grant }) => isCurrent(grant, now.getTime())), now }
}
