/**
 * Which PSP accounts may take a payment, in the order of trying, and why. Pure and deterministic: the same payment
 * gets the same order from whichever process asks, so that a retry or a concurrent call agrees.
 *
 * Order: of the accounts that can take it at all, those of the first matching rule; else the one that the weighted
 * split picks; then the fallback list; then whatever else the split names.
 */
import { createHash } from 'node:crypto'
import type { PaymentMethod } from '../schemas/customer.ts'
import type { Attempt } from '../schemas/payment.ts'
import type { Routing } from '../schemas/storefront.ts'

/** A PSP account as routing sees it. */
export interface RoutableAccount {
  id: string
  /** Why the account cannot be used at all at present, for example that it does not exist. */
  unusable?: string
  /** Absent lists: all. */
  capabilities: { currencies?: string[] | null; countries?: string[] | null; paymentMethodTypes?: string[] | null }
}

export interface RoutingQuestion {
  paymentId: string
  amountMinor: number
  currency: string
  country?: string | undefined
  method: Pick<PaymentMethod, 'type' | 'tokens'>
}

export type Route = Attempt['why']

/** The token by which an account knows a payment method. */
export const tokenFor = (method: Pick<PaymentMethod, 'tokens'>, account: string): string | undefined =>
  (method.tokens.find((entry) => entry.account === account) ?? method.tokens.find((entry) => entry.account === '*'))?.token

export const accountsNamedBy = (routing: Routing): string[] => [
  ...new Set([...routing.rules.flatMap((rule) => rule.use), ...routing.split.map((entry) => entry.account), ...routing.fallback]),
]

/** A list that is absent or null admits everything; a country that is unknown passes no list. */
const admits = (list: string[] | null | undefined, value: string | undefined): boolean => !list || (value !== undefined && list.includes(value))

const exclusion = (account: RoutableAccount, question: RoutingQuestion): string | undefined => {
  const { currencies, countries, paymentMethodTypes } = account.capabilities
  if (account.unusable) return account.unusable
  if (!admits(currencies, question.currency)) return `does not take ${question.currency}`
  if (!admits(countries, question.country)) return `does not serve ${question.country ?? 'a customer without a country'}`
  if (!admits(paymentMethodTypes, question.method.type)) return `does not take ${question.method.type}`
  if (tokenFor(question.method, account.id) === undefined) return 'has no token of this payment method'
  return undefined
}

const matches = (when: Routing['rules'][number]['when'], question: RoutingQuestion): boolean =>
  admits(when.paymentMethodTypes, question.method.type) &&
  admits(when.countries, question.country) &&
  admits(when.currencies, question.currency) &&
  question.amountMinor >= (when.minAmount ?? 0) &&
  question.amountMinor <= (when.maxAmount ?? Number.MAX_SAFE_INTEGER)

/** A number in [0, total) that a payment keeps for ever. */
export const slotOf = (paymentId: string, total: number): number => createHash('sha256').update(paymentId).digest().readUIntBE(0, 6) % total

export const routePayment = (routing: Routing, accounts: readonly RoutableAccount[], question: RoutingQuestion): Route => {
  const excluded: Route['excluded'] = []
  const eligible = new Set<string>()
  for (const name of accountsNamedBy(routing)) {
    const account = accounts.find(({ id }) => id === name) ?? { id: name, unusable: 'no such account', capabilities: {} }
    const reason = exclusion(account, question)
    if (reason) excluded.push({ account: name, reason })
    else eligible.add(name)
  }
  const inOrder = (...names: string[]): string[] => [...new Set(names)].filter((name) => eligible.has(name))
  const split = routing.split.filter((entry) => eligible.has(entry.account))
  const rest = [...routing.fallback, ...split.toSorted((a, b) => b.weight - a.weight).map((entry) => entry.account)]

  const rule = routing.rules.find((one) => matches(one.when, question) && one.use.some((name) => eligible.has(name)))
  if (rule) return { rule: rule.name, candidates: inOrder(...rule.use, ...rest), excluded }

  const total = split.reduce((sum, entry) => sum + entry.weight, 0)
  if (total === 0) return { rule: 'fallback', candidates: inOrder(...rest), excluded }
  const slot = slotOf(question.paymentId, total)
  let passed = 0
  const picked = split.find((entry) => {
    passed += entry.weight
    return slot < passed
  })
  return { rule: 'split', slot, candidates: inOrder(...(picked ? [picked.account] : []), ...rest), excluded }
}
