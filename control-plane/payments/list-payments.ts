/** The filters that a list of payments takes: those that an index serves, and no other. */
import { fieldError } from '../../common/errors.ts'
import type { Payment, paymentStatuses } from '../schemas/payment.ts'
import type { Page, PageQuery } from '../storage/storage.ts'
import type { TenantScope } from '../tenant-scope.ts'

export interface PaymentFilter {
  subscriptionId?: string | undefined
  storefrontId?: string | undefined
  customerId?: string | undefined
  status?: (typeof paymentStatuses)[number] | undefined
}

/** @param within the storefronts that the caller is limited to. @throws AppError `invalid_request`. */
const whereOf = (within: readonly string[] | undefined, { subscriptionId, storefrontId, customerId, status }: PaymentFilter): PageQuery['where'] => {
  if (status !== undefined) {
    if (within) throw fieldError('invalid_request', 'status', 'cannot be used by a caller that is limited to some storefronts')
    if ((subscriptionId ?? customerId ?? storefrontId) !== undefined)
      throw fieldError('invalid_request', 'status', 'filters all payments of the tenant; leave the other filters out')
    return { status }
  }
  if (customerId !== undefined && storefrontId === undefined) throw fieldError('invalid_request', 'storefrontId', 'is required with customerId')
  if (storefrontId !== undefined && customerId === undefined) throw fieldError('invalid_request', 'customerId', 'is required with storefrontId')
  if (subscriptionId !== undefined) {
    if (customerId !== undefined) throw fieldError('invalid_request', 'customerId', 'is not needed with subscriptionId; leave it out')
    return { subscriptionId }
  }
  if (storefrontId !== undefined && customerId !== undefined) return { storefrontId, customerId }
  return within ? { storefrontId: within } : {}
}

/** @throws AppError `invalid_request`. */
export const listPayments = (
  { storage, tenantId }: TenantScope,
  within: readonly string[] | undefined,
  filter: PaymentFilter,
  pages: Pick<PageQuery, 'limit' | 'cursor'>,
): Promise<Page<Payment>> => storage.payments.page({ where: { tenantId, ...whereOf(within, filter) }, ...pages })
