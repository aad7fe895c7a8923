/** Customers: unique within their storefront, holding the payment methods that payments are made with. */

import { createHash } from 'node:crypto'
import { defined } from '../../common/defined.ts'
import { AppError, fieldError } from '../../common/errors.ts'
import { storefrontNamed } from '../catalog/storefronts.ts'
import { publishEntitlements } from '../entitlements/publish-entitlements.ts'
import type { Customer, PaymentMethod } from '../schemas/customer.ts'
import type { Storefront } from '../schemas/storefront.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { insertOrGet, update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { editCustomer, refuseErased } from './edit-customer.ts'
import { isPseudonym } from './pseudonym.ts'

/** More methods than anyone has; bounds the document. */
export const MAX_PAYMENT_METHODS = 50

export interface CustomerInput {
  email?: string | undefined
  name?: string | undefined
  country?: string | undefined
  paymentMethods: PaymentMethod[]
  metadata?: Record<string, string> | undefined
}

/** @throws AppError `invalid_request`. */
const refusePseudonym = (field: string, id: string): void => {
  if (isPseudonym(id)) throw fieldError('invalid_request', field, 'is reserved for erased customers; choose another id')
}

/** A customer as it is first stored. @throws AppError `invalid_request` for an id that is reserved for erased customers. */
export const newCustomer = (of: TenantScope, storefrontId: string, id: string, input: CustomerInput) => {
  refusePseudonym('customerId', id)
  return defined({
    _id: of.keys.customer(storefrontId, id),
    tenantId: of.tenantId,
    createdAt: of.now(),
    storefrontId,
    id,
    ...input,
    // Until its (empty) set is published, sidecars do not know the customer.
    repairAt: of.repairAt(),
  })
}

/** The customer; one that is being erased counts as gone. @throws AppError `not_found`. */
export const getCustomer = async ({ storage }: TenantScope, id: string): Promise<Customer> => {
  const customer = await storage.customers.get(id)
  if (customer.erasing) throw new AppError('not_found', 'no such customer')
  return customer
}

/** @throws AppError `unknown_reference` or `already_exists`. */
export const createCustomer = async (of: TenantScope, storefrontId: string, id: string, input: CustomerInput): Promise<Customer> => {
  refusePseudonym('id', id)
  await storefrontNamed(of, storefrontId)
  const created = await of.storage.customers.insert(newCustomer(of, storefrontId, id, input))
  return announceCustomer(of, created)
}

/** Publishes the customer's set if that is still due; harmless to repeat. */
export const announceCustomer = async (of: TenantScope, customer: Customer): Promise<Customer> => {
  const { tenantId, storefrontId, id: customerId } = customer
  const { published } = await publishEntitlements(of, { tenantId, storefrontId, customerId })
  if (!published) return customer
  return update(of.storage.customers, customer._id, (latest) =>
    // What else it is marked for has a reminder in the same place.
    latest.repairAt && !latest.renewed?.length && !latest.erasing ? defined({ ...latest, repairAt: undefined }) : undefined,
  )
}

/**
 * The customer that a subscription is for, made if the storefront has not seen it: people buy before they are
 * customers. It is announced with the subscription's first publication.
 * @throws AppError `not_allowed_in_state` when it is being erased.
 */
export const customerFor = async (of: TenantScope, storefrontId: string, id: string): Promise<Customer> => {
  const customer = await insertOrGet(of.storage.customers, newCustomer(of, storefrontId, id, { paymentMethods: [] }))
  refuseErased(customer)
  return customer
}

/**
 * The payment method that a caller names: the id of one that the customer has, or else a PSP's token. A token is
 * made a method of its own; in a sandbox it is good at every account, elsewhere at the storefront's first.
 */
export const methodNamed = (tenant: Tenant, storefront: Storefront, customer: Pick<Customer, 'paymentMethods'> | undefined, named: string): PaymentMethod => {
  const known = customer?.paymentMethods.find((method) => method.id === named)
  if (known) return known
  const primary = storefront.routing.split[0]?.account ?? storefront.routing.fallback[0]
  const account = tenant.mode === 'sandbox' ? '*' : primary
  if (account === undefined)
    throw fieldError('invalid_request', 'paymentMethod', "is not one of the customer's payment methods; a token needs a storefront with payment providers")
  // The id must not show the token, and the same token must not be added twice.
  const id = `pm_${createHash('sha256').update(named).digest('hex').slice(0, 24)}`
  return customer?.paymentMethods.find((method) => method.id === id) ?? { id, type: 'card', tokens: [{ account, token: named }] }
}

/** The customer with the method, where it lacks it. @throws AppError `invalid_request` when it has too many. */
export const withMethod = (customer: Customer, method: PaymentMethod): Customer => {
  if (customer.paymentMethods.some(({ id }) => id === method.id)) return customer
  if (customer.paymentMethods.length >= MAX_PAYMENT_METHODS)
    throw fieldError('invalid_request', 'paymentMethod', `the customer already has ${MAX_PAYMENT_METHODS} payment methods; remove one first`)
  return { ...customer, paymentMethods: [...customer.paymentMethods, method] }
}

/** Makes sure that the customer has the method. @throws AppError `invalid_request` when it has too many. */
export const addPaymentMethod = (of: TenantScope, customer: Customer, method: PaymentMethod): Promise<Customer> =>
  editCustomer(of, customer._id, undefined, (latest) => {
    const added = withMethod(latest, method)
    return added === latest ? undefined : added
  })
