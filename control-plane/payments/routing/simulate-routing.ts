/** Answers how a payment would be routed now, as attempts keep it, and says it for each account in words. */
import { fieldError } from '../../../common/errors.ts'
import type { PaymentMethod } from '../../schemas/customer.ts'
import type { Storefront } from '../../schemas/storefront.ts'
import type { TenantScope } from '../../tenant-scope.ts'
import { loadAccounts } from '../open-account.ts'
import { type Route, type RoutingDecision, routePayment } from './route-payment.ts'

export interface SimulationQuestion {
  paymentId: string
  amountMinor: number
  currency?: string | undefined
  country?: string | undefined
  customerId?: string | undefined
  paymentMethod?: string | undefined
  paymentMethodType?: string | undefined
  renewalAt?: string | undefined
}

export interface SimulatedAccount {
  account: string
  position: number | null
  because: string
}

const ordinary = (type: string): Pick<PaymentMethod, 'type' | 'tokens'> => ({ type, tokens: [{ account: '*', token: 'any' }] })

/** @throws AppError `unknown_reference` or `invalid_request`. */
const methodOf = async (of: TenantScope, storefront: Storefront, question: SimulationQuestion) => {
  const { customerId, paymentMethod, paymentMethodType } = question
  if (customerId === undefined) {
    if (paymentMethod !== undefined) throw fieldError('invalid_request', 'paymentMethod', 'needs the customerId of its owner')
    return { method: ordinary(paymentMethodType ?? 'card'), country: question.country }
  }
  const customer = await of.storage.customers.find(of.keys.customer(storefront.id, customerId))
  if (!customer) throw fieldError('unknown_reference', 'customerId', `there is no customer ${JSON.stringify(customerId)} in the storefront`)
  const method = paymentMethod === undefined ? customer.paymentMethods[0] : customer.paymentMethods.find(({ id }) => id === paymentMethod)
  if (!method) throw fieldError('unknown_reference', 'paymentMethod', 'the customer has no such payment method')
  return { method, country: question.country ?? customer.country }
}

const firstBecause = (route: Route): string => {
  if (route.rule === 'renewal') return 'the last payment of the subscription was made here, and it holds the token'
  if (route.rule === 'fallback') return 'first of the fallback list: the split has no account that can take it'
  if (route.rule !== 'split') return `by the rule ${JSON.stringify(route.rule)}`
  const total = (route.split ?? []).reduce((sum, { weight }) => sum + weight, 0)
  return `by the split: slot ${route.slot} of ${total}`
}

const explainAccounts = ({ fallback, rules }: Storefront['routing'], route: Route): SimulatedAccount[] => {
  const used = new Set(rules.find(({ name }) => name === route.rule)?.use ?? [])
  const because = (account: string, n: number): string => {
    if (n === 0 || used.has(account)) return firstBecause(route)
    return fallback.includes(account) ? 'from the fallback list, if those before it fail' : 'from the rest of the split, if those before it fail'
  }
  return [
    ...route.candidates.map((account, n) => ({ account, position: n + 1, because: because(account, n) })),
    ...route.excluded.map(({ account, reason }) => ({ account, position: null, because: reason })),
  ]
}

/** @returns the route, and each account's place in it with the reason. @throws AppError `unknown_reference` or `invalid_request`. */
export const simulateRouting = async (
  of: TenantScope,
  storefront: Storefront,
  question: SimulationQuestion,
): Promise<RoutingDecision & { accounts: SimulatedAccount[] }> => {
  const { method, country } = await methodOf(of, storefront, question)
  const routed = routePayment(storefront.routing, await loadAccounts(of, storefront), {
    paymentId: question.paymentId,
    amountMinor: question.amountMinor,
    currency: question.currency ?? storefront.currency,
    country,
    method,
    // Of a renewal with a method of no particular account, that account holds the token.
    ...(question.renewalAt === undefined ? {} : { stayWith: question.renewalAt }),
  })
  return { ...routed, accounts: explainAccounts(storefront.routing, routed.route) }
}
