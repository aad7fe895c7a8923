/**
 * Decides which PSP accounts may take a payment, in the order of trying, and why. Pure and deterministic: the same payment
 * gets the same order from whichever process asks, so that a retry or a concurrent call agrees.
 *
 * Order: of the accounts that can take it at all, those of the first matching rule; else, for a renewal, the account that the
 * last payment was made at; else the one that the weighted split picks; then the fallback list; then whatever else the split
 * names.
 */
import { createHash } from 'node:crypto'
import type { PaymentMethod } from '../../schemas/customer.ts'
import type { Attempt } from '../../schemas/payment.ts'
import type { Routing } from '../../schemas/storefront.ts'

/** A PSP account as routing sees it. */
export interface RoutableAccount {
  id: string
  /** Why the account cannot be used at all at present, for example that it does not exist. */
  unusable?: string
  /** Its circuit is open: it would only be waited for in vain. */
  circuitOpenUntil?: Date | undefined
  /** Absent lists: all. */
  capabilities: { currencies?: string[]; countries?: string[]; paymentMethodTypes?: string[] }
}

export interface RoutingQuestion {
  paymentId: string
  amountMinor: number
  currency: string
  country?: string | undefined
  method: Pick<PaymentMethod, 'type' | 'tokens'>
  /** The account that the last payment was made at, for a renewal. */
  stayWith?: string | undefined
}

/** The reason of a route, kept with its attempt so that it can be answered for ever. */
export type Route = Omit<Attempt['why'], 'split'> & { split?: { account: string; weight: number }[] }

export interface RoutingDecision {
  route: Route
  /** Accounts that could take it, if only their circuit were closed, in the order of trying. */
  behindOpenCircuit: string[]
}

/** A portable token (a network token, or one of a vault that several providers share) is good at every account. */
const PORTABLE = '*'

/** The token by which an account knows a payment method. */
export const tokenFor = (method: Pick<PaymentMethod, 'tokens'>, account: string): string | undefined =>
  (method.tokens.find((entry) => entry.account === account) ?? method.tokens.find((entry) => entry.account === PORTABLE))?.token

/** The ids of all accounts that a routing can lead to, each once. */
export const accountsNamedBy = (routing: Routing): string[] => [
  ...new Set([...routing.rules.flatMap((rule) => rule.use), ...routing.split.map((entry) => entry.account), ...routing.fallback]),
]

/** A list that is absent or null admits everything; a country that is unknown passes no list. */
const admits = (list: string[] | undefined, value: string | undefined): boolean => !list || (value !== undefined && list.includes(value))

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

/** The account of a weighted list that a number in [0, total weight) falls to. */
const accountAt = (split: Weights, slot: number): string | undefined => {
  let passed = 0
  return split.find(({ weight }) => {
    passed += weight
    return slot < passed
  })?.account
}

type Weights = { account: string; weight: number }[]

interface Choice {
  rule: string
  slot?: number
  split?: Weights
  first: string[]
}

/** The first choice, and by which rule it is one. */
const firstChoice = (routing: Routing, eligible: (account: string) => boolean, question: RoutingQuestion): Choice => {
  const rule = routing.rules.find((one) => matches(one.when, question) && one.use.some(eligible))
  if (rule) return { rule: rule.name, first: rule.use }
  const { stayWith } = question
  // A renewal stays with the account that holds the token, unless a portable one leaves the choice open.
  if (stayWith !== undefined && eligible(stayWith) && question.method.tokens.some(({ account }) => account === stayWith))
    return { rule: 'renewal', first: [stayWith] }
  const split = routing.split.filter(({ account }) => eligible(account)).map(({ account, weight }) => ({ account, weight }))
  const total = split.reduce((sum, { weight }) => sum + weight, 0)
  if (total === 0) return { rule: 'fallback', first: [] }
  const slot = slotOf(question.paymentId, total)
  const picked = accountAt(split, slot)
  return { rule: 'split', slot, split, first: picked === undefined ? [] : [picked] }
}

/**
 * @param accounts those that the routing names; one that is missing here is excluded as `no such account`.
 * @returns the candidates in the order of trying, and a reason for each account that is excluded.
 */
export const routePayment = (routing: Routing, accounts: readonly RoutableAccount[], question: RoutingQuestion): RoutingDecision => {
  const excluded: Route['excluded'] = []
  const usable = new Set<string>()
  const waiting = new Set<string>()
  for (const name of accountsNamedBy(routing)) {
    const account = accounts.find(({ id }) => id === name) ?? { id: name, unusable: 'no such account', capabilities: {} }
    const reason = exclusion(account, question)
    if (reason) excluded.push({ account: name, reason })
    else if (account.circuitOpenUntil) {
      excluded.push({ account: name, reason: `circuit open until ${account.circuitOpenUntil.toISOString()}` })
      waiting.add(name)
    } else usable.add(name)
  }
  const { first, ...why } = firstChoice(routing, (name) => usable.has(name), question)
  const bySplit = routing.split.toSorted((a, b) => b.weight - a.weight).map(({ account }) => account)
  const inOrder = (among: Set<string>): string[] => [...new Set([...first, ...routing.fallback, ...bySplit])].filter((name) => among.has(name))
  return { route: { ...why, candidates: inOrder(usable), excluded }, behindOpenCircuit: inOrder(waiting) }
}
