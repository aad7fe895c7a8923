/** The payment methods of a customer, one at a time. The first is the default; the others follow in the order of trying. */
import { AppError, fieldError } from '../../common/errors.ts'
import type { Customer, PaymentMethod } from '../schemas/customer.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { MAX_PAYMENT_METHODS } from './customers.ts'
import { editCustomer } from './edit-customer.ts'
import { afterChange } from './finish-customer.ts'

interface CustomerName {
  storefront: string
  customer: string
}

const placed = (methods: PaymentMethod[], method: PaymentMethod, position: number): PaymentMethod[] => {
  const others = methods.filter(({ id }) => id !== method.id)
  return [...others.slice(0, position), method, ...others.slice(position)]
}

const keyOf = ({ keys }: TenantScope, { storefront, customer }: CustomerName): string => keys.customer(storefront, customer)

/** @throws AppError `not_found`, `already_exists` or `invalid_request`; what `check` throws. */
export const addMethod = (
  of: TenantScope,
  name: CustomerName,
  check: (customer: Customer) => void,
  method: PaymentMethod,
  position?: number,
): Promise<Customer> =>
  editCustomer(of, keyOf(of, name), of.now(), (customer) => {
    check(customer)
    const { paymentMethods } = customer
    if (paymentMethods.some(({ id }) => id === method.id)) throw new AppError('already_exists', 'the customer already has a payment method with this id')
    if (paymentMethods.length >= MAX_PAYMENT_METHODS) {
      throw fieldError('invalid_request', 'id', `the customer already has ${MAX_PAYMENT_METHODS} payment methods; remove one first`)
    }
    return { ...customer, paymentMethods: placed(paymentMethods, method, position ?? paymentMethods.length) }
  })

export interface MethodChange {
  tokens: PaymentMethod['tokens'] | undefined
  expiry: { month: number; year: number } | undefined
  position: number | undefined
}

/**
 * Changes a method. A renewed one (another token, another expiry) is tried at once for debts that it could not pay.
 * @throws AppError `not_found`; what `check` throws.
 */
export const changeMethod = async (
  of: TenantScope,
  name: CustomerName & { method: string },
  check: (customer: Customer) => void,
  { tokens, expiry, position }: MethodChange,
): Promise<Customer> => {
  const changed = await editCustomer(of, keyOf(of, name), of.now(), (customer) => {
    check(customer)
    const index = customer.paymentMethods.findIndex(({ id }) => id === name.method)
    const known = customer.paymentMethods[index]
    if (!known) throw new AppError('not_found', 'the customer has no such payment method')
    const kept = known.tokens.filter(({ account }) => !tokens?.some((token) => token.account === account))
    const method = { ...known, ...(expiry ? { expiry } : {}), tokens: [...kept, ...(tokens ?? [])] } as PaymentMethod
    return { ...customer, paymentMethods: placed(customer.paymentMethods, method, position ?? index) }
  })
  return afterChange(of, changed)
}

/** @throws AppError `not_found`, or `not_allowed_in_state` when it is in use; what `check` throws. */
export const removeMethod = (of: TenantScope, name: CustomerName & { method: string }, check: (customer: Customer) => void): Promise<Customer> =>
  editCustomer(of, keyOf(of, name), of.now(), (customer) => {
    check(customer)
    if (!customer.paymentMethods.some(({ id }) => id === name.method)) throw new AppError('not_found', 'the customer has no such payment method')
    return { ...customer, paymentMethods: customer.paymentMethods.filter(({ id }) => id !== name.method) }
  })
