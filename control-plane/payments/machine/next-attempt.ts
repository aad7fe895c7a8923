/** Decides whether a payment is tried now, and if so on which account and with which of the customer's methods. */
import { DAY_MS, HOUR_MS } from '../../../common/durations.ts'
import type { PaymentMethod } from '../../schemas/customer.ts'
import type { Attempt, CardNetwork, Payment } from '../../schemas/payment.ts'
import type { BillingTerms } from '../../schemas/storefront.ts'
import type { Route } from '../routing/route-payment.ts'
import { consequences } from './decline-classes.ts'
import { later, openAttempt, uncaptured, waitingAttempt } from './state.ts'

export type PaymentStep = { kind: 'attempt' } | { kind: 'capture' | 'release' | 'give_up'; attempt: Attempt } | { kind: 'nothing' }

/** The next step that a payment can take now, without anybody's help. */
export const nextStep = (payment: Payment): PaymentStep => {
  const attempt = uncaptured(payment)
  // Of money that is only held, what nobody wants, or has been paid already, is let go.
  if (attempt) return { kind: payment.abandoned || payment.status === 'succeeded' ? 'release' : 'capture', attempt }
  // Nobody is to pay what nobody wants.
  const waiting = payment.abandoned ? waitingAttempt(payment) : undefined
  if (waiting) return { kind: 'give_up', attempt: waiting }
  return { kind: payment.status === 'due' && !payment.abandoned && !openAttempt(payment) ? 'attempt' : 'nothing' }
}

/**
 * Why no attempt with this method may be made now, on any account; undefined when one may. A card that was refused
 * for good is never tried again, one that needs its holder not until something has changed, and none more often than
 * card networks allow.
 */
export const barrier = (payment: Payment, method: Pick<PaymentMethod, 'id' | 'changedAt'>, limits: AttemptLimits, now: Date): string | undefined => {
  const { id: paymentMethodId, changedAt } = method
  const ofMethod = payment.attempts.filter(
    (attempt) => attempt.status === 'declined' && attempt.paymentMethodId === paymentMethodId && !(changedAt && attempt.at <= changedAt),
  )
  if (ofMethod.some((attempt) => attempt.declineClass === 'hard')) return 'the payment method was declined for good'
  const last = ofMethod.at(-1)
  // A customer who is there can do what their bank asks for.
  const canAct = payment.onSession === true && last?.declineClass === 'action_required'
  if (last?.declineClass && last.round < payment.round && !consequences[last.declineClass].laterUnchanged && !canAct) {
    const hint = last.declineClass === 'action_required' ? '; POST …/pay when the customer is present to act' : ''
    return `the payment method was declined (${last.declineClass}) and nothing has changed since${hint}`
  }
  return capReached(payment, method, limits, now)
}

export type AttemptLimits = Pick<BillingTerms, 'maxAttempts' | 'maxAttemptsDays' | 'maxAttemptsPerDay'>

/** Under the strictest of the networks' limits, which one of them counts by the day. */
const DEFAULT_MAX_PER_DAY = 10

interface Window {
  most: number
  days: number
}

/**
 * The numbers of tries beyond which a network itself charges fees, whatever a storefront allows. Visa counts the tries after
 * the first (20 since May 2025), Mastercard all:
 * https://support.checkout.com/hc/en-us/articles/25482040901394-When-can-I-retry-a-declined-transaction
 */
const networkWindows: Readonly<Record<CardNetwork, readonly Window[]>> = {
  visa: [{ most: 20, days: 30 }],
  mastercard: [
    { most: 10, days: 1 },
    { most: 35, days: 30 },
  ],
}

/** Whatever has left for a provider may have reached a card network, whatever became of it, at whichever account. */
const reachedNetwork = ({ status }: Attempt): boolean => status !== 'not_sent'

/** Why card networks would fine another attempt now: several windows hold at once. */
const capReached = (payment: Payment, { id }: Pick<PaymentMethod, 'id'>, limits: AttemptLimits, now: Date): string | undefined => {
  const reached = payment.attempts.filter((attempt) => attempt.paymentMethodId === id && reachedNetwork(attempt))
  const network = reached.findLast((attempt) => attempt.network)?.network
  const windows: Window[] = [
    { most: limits.maxAttemptsPerDay ?? DEFAULT_MAX_PER_DAY, days: 1 },
    { most: limits.maxAttempts, days: limits.maxAttemptsDays },
    ...(network ? networkWindows[network] : []),
  ]
  for (const { most, days } of windows) {
    const since = later(now, -days * DAY_MS)
    const counted = reached.filter(({ at }) => at > since).length
    if (counted >= most) return `it was already tried ${counted} times in ${days === 1 ? 'a day' : `${days} days`}`
  }
  return undefined
}

/** Attempts of this round with one method. */
const triedWith = (payment: Payment, paymentMethodId: string): Attempt[] =>
  payment.attempts.filter((attempt) => attempt.round === payment.round && attempt.paymentMethodId === paymentMethodId)

/** The account to try next in this round with this method, of those given in order, or undefined when no other may be tried now. */
export const nextAccount = (payment: Payment, paymentMethodId: string, accounts: readonly string[]): string | undefined => {
  const tried = triedWith(payment, paymentMethodId)
  const last = tried.at(-1)
  if (last?.status === 'declined') {
    const { otherPspNow } = consequences[last.declineClass]
    if (otherPspNow === 'no') return undefined
    const sameClass = tried.filter((attempt) => attempt.declineClass === last.declineClass).length
    if (otherPspNow === 'once' && sameClass > 1) return undefined
  }
  return accounts.find((account) => !tried.some((attempt) => attempt.account === account))
}

/** The last day of the month that is printed on the card, anywhere on earth. */
export const isExpired = ({ expiry }: Pick<PaymentMethod, 'expiry'>, now: Date): boolean =>
  expiry !== undefined && now.getTime() > Date.UTC(expiry.year, expiry.month, 1) + 12 * HOUR_MS

/**
 * The methods that a payment is tried with, in order: its own, then, where the storefront allows it and the payment is
 * a renewal, the customer's others. An issuer often knows a card under its token after the date that is printed on it,
 * so the payment's own is tried whatever its date; of the others only those that have not expired.
 */
export const methodsFor = (
  payment: Pick<Payment, 'seq' | 'paymentMethodId' | 'subscriptionId'>,
  methods: readonly PaymentMethod[],
  tryOtherMethods: boolean,
  now: Date,
): PaymentMethod[] => {
  const own = methods.filter(({ id }) => id === payment.paymentMethodId)
  const isRenewal = payment.subscriptionId !== undefined && (payment.seq ?? 0) > 0
  if (!tryOtherMethods || !isRenewal) return own
  return [...own, ...methods.filter((method) => method.id !== payment.paymentMethodId && !isExpired(method, now))]
}

/**
 * True if another method makes sense after this one: somebody has refused it, or it is barred. When only the providers were
 * away, its next retry is the better chance.
 */
const refusedWith = (payment: Payment, paymentMethodId: string): boolean => {
  const last = triedWith(payment, paymentMethodId).at(-1)
  return !last || (last.status === 'declined' && !consequences[last.declineClass].accessUnchanged)
}

export interface NextAttempt {
  account: string
  method: PaymentMethod
  route: Route
  /** The account's circuit is open: the attempt is recorded as not sent, and nothing is sent. */
  circuitOpen: boolean
}

/**
 * @param routed the methods that may be used, in order, each with its route.
 * @returns the attempt to make, or why there is none (undefined: every account has been tried, or none could be).
 */
export const nextAttempt = (
  payment: Payment,
  routed: readonly { method: PaymentMethod; route: Route; behindOpenCircuit: readonly string[] }[],
  limits: AttemptLimits,
  now: Date,
): NextAttempt | { none: string | undefined } => {
  let why: string | undefined = 'there is no payment method'
  for (const [n, { method, route, behindOpenCircuit }] of routed.entries()) {
    const barred = barrier(payment, method, limits, now)
    if (n === 0 || why === undefined) why = barred
    if (barred !== undefined) continue
    const account = nextAccount(payment, method.id, route.candidates)
    if (account) return { account, method, route, circuitOpen: false }
    const waiting = nextAccount(payment, method.id, behindOpenCircuit)
    if (waiting) return { account: waiting, method, route, circuitOpen: true }
    if (!refusedWith(payment, method.id)) break
  }
  return { none: why }
}
