/** The customers of a storefront: all, or who is behind an e-mail address or a payment. One that is being erased counts as gone. */
import type { Customer } from '../schemas/customer.ts'
import type { Page, PageQuery } from '../storage/storage.ts'
import type { TenantScope } from '../tenant-scope.ts'

export interface CustomerFilter {
  /** The address as it is stored, or in small letters; several customers may have the same. */
  email?: string | undefined
  paymentId?: string | undefined
}

const ofPayment = async ({ storage, keys }: TenantScope, storefrontId: string, paymentId: string): Promise<Customer[]> => {
  const payment = await storage.payments.find(keys.payment(paymentId))
  const customer = payment?.storefrontId === storefrontId ? await storage.customers.find(keys.customer(storefrontId, payment.customerId)) : undefined
  return customer ? [customer] : []
}

/** @throws AppError `not_found` when there is no such storefront. */
export const findCustomers = async (
  of: TenantScope,
  storefrontId: string,
  { email, paymentId }: CustomerFilter,
  pages: Pick<PageQuery, 'limit' | 'cursor'>,
): Promise<Page<Customer>> => {
  const { storage } = of
  await storage.storefronts.get(of.keys.storefront(storefrontId))
  const where = { tenantId: of.tenantId, storefrontId, ...(email === undefined ? {} : { email: [...new Set([email, email.toLowerCase()])] }) }
  const page = paymentId === undefined ? await storage.customers.page({ where, ...pages }) : { data: await ofPayment(of, storefrontId, paymentId) }
  return { ...page, data: page.data.filter(({ erasing }) => !erasing) }
}
