/**
 * Takes a subscription as far as it can go now: what time has done to it, the payments of its bills, what has become of
 * their money since, the publication of what it grants. The request that changes a subscription, the worker that finds
 * it due, the sweeper after a crash and a PSP's webhook all call this and nothing else; each step is stored before the
 * next, so whoever calls it again goes on where it stopped.
 */
import { isAppError } from '../../common/errors.ts'
import { publishEntitlements, toEntitlementSet } from '../entitlements/publish-entitlements.ts'
import { customerKeyOf } from '../keys.ts'
import { collectPayment } from '../payments/collect-payment.ts'
import { giveUpAttempt } from '../payments/give-up-attempt.ts'
import { lookAtPayment } from '../payments/look-at-payment.ts'
import { abandon, type RoundRequest, reopen } from '../payments/machine/attempts.ts'
import { recordSeen } from '../payments/machine/money-facts.ts'
import { waitingAttempt } from '../payments/machine/state.ts'
import { notStoredYet, paymentOfBill, storeNext } from '../payments/new-payment.ts'
import type { Payment } from '../schemas/payment.ts'
import type { Bill, Subscription } from '../schemas/subscription.ts'
import { insertOrGet, update } from '../storage/update.ts'
import { afterDispute } from '../subscriptions/machine/after-dispute.ts'
import { afterPayment } from '../subscriptions/machine/after-payment.ts'
import { afterTime } from '../subscriptions/machine/after-time.ts'
import { afterMoneyBack } from '../subscriptions/machine/money-back.ts'
import { atRest } from '../subscriptions/machine/state.ts'
import type { TenantScope } from '../tenant-scope.ts'
import type { Moment } from '../work-time.ts'
import { archiveEvents, isTimeToArchive } from './archive-events.ts'
import { chargeableAt } from './charge-limits.ts'
import { checkInheritance, tellHeirs } from './inherit-credit.ts'

/** Ten years of days in one catch-up, and some lost races; more steps on one subscription is a fault. */
const MAX_STEPS = 10_000

export interface AdvancedSubscription {
  subscription: Subscription
  /** The payment it waits for, or the last one it made in this call. */
  payment: Payment | undefined
  /** The payment that was to be looked at, as it is then. */
  lookedAt?: Payment | undefined
  /** The revision of the customer's set that shows all this. */
  entitlementRevision: number
}

export interface Advance {
  /** The subscription as the caller last saw it, which saves reading it. */
  known?: Subscription | undefined
  /** Bills from this one on were opened by the caller a moment ago, so that they have no payments yet. */
  firstNewBill?: number | undefined
  /** A payment that is due to be looked at, as the caller last saw it: somebody has told of it, its time has come, or a crash left it half-done. */
  lookAt?: Payment | undefined
}

/**
 * The payments that this call has seen, so that none is read twice. All of it may be old: whatever is written from it is
 * compared, and a lost race forgets it.
 */
interface SeenPayments {
  byId: Map<string, Payment>
  /** Bills from this one on were opened in this call. Should somebody be quicker, the insert of their payment says so. */
  firstNewBill: number
}

/**
 * Takes a subscription as far as it can go now: looks at what is stored, takes one step, stores the result, and looks again; then
 * publishes the customer's set. Harmless to repeat.
 * @returns the subscription at rest, the payment that was looked at last, and the revision of the set that shows both.
 * @throws AppError `not_found`, or `unavailable`. Whatever was stored before a throw stands, and a sweeper goes on from there.
 */
export const advanceSubscription = async (
  of: TenantScope,
  subscriptionId: string,
  { known, firstNewBill = Number.POSITIVE_INFINITY, lookAt }: Advance = {},
): Promise<AdvancedSubscription> => {
  const { subscriptions } = of.storage
  const id = of.keys.subscription(subscriptionId)
  let payment: Payment | undefined
  let current = known
  let [isLookedAt, isNoted] = [lookAt === undefined, lookAt === undefined]
  const seen: SeenPayments = { byId: new Map(lookAt ? [[lookAt.id, lookAt]] : []), firstNewBill }
  const toLookAt = async (paymentId: string): Promise<Payment> => seen.byId.get(paymentId) ?? (await of.storage.payments.get(of.keys.payment(paymentId)))
  let limits: Subscription['chargeLimits']
  /** The subscription with present charge limits if time may make a bill next: the storefront's accounts must be able to take its amount. */
  const chargeable = async (subscription: Subscription): Promise<Subscription> => {
    if (!subscription.dueAt || subscription.dueAt > of.moment().now) return subscription
    limits ??= (await chargeableAt(of, subscription)).chargeLimits
    return limits ? { ...subscription, chargeLimits: limits } : subscription
  }
  for (let steps = 0; steps < MAX_STEPS; steps += 1) {
    try {
      const subscription = await chargeable(current ?? (await subscriptions.get(id)))
      current = undefined
      if (subscription.inheritanceUnchecked) {
        current = await subscriptions.replace(await checkInheritance(of, subscription))
        continue
      }
      const moved = afterTime(subscription, of.moment())
      if (moved) {
        current = await subscriptions.replace(moved)
        seen.firstNewBill = Math.min(seen.firstNewBill, subscription.billsMade)
        continue
      }
      const billed = await bringBillsToRest(of, subscription, seen)
      payment = billed.payment ?? payment
      if (billed.subscription) {
        current = billed.subscription
        continue
      }
      // Whether the payment is still wanted is the subscription's to say: only now is it asked about.
      if (lookAt && !isLookedAt) {
        seen.byId.set(lookAt.id, await lookAtPayment(of, await toLookAt(lookAt.id)))
        isLookedAt = true
        current = subscription
        continue
      }
      if (lookAt && !isNoted) {
        const noted = await noteFacts(of, subscription, await toLookAt(lookAt.id))
        seen.byId.set(lookAt.id, noted.payment)
        isNoted = noted.subscription === undefined
        current = noted.subscription ?? subscription
        continue
      }
      return { ...(await rest(of, subscription)), payment, lookedAt: lookAt && seen.byId.get(lookAt.id) }
    } catch (error) {
      // Another process changed the subscription or a payment: look again at where they are.
      if (!isAppError(error, 'revision_conflict')) throw error
      seen.byId.clear()
      seen.firstNewBill = Number.POSITIVE_INFINITY
    }
  }
  throw new Error(`subscription ${subscriptionId} does not come to rest`)
}

/** Nothing more can be done now: what is stored is published, and the mark that it may not be is taken away. */
const rest = async (of: TenantScope, subscription: Subscription) => {
  const { subscriptions } = of.storage
  const { revision: entitlementRevision, published } = await publishEntitlements(of, customerKeyOf(subscription), subscription.id)
  if (!subscription.repairAt) return { subscription, entitlementRevision }
  // Later, when the feed is back; and after others whose time has come.
  if (!published) return { subscription: await subscriptions.replace({ ...subscription, repairAt: of.repairAt() }), entitlementRevision }
  if (!isTimeToArchive(subscription)) return { subscription: await subscriptions.replace(atRest(subscription)), entitlementRevision }
  return { subscription: await subscriptions.replace(atRest(await archiveEvents(of, subscription))), entitlementRevision }
}

/** Only what was looked at has been seen: what has become of it since keeps its reminder. */
const markSeen = (of: TenantScope, { moneyBack }: Subscription, payment: Payment): Promise<Payment> =>
  update(of.storage.payments, payment._id, (latest) => (latest.revision === payment.revision ? recordSeen(latest, moneyBack ?? []) : undefined), payment)

/** The subscription after everything that has happened to a payment's money since it arrived. */
const afterFacts = (subscription: Subscription, payment: Payment, moment: Moment): Subscription | undefined => {
  const back = afterMoneyBack(subscription, payment, moment)
  return afterDispute(back ?? subscription, payment, moment) ?? back
}

interface Noted {
  /** Present when it was news to the subscription. */
  subscription: Subscription | undefined
  payment: Payment
}

/** Tells the subscription what it did not know yet of a payment's money. */
const noteFacts = async (of: TenantScope, subscription: Subscription, payment: Payment): Promise<Noted> => {
  const changed = afterFacts(subscription, payment, of.moment())
  const stored = changed && (await of.storage.subscriptions.replace(changed))
  for (const heir of await tellHeirs(of, stored ?? subscription)) await advanceSubscription(of, heir)
  // It is in the subscription: only now is the payment's own reminder of it taken away.
  return { subscription: stored, payment: await markSeen(of, stored ?? subscription, payment) }
}

interface Billed {
  /** The payment of the bill that was looked at last. */
  payment: Payment | undefined
  /** Present when the subscription was changed. */
  subscription: Subscription | undefined
}

/** Takes the payments of its bills as far as they go, until one changes the subscription. */
const bringBillsToRest = async (of: TenantScope, subscription: Subscription, seen: SeenPayments): Promise<Billed> => {
  let payment: Payment | undefined
  // Those that nobody wants are abandoned before anything else is charged.
  const order = { dropped: 0, settled: 1, open: 2 }
  for (const bill of subscription.bills.toSorted((a, b) => order[a.status] - order[b.status])) {
    payment = await bringPaymentToRest(of, subscription, bill, seen)
    const moment = of.moment()
    const paid = afterPayment(subscription, bill, payment, moment)
    const changed = afterFacts(paid ?? subscription, payment, moment) ?? paid
    const stored = changed && (await of.storage.subscriptions.replace(changed))
    // The outcome is in the subscription, or it has nothing new to say: its reminder has done its work.
    payment = await markSeen(of, stored ?? subscription, payment)
    seen.byId.set(payment.id, payment)
    if (stored) return { payment, subscription: stored }
  }
  return { payment, subscription: undefined }
}

const bringPaymentToRest = async (of: TenantScope, subscription: Subscription, bill: Bill, seen: SeenPayments): Promise<Payment> => {
  const { payments } = of.storage
  const { now, repairAt } = of.moment()
  const isNew = bill.seq >= seen.firstNewBill
  const known = seen.byId.get(bill.paymentId) ?? (isNew ? undefined : await payments.find(of.keys.payment(bill.paymentId)))
  const made = paymentOfBill(of, subscription, bill)
  // One that is charged now is stored with its first attempt, and not before it.
  if (!known && bill.status === 'open' && made.status === 'due') return collectNew(of, notStoredYet(made))
  const payment = known ?? (await insertOrGet(payments, made))
  if (bill.status === 'settled') return payment
  if (bill.status === 'dropped') return collectPayment(of, await update(payments, payment._id, (latest) => abandon(latest, now, repairAt), payment))
  const { round, onSession, returnUrl, lines, creditMinor, amountMinor, period } = bill
  const asked: RoundRequest = {
    round,
    onSession: onSession ?? false,
    returnUrl: returnUrl,
    paymentMethodId: subscription.paymentMethodId,
    owed: { lines, creditMinor, amountMinor, period: { start: period.start, end: period.end } },
  }
  const wanted = await withNewestMethod(of, subscription, payment)
  return collectPayment(of, await update(payments, payment._id, (latest) => reopen(latest, asked, repairAt), wanted))
}

/** @returns it as it is stored, whatever became of it. */
const collectNew = async (of: TenantScope, payment: Payment): Promise<Payment> => {
  const collected = await collectPayment(of, payment)
  return collected.revision > 0 ? collected : storeNext(of.storage, collected)
}

/** An attempt that waits for the customer does not stand in the way of the payment method that they have given since. */
const withNewestMethod = async (of: TenantScope, { paymentMethodId }: Subscription, payment: Payment): Promise<Payment> => {
  const waiting = waitingAttempt(payment)
  if (!waiting || payment.abandoned || !paymentMethodId || [payment.paymentMethodId, waiting.paymentMethodId].includes(paymentMethodId)) return payment
  return giveUpAttempt(of, payment, waiting, { why: 'another payment method was given', goOn: false })
}

/** The subscription as it stands, changing nothing. @throws AppError `not_found`. */
export const readSubscription = async (of: TenantScope, subscriptionId: string): Promise<AdvancedSubscription> => {
  const { storage } = of
  const subscription = await storage.subscriptions.get(of.keys.subscription(subscriptionId))
  const set = await storage.entitlementSets.find(of.keys.customer(subscription.storefrontId, subscription.customerId))
  const paymentId = subscription.bills.at(-1)?.paymentId
  const payment = paymentId ? await storage.payments.find(of.keys.payment(paymentId)) : undefined
  return { subscription, payment, entitlementRevision: set ? toEntitlementSet(set).revision : 0 }
}
