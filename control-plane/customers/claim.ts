/**
 * A subscription is about to be made, or given another bundle or another payment method. What rules say of all the
 * subscriptions of a customer together (one of a bundle, one trial) is decided here, and what was decided is noted in
 * the customer's own document in the same compare-and-set. So of two callers at the same moment one comes second, and
 * sees what the first is about to store. Nothing here stores a subscription.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { defined } from '../../common/defined.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { AppError, isAppError } from '../../common/errors.ts'
import { subscriptionsOf } from '../entitlements/sources.ts'
import type { Customer, PaymentMethod } from '../schemas/customer.ts'
import type { TrialRule } from '../schemas/storefront.ts'
import type { Subscription } from '../schemas/subscription.ts'
import { update } from '../storage/update.ts'
import { isFinal } from '../subscriptions/machine/transitions.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { newCustomer, withMethod } from './customers.ts'
import { refuseErased } from './edit-customer.ts'
import { type Claim, freshClaims, isCarriedOut } from './fresh-claims.ts'

export interface ClaimRequest {
  /** The same for a repeat of the same request: a subscription is never in its own way. */
  subscriptionId: string
  bundleId: string
  /** True if the bundle is sold once per customer. */
  onePerCustomer: boolean
  /** The command that asks for it; absent for a subscription that is being made. */
  commandId?: string | undefined
  /** The storefront's rule, where the bundle begins with a trial. Absent: no trial is wished for. */
  trialOncePer?: TrialRule | undefined
}

export interface ClaimResult {
  customer: Customer
  method: PaymentMethod | undefined
  /** The subscription begins with a trial. */
  hasTrial: boolean
  /** The customer was made for it. */
  isNew: boolean
}

/** More subscriptions than anybody makes for one customer in one moment; bounds the document. */
const MAX_CLAIMS = 100
/** Another subscription is stored a few writes after its claim: so long is waited for it before the caller is asked to come again. */
const UNDECIDED_FOR_MS = 3_000
const LOOK_AGAIN_AFTER_MS = 50

/** Nobody is charged for what may turn out to be a free trial. */
const trialInTheMaking = () =>
  new AppError('not_allowed_in_state', 'another subscription of the customer with a trial is being created right now; try again in a few minutes')

/** Each conflict means that another claim was written: as many as there may be. */
const MAX_TRIES = MAX_CLAIMS

/** The part of its customer's things that one subscription, stored or not yet, holds. */
interface Holding {
  subscriptionId: string
  /** The bundles that the subscription has, or is going to have. None when it is over. */
  bundleIds: string[]
  /** The bundle whose trial it has had or will have. */
  trialOf: string | undefined
}

/** A trial that never began, because its subscription was canceled before, or began when the trial was over, is not used up. */
const trialOf = ({ status, trialEnd, accessFrom, trialBundleId, bundleId }: Subscription): string | undefined => {
  if (!trialEnd) return undefined
  const hasBegun = accessFrom !== undefined && accessFrom < trialEnd
  return hasBegun || status === 'scheduled' ? (trialBundleId ?? bundleId) : undefined
}

const bundlesOf = ({ status, bundleId, scheduledChange, bills }: Subscription): string[] =>
  isFinal(status)
    ? []
    : [bundleId, scheduledChange?.bundleId, ...bills.map((bill) => (bill.status === 'open' ? bill.terms?.bundleId : undefined))].flatMap((id) => id ?? [])

/** The claims that still count beside these subscriptions, which were read after the claims. */
export const standing = (claims: readonly Claim[], subscriptions: readonly Subscription[], now: Date): Claim[] =>
  freshClaims(claims, now).filter(
    (claim) =>
      !isCarriedOut(
        claim,
        subscriptions.find(({ id }) => id === claim.subscriptionId),
      ),
  )

/** @returns whether the subscription begins with a trial. @throws AppError `not_allowed_in_state` when the customer may have only one. */
export const decideClaim = (wish: ClaimRequest, claims: readonly Claim[], subscriptions: readonly Subscription[]): boolean => {
  const others = [
    ...subscriptions.map((one): Holding => ({ subscriptionId: one.id, bundleIds: bundlesOf(one), trialOf: trialOf(one) })),
    ...claims.map((one): Holding => ({ subscriptionId: one.subscriptionId, bundleIds: [one.bundleId], trialOf: one.trial ? one.bundleId : undefined })),
  ].filter(({ subscriptionId }) => subscriptionId !== wish.subscriptionId)
  const same = wish.onePerCustomer ? others.find(({ bundleIds }) => bundleIds.includes(wish.bundleId)) : undefined
  if (same) {
    throw new AppError(
      'not_allowed_in_state',
      `the customer already has the subscription ${same.subscriptionId} to ${wish.bundleId}, which is sold once per customer: change that subscription, or end it first (cancel with at: now)`,
    )
  }
  switch (wish.trialOncePer) {
    case undefined:
      return false
    case 'none':
      return true
    case 'customer':
      return !others.some((one) => one.trialOf !== undefined)
    case 'bundle':
      return !others.some((one) => one.trialOf === wish.bundleId)
    default:
      return wish.trialOncePer satisfies never
  }
}

const isSame = (a: Claim, b: Claim): boolean => a.subscriptionId === b.subscriptionId && a.commandId === b.commandId

interface Judged {
  known: Customer | undefined
  /** The claims that still count. */
  claims: Claim[]
  hasTrial: boolean
  /** There is no trial only because another subscription that begins with one may be about to be stored. */
  isUndecided: boolean
}

/** Reads the customer, then what it has, and decides; writes nothing. @throws AppError `not_allowed_in_state`. */
export const judge = async (of: TenantScope, key: CustomerKey, wish: ClaimRequest, now: Date): Promise<Judged> => {
  const known = await of.storage.customers.find(of.keys.customer(key.storefrontId, key.customerId))
  if (known) refuseErased(known)
  const recent = standing(known?.claims ?? [], [], now)
  const isRuled = wish.onePerCustomer || (wish.trialOncePer !== undefined && wish.trialOncePer !== 'none')
  // After the customer: what is stored since then has a claim there.
  const subscriptions = isRuled || recent.length >= MAX_CLAIMS ? await subscriptionsOf(of, key) : []
  const claims = standing(recent, subscriptions, now)
  const hasTrial = decideClaim(wish, claims, subscriptions)
  const isUndecided = wish.trialOncePer !== undefined && !hasTrial && decideClaim(wish, [], subscriptions)
  return { known, claims, hasTrial, isUndecided }
}

/**
 * Notes what is about to be stored, and gives the customer, made if it is new, the payment method that it is paid with.
 * Harmless to repeat; all of it is decided anew when somebody else has changed the customer meanwhile.
 * @param choose the method, for the customer as it is then (undefined: new) and with a trial or without; what it throws
 *   is thrown, and nothing is written.
 * @throws AppError `not_allowed_in_state`, or `invalid_request` when the customer has too many payment methods.
 */
export const claimForSubscription = async (
  of: TenantScope,
  key: CustomerKey,
  wish: ClaimRequest,
  choose: (customer: Customer | undefined, hasTrial: boolean) => Promise<PaymentMethod | undefined> | PaymentMethod | undefined,
): Promise<ClaimResult> => {
  const waitedFrom = of.clock.nowMs()
  for (let tries = 1; ; tries += 1) {
    const now = of.clock.now()
    const { known, claims, hasTrial, isUndecided } = await judge(of, key, wish, now)
    if (isUndecided) {
      if (of.clock.nowMs() - waitedFrom > UNDECIDED_FOR_MS) throw trialInTheMaking()
      await sleep(LOOK_AGAIN_AFTER_MS)
      tries -= 1
      continue
    }
    const method = await choose(known, hasTrial)
    const claim: Claim = defined({
      subscriptionId: wish.subscriptionId,
      bundleId: wish.bundleId,
      paymentMethodId: method?.id,
      commandId: wish.commandId,
      trial: hasTrial,
      at: now,
    })
    const others = claims.filter((one) => !isSame(one, claim))
    if (others.length >= MAX_CLAIMS) {
      throw new AppError('not_allowed_in_state', `${MAX_CLAIMS} subscriptions of the customer are being created right now; try again in a moment`)
    }
    try {
      const customer = await write(of, key, known, [...others, claim], method)
      return { customer, method, hasTrial, isNew: known === undefined }
    } catch (error) {
      if (!isAppError(error, 'revision_conflict', 'already_exists') || tries === MAX_TRIES) throw error
    }
  }
}

/** Withdraws a claim whose subscription was refused. Best effort, for a claim ends by itself. */
export const withdrawClaim = async (
  of: TenantScope,
  key: CustomerKey,
  { subscriptionId, commandId }: Pick<ClaimRequest, 'subscriptionId' | 'commandId'>,
): Promise<void> => {
  await update(of.storage.customers, of.keys.customer(key.storefrontId, key.customerId), (customer) => {
    const claims = customer.claims?.filter((one) => one.subscriptionId !== subscriptionId || one.commandId !== commandId)
    return claims === undefined || claims.length === customer.claims?.length ? undefined : { ...customer, claims }
  }).catch((error: unknown) => {
    of.log.warn({ err: error, tenantId: key.tenantId, subscriptionId }, 'a claim could not be withdrawn; it expires by itself')
  })
}

const write = (
  of: TenantScope,
  { storefrontId, customerId }: CustomerKey,
  known: Customer | undefined,
  claims: Claim[],
  method: PaymentMethod | undefined,
): Promise<Customer> => {
  const { customers } = of.storage
  const noted = { claims }
  if (!known) return customers.insert({ ...newCustomer(of, storefrontId, customerId, { paymentMethods: method ? [method] : [] }), ...noted })
  return customers.replace({ ...(method ? withMethod(known, method) : known), ...noted })
}
