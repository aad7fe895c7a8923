/** What callers do to a subscription that exists: each a decision, stored, and taken to its end. */
import { dateIn } from '../../common/calendar.ts'
import { AppError, fieldError } from '../../common/errors.ts'
import { checkOnSale } from '../catalog/bundles.ts'
import { claimForSubscription, judge, withdrawClaim } from '../customers/claim.ts'
import { methodNamed } from '../customers/customers.ts'
import { type AdvancedSubscription, advanceSubscription } from '../engine/advance-subscription.ts'
import { chargeableAt } from '../engine/charge-limits.ts'
import { momentOf } from '../engine/moment.ts'
import { checkSetFits } from '../entitlements/check-set-fits.ts'
import { customerKeyOf, keys } from '../keys.ts'
import type { Terms } from '../schemas/bundle.ts'
import type { Bill, Subscription } from '../schemas/subscription.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { Services } from '../services.ts'
import { update } from '../storage/update.ts'
import { changeTerms } from './machine/change-terms.ts'
import { cancel, reactivate } from './machine/end-subscription.ts'
import { pauseCollection, pauseService, resume } from './machine/pause.ts'
import { giveUpChange, payNow, withPaymentMethod } from './machine/pay.ts'
import { isSameOffer } from './machine/scheduled-change.ts'
import type { Moment } from './machine/state.ts'
import { settled } from './machine/take-effect.ts'
import { checkPrice, termsOf } from './terms.ts'

/** What a caller asks for, and of which subscription. */
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
  services: Services,
  tenant: Tenant,
  { id, subscriptionId, check }: Command,
  decide: (subscription: Subscription, moment: Moment) => Subscription,
): Promise<AdvancedSubscription> => {
  // What time has done comes first: a command is about the subscription as it is now.
  const { subscription: current } = await upToNow(services, tenant, subscriptionId, check)
  const { chargeLimits } = await chargeableAt(services, tenant, current)
  const obeyed = await update(
    services.storage.subscriptions,
    keys.subscription(tenant.tenantId, subscriptionId),
    (subscription) => {
      if (subscription.recentCommands.includes(id)) return undefined
      // Someone else came between.
      if (subscription !== current) check(subscription)
      const asked = chargeLimits ? { ...subscription, chargeLimits } : subscription
      const decided = decide(asked, momentOf(services, tenant))
      return decided === asked ? undefined : { ...decided, recentCommands: [...subscription.recentCommands, id].slice(-COMMANDS_REMEMBERED) }
    },
    current,
  )
  return advanceSubscription(services, tenant, subscriptionId, { known: obeyed })
}

const upToNow = async (services: Services, tenant: Tenant, subscriptionId: string, check: Command['check']) => {
  const stored = await services.storage.subscriptions.get(keys.subscription(tenant.tenantId, subscriptionId))
  check(stored)
  const { now } = momentOf(services, tenant)
  return stored.dueAt && stored.dueAt <= now ? advanceSubscription(services, tenant, subscriptionId, { known: stored }) : { subscription: stored }
}

/** @throws AppError `not_found` or `not_allowed_in_state`. */
export const cancelSubscription = (
  services: Services,
  tenant: Tenant,
  command: Command,
  at: 'now' | 'period_end',
  credit: 'none' | 'prorate' = 'none',
): Promise<AdvancedSubscription> => obey(services, tenant, command, (subscription, moment) => cancel(subscription, at, moment, credit))

/** @throws AppError `not_found` or `not_allowed_in_state`. */
export const reactivateSubscription = (services: Services, tenant: Tenant, command: Command): Promise<AdvancedSubscription> =>
  obey(services, tenant, command, reactivate)

/** @throws AppError `not_found`, `not_allowed_in_state` or `invalid_request`. */
export const pauseSubscription = (
  services: Services,
  tenant: Tenant,
  command: Command,
  /** A date begins in the storefront's time zone. */
  pause: { what: 'service' | 'collection'; resumeAt?: Date | string | undefined },
): Promise<AdvancedSubscription> =>
  obey(services, tenant, command, (subscription, moment) => {
    if (pause.what === 'collection') return pauseCollection(subscription, moment)
    const resumeAt = typeof pause.resumeAt === 'string' ? dateIn(pause.resumeAt, subscription.timeZone) : pause.resumeAt
    return pauseService(subscription, resumeAt, moment)
  })

/** @throws AppError `not_found` or `not_allowed_in_state`. */
export const resumeSubscription = (services: Services, tenant: Tenant, command: Command): Promise<AdvancedSubscription> =>
  obey(services, tenant, command, (subscription, moment) => resume(subscription, moment, true))

export interface SubscriptionChange {
  paymentMethod?: string | undefined
  metadata?: Record<string, string> | undefined
}

/** A new payment method is used at once for a payment that has failed. @throws AppError `not_found` or `not_allowed_in_state`. */
export const editSubscription = async (services: Services, tenant: Tenant, command: Command, change: SubscriptionChange): Promise<AdvancedSubscription> => {
  const { subscription } = await upToNow(services, tenant, command.subscriptionId, command.check)
  const methodId = change.paymentMethod === undefined ? undefined : await addMethod(services, tenant, command, subscription, change.paymentMethod)
  return obey(services, tenant, command, (latest, moment) => {
    const paid = methodId === undefined ? latest : withPaymentMethod(latest, methodId, moment)
    return change.metadata === undefined ? paid : { ...paid, metadata: change.metadata }
  })
}

const addMethod = async (services: Services, tenant: Tenant, command: Command, subscription: Subscription, named: string): Promise<string> => {
  // Refused before anything is written: a subscription that has ended takes no payment method.
  withPaymentMethod(subscription, named, momentOf(services, tenant))
  const storefront = await services.storage.storefronts.get(keys.storefront(tenant.tenantId, subscription.storefrontId))
  const { id: subscriptionId, bundleId } = subscription
  const wish = { subscriptionId, bundleId, onePerCustomer: false, commandId: command.id }
  // Claimed, so that nobody takes the method away before the subscription is seen to be paid with it.
  const { method } = await claimForSubscription(services, tenant, customerKeyOf(subscription), wish, (customer) =>
    methodNamed(tenant, storefront, customer, named),
  )
  return method?.id ?? named
}

export interface PayRequest {
  /** The id of one of the customer's methods, or a PSP's token. Absent: the method that it has. */
  paymentMethod?: string | undefined
  returnUrl?: string | undefined
}

/** The customer is there, and pays what is still owed. @throws AppError `not_found` or `not_allowed_in_state`. */
export const payBill = async (services: Services, tenant: Tenant, command: Command, paymentId: string, { paymentMethod, returnUrl }: PayRequest) => {
  // Whatever has become of the payment comes first: it may have failed, or be paid, by now.
  const { subscription } = await advanceSubscription(services, tenant, command.subscriptionId)
  if (subscription.recentCommands.includes(command.id)) return advanceSubscription(services, tenant, subscription.id)
  // Refused before anything is written.
  payNow(subscription, { paymentId, paymentMethodId: paymentMethod, returnUrl }, momentOf(services, tenant))
  const paymentMethodId = paymentMethod === undefined ? undefined : await addMethod(services, tenant, command, subscription, paymentMethod)
  return obey(services, tenant, command, (latest, moment) => payNow(latest, { paymentId, paymentMethodId, returnUrl }, moment))
}

/** A change that waits for its payment does not happen. @throws AppError `not_found` or `not_allowed_in_state`. */
export const withdrawChange = (services: Services, tenant: Tenant, command: Command, paymentId: string): Promise<AdvancedSubscription> =>
  obey(services, tenant, command, (latest, moment) => giveUpChange(latest, paymentId, moment))

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
  services: Services,
  tenant: Tenant,
  subscription: Subscription,
  { bundleId, quantity }: TermsChange,
): Promise<{ terms: Terms; onePerCustomer: boolean }> => {
  const { storefrontId, bundleId: own } = subscription
  const { bundleVersion, pricing, entitlements, refundEndsAccess } = subscription
  if (bundleId === undefined || (bundleId === own && quantity !== undefined)) {
    const terms = checkPrice({ bundleId: own, bundleVersion, pricing, entitlements, refundEndsAccess, quantity: quantity ?? subscription.quantity })
    return { terms, onePerCustomer: false }
  }
  const bundle = await services.storage.bundles.find(keys.bundle(tenant.tenantId, storefrontId, bundleId))
  if (!bundle) throw fieldError('unknown_reference', 'bundleId', `the storefront has no bundle ${JSON.stringify(bundleId)}`)
  // Who has it keeps it, in its newest version too.
  if (bundleId !== own) checkOnSale(bundle)
  return { terms: checkPrice(termsOf(bundle, quantity ?? subscription.quantity)), onePerCustomer: bundleId !== own && bundle.onePerCustomer === true }
}

/** Needed unless what is owed is nothing. */
const checkPayable = (subscription: Subscription, bill: Bill | undefined): void => {
  if (bill?.status !== 'open' || subscription.paymentMethodId) return
  throw new AppError('not_allowed_in_state', 'the change must be paid, and the subscription has no payment method; PATCH one')
}

/** @throws AppError `not_found`, `unknown_reference` or `not_allowed_in_state`. */
export const changeSubscription = async (services: Services, tenant: Tenant, command: Command, change: TermsChange): Promise<AdvancedSubscription> => {
  const { subscription } = await upToNow(services, tenant, command.subscriptionId, command.check)
  const { terms, onePerCustomer } = await termsAskedFor(services, tenant, subscription, change)
  if (!isSameOffer(terms, subscription) && !subscription.recentCommands.includes(command.id)) {
    // Refused before anything is written.
    const { bill } = changeTerms(await chargeableAt(services, tenant, subscription), terms, change.at, momentOf(services, tenant))
    checkPayable(subscription, bill)
    await checkSetFits(services, customerKeyOf(subscription), [{ ...subscription, ...terms }])
    const wish = { subscriptionId: subscription.id, bundleId: terms.bundleId, onePerCustomer, commandId: command.id }
    await claimForSubscription(services, tenant, customerKeyOf(subscription), wish, () => undefined)
  }
  try {
    return await obey(services, tenant, command, (latest, moment) => {
      const { subscription: changedOne, bill } = changeTerms(latest, terms, change.at, moment)
      checkPayable(latest, bill)
      return changedOne
    })
  } catch (error) {
    if (error instanceof AppError) await withdrawClaim(services, customerKeyOf(subscription), { subscriptionId: subscription.id, commandId: command.id })
    throw error
  }
}

export interface ChangePreview {
  /** The lines, the credit and the amount of what is due now; absent when nothing is billed for the change. */
  bill: Bill | undefined
  /** The subscription once the change has taken effect. */
  after: Subscription
}

/** What `changeSubscription` would do now; stores nothing. @throws as it does. */
export const previewChange = async (services: Services, tenant: Tenant, subscriptionId: string, change: TermsChange): Promise<ChangePreview> => {
  const subscription = await services.storage.subscriptions.get(keys.subscription(tenant.tenantId, subscriptionId))
  const { terms, onePerCustomer } = await termsAskedFor(services, tenant, subscription, change)
  const wish = { subscriptionId, bundleId: terms.bundleId, onePerCustomer }
  await judge(services, customerKeyOf(subscription), wish, services.clock.now())
  if (!isSameOffer(terms, subscription)) await checkSetFits(services, customerKeyOf(subscription), [{ ...subscription, ...terms }])
  const moment = momentOf(services, tenant)
  const { subscription: changedOne, bill } = changeTerms(await chargeableAt(services, tenant, subscription), terms, change.at, moment)
  checkPayable(subscription, bill)
  const after = bill?.status === 'open' ? settled(changedOne, bill, moment) : changedOne
  return { bill, after }
}
