/**
 * A customer subscribes to a bundle. Everything that can be wrong is found before the first write; from then on each
 * document leads to the next, and `advanceSubscription` takes them to the end.
 */

import { periodStart, startOfLocalDate } from '../../common/calendar.ts'
import { defined } from '../../common/defined.ts'
import { DAY_MS } from '../../common/durations.ts'
import { fieldError } from '../../common/errors.ts'
import { table } from '../../common/table.ts'
import { paymentIdOfBill } from '../billing/bills.ts'
import { anchorFrom } from '../billing/periods.ts'
import { checkOnSale } from '../catalog/bundles.ts'
import { storefrontNamed } from '../catalog/storefronts.ts'
import { claimForSubscription } from '../customers/claim.ts'
import { methodNamed } from '../customers/customers.ts'
import { type AdvancedSubscription, advanceSubscription } from '../engine/advance-subscription.ts'
import { chargeLimitsOf } from '../engine/charge-limits.ts'
import { type InheritedCredit, inheritCredit, nothingInherited } from '../engine/inherit-credit.ts'
import { checkSetFits } from '../entitlements/check-set-fits.ts'
import { loadAccounts } from '../payments/open-account.ts'
import { checkPayable } from '../payments/routing/check-payable.ts'
import type { Bundle } from '../schemas/bundle.ts'
import type { Customer, PaymentMethod } from '../schemas/customer.ts'
import type { Storefront } from '../schemas/storefront.ts'
import type { Subscription } from '../schemas/subscription.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { insertOrGet } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { clockOf } from '../work-time.ts'
import { beginSubscription } from './machine/begin.ts'
import { changed } from './machine/state.ts'
import { moveSubscription } from './roll-out-bundle.ts'
import { checkPrice, termsOf } from './terms.ts'

export interface SubscriptionInput {
  customerId: string
  bundleId: string
  storefrontId: string
  /** The interval that the caller expects the bundle to have; refused when it has another. */
  billingCycle?: string | undefined
  /** A date in the storefront's time zone (its first instant), or an instant. Absent: now. */
  startDate?: string | undefined
  /** Seats. */
  quantity?: number | undefined
  /** Periods begin on this day: of the month, or of the week for weekly bundles. Absent: on the start's own. */
  billingDay?: number | undefined
  /** True, with a start in the past: bill the periods that are over, too. */
  billMissed?: boolean | undefined
  paymentMethod?: string | undefined
  metadata?: Record<string, string> | undefined
}

const cycleNames = table<Bundle['pricing']['interval']>({
  daily: 'day',
  weekly: 'week',
  monthly: 'month',
  quarterly: 'quarter',
  yearly: 'year',
  annual: 'year',
  annually: 'year',
})
export const billingCycles = Object.keys(cycleNames)

/** Nobody means to start further from now than this: a typing error in the year. */
const START_WITHIN_DAYS = 3660

/**
 * @param id the same for a repeat of the same request, which then goes on with what it made.
 * @throws AppError `unknown_reference`, `invalid_request`, `not_allowed_in_state` or `no_eligible_psp`.
 */
export const createSubscription = async (of: TenantScope, id: string, input: SubscriptionInput): Promise<AdvancedSubscription> => {
  const { bundles, subscriptions } = of.storage
  // A repeat is not asked again what the first was: the bundle or the customer may have changed since.
  const before = await subscriptions.find(of.keys.subscription(id))
  const made = before ?? (await make(of, id, input))
  // A version for all that was made meanwhile may have gone through the list before this subscription was on it.
  const latest = await bundles.get(of.keys.bundle(made.storefrontId, made.bundleId))
  const isRolledOut = latest.rollout?.version === latest.version && latest.version > made.bundleVersion
  if (isRolledOut) await moveSubscription(of, id, latest)
  return advanceSubscription(of, id, before || isRolledOut ? {} : { known: made, firstNewBill: 0 })
}

const make = async (of: TenantScope, id: string, input: SubscriptionInput): Promise<Subscription> => {
  const { tenantId } = of
  const { storefrontId, customerId, quantity = 1 } = input
  const { bundles, subscriptions } = of.storage
  const storefront = await storefrontNamed(of, storefrontId)
  const bundle = await bundles.find(of.keys.bundle(storefrontId, input.bundleId))
  if (!bundle) throw fieldError('unknown_reference', 'bundleId', `the storefront has no bundle ${JSON.stringify(input.bundleId)}`)
  checkOnSale(bundle)
  checkBillingCycle(bundle, input.billingCycle)
  checkBillingDay(bundle, input.billingDay)
  checkPrice(termsOf(bundle, quantity))
  const now = of.now()
  const start = startOf(storefront, input.startDate, now)
  const wish = {
    subscriptionId: id,
    bundleId: bundle.id,
    onePerCustomer: bundle.onePerCustomer ?? false,
    trialOncePer: bundle.trialDays > 0 ? (storefront.billing.trialOncePer ?? 'bundle') : undefined,
  }
  const customer = { tenantId, storefrontId, customerId }
  const accounts = await loadAccounts(of, storefront)
  const chargeLimits = chargeLimitsOf(of.tenant, storefront, accounts)
  const stateOf = (methodId: string | undefined, hasTrial: boolean, inherited: InheritedCredit): Subscription =>
    firstState(of, storefront, bundle, { id, input, start, now, methodId, hasTrial, chargeLimits, inherited })
  // All that can be refused is, before anything is claimed.
  await checkSetFits(of, customer, [stateOf(undefined, false, nothingInherited())])
  const { method, hasTrial, isNew } = await claimForSubscription(of, customer, wish, (known, withTrial) => {
    const chosen = paymentMethodOf(of.tenant, storefront, bundle, known, input.paymentMethod, withTrial)
    const { amountMinor, currency } = bundle.pricing
    if (chosen && amountMinor > 0) {
      const country = known?.country
      const question = { paymentId: paymentIdOfBill(tenantId, id, 0), amountMinor: amountMinor * quantity, currency, country, method: chosen }
      checkPayable(storefront, accounts, question)
    }
    return chosen
  })
  // Who is new has left no credit anywhere.
  const inherited = isNew ? nothingInherited() : await inheritCredit(of, customer, id)
  return insertOrGet(subscriptions, stateOf(method?.id, hasTrial, inherited))
}

const checkBillingCycle = (bundle: Bundle, billingCycle: string | undefined): void => {
  if (billingCycle === undefined) return
  const { interval, intervalCount } = bundle.pricing
  if (cycleNames[billingCycle] === interval && intervalCount === 1) return
  const every = intervalCount === 1 ? interval : `${intervalCount} ${interval}s`
  throw fieldError('invalid_request', 'billingCycle', `the bundle is billed every ${every}; leave billingCycle out, or send that`)
}

const checkBillingDay = ({ pricing: { interval } }: Bundle, billingDay: number | undefined): void => {
  if (billingDay === undefined) return
  if (interval === 'day') throw fieldError('invalid_request', 'billingDay', 'means nothing for a bundle that is billed by the day; leave it out')
  if (interval === 'week' && billingDay > 7) throw fieldError('invalid_request', 'billingDay', 'must be 1 (Monday) to 7 (Sunday) for a weekly bundle')
}

const startOf = (storefront: Storefront, startDate: string | undefined, now: Date): Date => {
  if (startDate === undefined) return now
  const start = /^\d{4}-\d\d-\d\d$/.test(startDate) ? startOfLocalDate(startDate, storefront.timeZone) : new Date(startDate)
  if (Math.abs(start.getTime() - now.getTime()) > START_WITHIN_DAYS * DAY_MS) {
    throw fieldError('invalid_request', 'startDate', `must be within ten years of now, which is ${now.toISOString()}`)
  }
  return start
}

const paymentMethodOf = (
  tenant: Tenant,
  storefront: Storefront,
  bundle: Bundle,
  customer: Customer | undefined,
  named: string | undefined,
  hasTrial: boolean,
): PaymentMethod | undefined => {
  if (named !== undefined) return methodNamed(tenant, storefront, customer, named)
  const first = customer?.paymentMethods[0]
  if (first) return first
  if (bundle.pricing.amountMinor === 0 || hasTrial) return undefined
  const why = bundle.trialDays > 0 ? 'the customer has already used their free trial' : 'the bundle costs something from the start'
  throw fieldError('invalid_request', 'paymentMethod', `is required: ${why}, and the customer has no payment method`)
}

interface FirstState {
  id: string
  input: SubscriptionInput
  start: Date
  now: Date
  methodId: string | undefined
  hasTrial: boolean
  chargeLimits: Subscription['chargeLimits']
  inherited: InheritedCredit
}

const firstState = (of: TenantScope, storefront: Storefront, bundle: Bundle, first: FirstState): Subscription => {
  const { id, input, start, now, methodId, hasTrial, chargeLimits, inherited } = first
  const terms = termsOf(bundle, input.quantity ?? 1)
  const { timeZone } = storefront
  const trialEnd = hasTrial ? periodStart({ anchor: start, interval: 'day', count: bundle.trialDays, timeZone }, 1) : undefined
  const scheduled: Subscription = defined({
    _id: of.keys.subscription(id),
    tenantId: of.tenantId,
    revision: 1,
    createdAt: now,
    updatedAt: now,
    id,
    storefrontId: storefront.id,
    customerId: input.customerId,
    ...terms,
    status: 'scheduled' as const,
    // Billing periods are counted from where the trial ends.
    anchor: anchorFrom(defined({ ...terms, timeZone, billingDay: input.billingDay }), trialEnd ?? start),
    billingDay: input.billingDay,
    timeZone,
    currentPeriod: {
      index: -1,
      start,
      end: trialEnd ?? start,
      wholeStart: start,
      wholeEnd: trialEnd ?? start,
      ownBill: 0,
      firstBill: 0,
      creditableMinor: 0,
      refunds: [],
    },
    trialEnd,
    trialBundleId: trialEnd && bundle.id,
    billing: storefront.billing,
    billMissed: input.billMissed ?? false,
    paymentMethodId: methodId,
    ...inherited,
    chargeLimits,
    creditRefundedMinor: 0,
    billsMade: 0,
    bills: [],
    cancelAtPeriodEnd: false,
    metadata: input.metadata,
    events: [],
    eventsMade: 0,
    recentCommands: [],
    clock: clockOf(of.tenant),
  })
  const moment = of.moment()
  const why = `${terms.bundleId} × ${terms.quantity}${start > now ? `, from ${start.toISOString()}` : start < now ? `, as if from ${start.toISOString()}` : ''}`
  const created = changed(scheduled, {}, moment, { type: 'created', why })
  return start <= now ? beginSubscription(created, moment) : created
}
