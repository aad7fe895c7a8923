/** The commands of callers to a subscription that exists: each is decided, stored, and taken to its end. */
import { dateIn } from '../../common/calendar.ts'
import { AppError, fieldError } from '../../common/errors.ts'
import { checkOnSale } from '../catalog/bundles.ts'
import { claimForSubscription, judge, withdrawClaim } from '../customers/claim.ts'
import { methodNamed } from '../customers/customers.ts'
import { type AdvancedSubscription, advanceSubscription } from '../engine/advance-subscription.ts'
import { chargeableAt } from '../engine/charge-limits.ts'
import { checkSetFits } from '../entitlements/check-set-fits.ts'
import { customerKeyOf } from '../keys.ts'
import type { Terms } from '../schemas/bundle.ts'
import type { Bill, Subscription } from '../schemas/subscription.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import type { Moment } from '../work-time.ts'
import { changeTerms } from './machine/change-terms.ts'
import { cancel, reactivate } from './machine/end-subscription.ts'
import { pauseCollection, pauseService, resume } from './machine/pause.ts'
import { giveUpChange, payNow, withPaymentMethod } from './machine/pay.ts'
import { isSameOffer } from './machine/scheduled-change.ts'
import { takeEffect } from './machine/take-effect.ts'
import { checkPrice, termsOf } from './terms.ts'

/** The parts that every command has: its id, and the subscription that it is about. */
export interface Command {
  /** The same for a repeat of the same request, which then changes nothing more. */
  id: string
  subscriptionId: string
  /** Throws when the caller's `If-Match` names another revision. */
  check(subscription: Subscription): void
}

/** A repeat comes soon after its original; this many other commands do not come between. */
const COMMANDS_REMEMBERED = 16

const obey = async (
  of: TenantScope,
  { id, subscriptionId, check }: Command,
  decide: (subscription: Subscription, moment: Moment) => Subscription,
): Promise<AdvancedSubscription> => {
  // What time has done comes first: a command is about the subscription as it is now.
  const { subscription: current } = await upToNow(of, subscriptionId, check)
  const { chargeLimits } = await chargeableAt(of, current)
  const obeyed = await update(
    of.storage.subscriptions,
    of.keys.subscription(subscriptionId),
    (subscription) => {
      if (subscription.recentCommands.includes(id)) return undefined
      // Someone else came between.
      if (subscription !== current) check(subscription)
      const asked = chargeLimits ? { ...subscription, chargeLimits } : subscription
      const decided = decide(asked, of.moment())
      return decided === asked ? undefined : { ...decided, recentCommands: [...subscription.recentCommands, id].slice(-COMMANDS_REMEMBERED) }
    },
    current,
  )
  return advanceSubscription(of, subscriptionId, { known: obeyed })
}

const upToNow = async (of: TenantScope, subscriptionId: string, check: Command['check']) => {
  const stored = await of.storage.subscriptions.get(of.keys.subscription(subscriptionId))
  check(stored)
  const { now } = of.moment()
  return stored.dueAt && stored.dueAt <= now ? advanceSubscription(of, subscriptionId, { known: stored }) : { subscription: stored }
}

/** @throws AppError `not_found` or `not_allowed_in_state`. */
export const cancelSubscription = (
  of: TenantScope,
  command: Command,
  at: 'now' | 'period_end',
  credit: 'none' | 'prorate' = 'none',
): Promise<AdvancedSubscription> => obey(of, command, (subscription, moment) => cancel(subscription, at, moment, credit))

/** @throws AppError `not_found` or `not_allowed_in_state`. */
export const reactivateSubscription = (of: TenantScope, command: Command): Promise<AdvancedSubscription> => obey(of, command, reactivate)

/** @throws AppError `not_found`, `not_allowed_in_state` or `invalid_request`. */
export const pauseSubscription = (
  of: TenantScope,
  command: Command,
  /** A date begins in the storefront's time zone. */
  pause: { what: 'service' | 'collection'; resumeAt?: Date | string | undefined },
): Promise<AdvancedSubscription> =>
  obey(of, command, (subscription, moment) => {
    if (pause.what === 'collection') return pauseCollection(subscription, moment)
    const resumeAt = typeof pause.resumeAt === 'string' ? dateIn(pause.resumeAt, subscription.timeZone) : pause.resumeAt
    return pauseService(subscription, resumeAt, moment)
  })

/** @throws AppError `not_found` or `not_allowed_in_state`. */
export const resumeSubscription = (of: TenantScope, command: Command): Promise<AdvancedSubscription> =>
  obey(of, command, (subscription, moment) => resume(subscription, moment, true))

export interface SubscriptionChange {
  paymentMethod?: string | undefined
  metadata?: Record<string, string> | undefined
}

/** A new payment method is used at once for a payment that has failed. @throws AppError `not_found` or `not_allowed_in_state`. */
export const editSubscription = async (of: TenantScope, command: Command, change: SubscriptionChange): Promise<AdvancedSubscription> => {
  const { subscription } = await upToNow(of, command.subscriptionId, command.check)
  const methodId = change.paymentMethod === undefined ? undefined : await addMethod(of, command, subscription, change.paymentMethod)
  return obey(of, command, (latest, moment) => {
    const paid = methodId === undefined ? latest : withPaymentMethod(latest, methodId, moment)
    return change.metadata === undefined ? paid : { ...paid, metadata: change.metadata }
  })
}

const addMethod = async (of: TenantScope, command: Command, subscription: Subscription, named: string): Promise<string> => {
  // Refused before anything is written: a subscription that has ended takes no payment method.
  withPaymentMethod(subscription, named, of.moment())
  const storefront = await of.storage.storefronts.get(of.keys.storefront(subscription.storefrontId))
  const { id: subscriptionId, bundleId } = subscription
  const wish = { subscriptionId, bundleId, onePerCustomer: false, commandId: command.id }
  // Claimed, so that nobody takes the method away before the subscription is seen to be paid with it.
  const { method } = await claimForSubscription(of, customerKeyOf(subscription), wish, (customer) => methodNamed(of.tenant, storefront, customer, named))
  return method?.id ?? named
}

export interface PayRequest {
  /** The id of one of the customer's methods, or a PSP's token. Absent: the method that it has. */
  paymentMethod?: string | undefined
  returnUrl?: string | undefined
}

/** The customer is there, and pays what is still owed. @throws AppError `not_found` or `not_allowed_in_state`. */
export const payBill = async (of: TenantScope, command: Command, paymentId: string, { paymentMethod, returnUrl }: PayRequest) => {
  // Whatever has become of the payment comes first: it may have failed, or be paid, by now.
  const { subscription } = await advanceSubscription(of, command.subscriptionId)
  if (subscription.recentCommands.includes(command.id)) return advanceSubscription(of, subscription.id)
  // Refused before anything is written.
  payNow(subscription, { paymentId, paymentMethodId: paymentMethod, returnUrl }, of.moment())
  const paymentMethodId = paymentMethod === undefined ? undefined : await addMethod(of, command, subscription, paymentMethod)
  return obey(of, command, (latest, moment) => payNow(latest, { paymentId, paymentMethodId, returnUrl }, moment))
}

/** A change that waits for its payment does not happen. @throws AppError `not_found` or `not_allowed_in_state`. */
export const withdrawChange = (of: TenantScope, command: Command, paymentId: string): Promise<AdvancedSubscription> =>
  obey(of, command, (latest, moment) => giveUpChange(latest, paymentId, moment))

export interface TermsChange {
  bundleId?: string | undefined
  quantity?: number | undefined
  at: 'now' | 'period_end'
}

/**
 * The terms that a caller asks for. Naming another bundle means its newest version; another quantity keeps the terms
 * that were agreed; naming the own bundle and nothing else moves to its newest version.
 */
const termsAskedFor = async (
  of: TenantScope,
  subscription: Subscription,
  { bundleId, quantity }: TermsChange,
): Promise<{ terms: Terms; onePerCustomer: boolean }> => {
  const { storefrontId, bundleId: own } = subscription
  const { bundleVersion, pricing, entitlements, refundEndsAccess } = subscription
  if (bundleId === undefined || (bundleId === own && quantity !== undefined)) {
    const terms = checkPrice({ bundleId: own, bundleVersion, pricing, entitlements, refundEndsAccess, quantity: quantity ?? subscription.quantity })
    return { terms, onePerCustomer: false }
  }
  const bundle = await of.storage.bundles.find(of.keys.bundle(storefrontId, bundleId))
  if (!bundle) throw fieldError('unknown_reference', 'bundleId', `the storefront has no bundle ${JSON.stringify(bundleId)}`)
  // Who has it keeps it, in its newest version too.
  if (bundleId !== own) checkOnSale(bundle)
  return { terms: checkPrice(termsOf(bundle, quantity ?? subscription.quantity)), onePerCustomer: bundleId !== own && bundle.onePerCustomer === true }
}

/** Needed unless what is owed is nothing. */
const checkHasMethod = (subscription: Subscription, bill: Bill | undefined): void => {
  if (bill?.status !== 'open' || subscription.paymentMethodId) return
  throw new AppError('not_allowed_in_state', 'the change must be paid, and the subscription has no payment method; PATCH one')
}

/** @throws AppError `not_found`, `unknown_reference` or `not_allowed_in_state`. */
export const changeSubscription = async (of: TenantScope, command: Command, change: TermsChange): Promise<AdvancedSubscription> => {
  const { subscription } = await upToNow(of, command.subscriptionId, command.check)
  const { terms, onePerCustomer } = await termsAskedFor(of, subscription, change)
  if (!isSameOffer(terms, subscription) && !subscription.recentCommands.includes(command.id)) {
    // Refused before anything is written.
    const { bill } = changeTerms(await chargeableAt(of, subscription), terms, change.at, of.moment())
    checkHasMethod(subscription, bill)
    await checkSetFits(of, customerKeyOf(subscription), [{ ...subscription, ...terms }])
    const wish = { subscriptionId: subscription.id, bundleId: terms.bundleId, onePerCustomer, commandId: command.id }
    await claimForSubscription(of, customerKeyOf(subscription), wish, () => undefined)
  }
  try {
    return await obey(of, command, (latest, moment) => {
      const { subscription: changedOne, bill } = changeTerms(latest, terms, change.at, moment)
      checkHasMethod(latest, bill)
      return changedOne
    })
  } catch (error) {
    if (error instanceof AppError) await withdrawClaim(of, customerKeyOf(subscription), { subscriptionId: subscription.id, commandId: command.id })
    throw error
  }
}

export interface ChangePreview {
  /** The lines, the credit and the amount of what is due now; absent when nothing is billed for the change. */
  bill: Bill | undefined
  /** The subscription once the change has taken effect. */
  after: Subscription
}

/** Computes what `changeSubscription` would do now; stores nothing. @throws as it does. */
export const previewChange = async (of: TenantScope, subscriptionId: string, change: TermsChange): Promise<ChangePreview> => {
  const subscription = await of.storage.subscriptions.get(of.keys.subscription(subscriptionId))
  const { terms, onePerCustomer } = await termsAskedFor(of, subscription, change)
  const wish = { subscriptionId, bundleId: terms.bundleId, onePerCustomer }
  await judge(of, customerKeyOf(subscription), wish, of.clock.now())
  if (!isSameOffer(terms, subscription)) await checkSetFits(of, customerKeyOf(subscription), [{ ...subscription, ...terms }])
  const moment = of.moment()
  const { subscription: changedOne, bill } = changeTerms(await chargeableAt(of, subscription), terms, change.at, moment)
  checkHasMethod(subscription, bill)
  const after = bill?.status === 'open' ? takeEffect(changedOne, bill, moment) : changedOne
  return { bill, after }
}
