/** The filters that a list of subscriptions takes: those that an index serves, and no other. */

import { defined } from '../../common/defined.ts'
import { fieldError } from '../../common/errors.ts'
import type { Subscription, SubscriptionStatus } from '../schemas/subscription.ts'
import type { Page, PageQuery } from '../storage/storage.ts'
import type { TenantScope } from '../tenant-scope.ts'

export interface SubscriptionFilter {
  storefrontId?: string | undefined
  customerId?: string | undefined
  bundleId?: string | undefined
  status?: SubscriptionStatus | undefined
}

/** @param within the storefronts that the caller is limited to. @throws AppError `invalid_request`. */
export const listSubscriptions = (
  { storage, tenantId }: TenantScope,
  within: readonly string[] | undefined,
  filter: SubscriptionFilter,
  pages: Pick<PageQuery, 'limit' | 'cursor'>,
): Promise<Page<Subscription>> => {
  const { storefrontId, customerId, bundleId } = filter
  if (storefrontId === undefined && customerId !== undefined)
    throw fieldError('invalid_request', 'storefrontId', 'is required with customerId: a customer is unique within its storefront only')
  if (storefrontId === undefined && bundleId !== undefined)
    throw fieldError('invalid_request', 'storefrontId', 'is required with bundleId: a bundle is unique within its storefront only')
  if (customerId !== undefined && bundleId !== undefined)
    throw fieldError('invalid_request', 'bundleId', 'does not go with customerId, of which there are few subscriptions: leave one of them out')
  return storage.subscriptions.page({ where: { tenantId, ...defined({ ...filter, storefrontId: filter.storefrontId ?? within }) }, ...pages })
}
