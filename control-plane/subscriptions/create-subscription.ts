/**
 * A customer subscribes to a bundle. Everything that can be wrong is found before the first write; from then on each
 * document leads to the next, and `advanceSubscription` takes them to the end.
 */
import { periodStart, startOfLocalDate } from '../../common/calendar.ts'
import { AppError, fieldError } from '../../common/errors.ts'
import { addPaymentMethod, customerFor, methodNamed } from '../customers/customers.ts'
import { keys, paymentIdOf } from '../keys.ts'
import { loadRoutableAccounts } from '../payments/load-route.ts'
import { routePayment } from '../payments/route-payment.ts'
import type { Bundle } from '../schemas/bundle.ts'
import type { Customer, PaymentMethod } from '../schemas/customer.ts'
import type { Storefront } from '../schemas/storefront.ts'
import type { Subscription } from '../schemas/subscription.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { clockOf, repairTime, type Services, tenantNow } from '../services.ts'
import type { New } from '../storage/storage.ts'
import { insertOrGet } from '../storage/update.ts'
import { type AdvancedSubscription, advanceSubscription } from './advance-subscription.ts'
import { begin } from './subscription-machine.ts'

export interface SubscriptionInput {
  customerId: string
  bundleId: string
  storefrontId: string
  /** What the caller takes the bundle's interval to be; refused when it is another. */
  billingCycle?: string | undefined
  /** A date in the storefront's time zone (its first instant), or an instant. Absent: now. */
  startDate?: string | undefined
  paymentMethod?: string | undefined
  metadata?: Record<string, string> | undefined
}

const cycleNames: Record<string, Bundle['pricing']['interval']> = {
  daily: 'day',
  weekly: 'week',
  monthly: 'month',
  quarterly: 'quarter',
  yearly: 'year',
  annual: 'year',
  annually: 'year',
}
export const billingCycles = Object.keys(cycleNames)

/** Nobody means to start further from now than this: a typing error in the year. */
const START_WITHIN_DAYS = 3660
const DAY_MS = 86_400_000

/** @param id the same for a repeat of the same request, which then goes on with what it made. */
export const createSubscription = async (services: Services, tenant: Tenant, id: string, input: SubscriptionInput): Promise<AdvancedSubscription> => {
  const { tenantId } = tenant
  const { storefronts, bundles, customers, subscriptions } = services.storage
  const storefront = await storefronts.find(keys.storefront(tenantId, input.storefrontId))
  if (!storefront) throw fieldError('unknown_reference', 'storefrontId', `there is no storefront ${JSON.stringify(input.storefrontId)}`)
  const bundle = await bundles.find(keys.bundle(tenantId, input.storefrontId, input.bundleId))
  if (!bundle) throw fieldError('unknown_reference', 'bundleId', `the storefront has no bundle ${JSON.stringify(input.bundleId)}`)
  checkBillingCycle(bundle, input.billingCycle)
  const known = await customers.find(keys.customer(tenantId, input.storefrontId, input.customerId))
  const now = tenantNow(services, tenant)
  const start = startOf(storefront, input.startDate, now)
  const method = paymentMethodOf(tenant, storefront, bundle, known, input.paymentMethod)
  if (method) await checkPayable(services, tenant, storefront, bundle, known, method, id)

  const customer = await customerFor(services, tenant, input.storefrontId, input.customerId)
  if (method) await addPaymentMethod(services, customer, method)
  await insertOrGet(subscriptions, firstState(services, tenant, storefront, bundle, { id, input, start, now, methodId: method?.id }))
  return advanceSubscription(services, tenant, id)
}

const checkBillingCycle = (bundle: Bundle, billingCycle: string | undefined): void => {
  if (billingCycle === undefined) return
  const { interval, intervalCount } = bundle.pricing
  if (cycleNames[billingCycle] === interval && intervalCount === 1) return
  const every = intervalCount === 1 ? interval : `${intervalCount} ${interval}s`
  throw fieldError('invalid_request', 'billingCycle', `the bundle is billed every ${every}; leave billingCycle out, or name that`)
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
): PaymentMethod | undefined => {
  if (named !== undefined) return methodNamed(tenant, storefront, customer, named)
  const first = customer?.paymentMethods[0]
  if (first) return first
  if (bundle.pricing.amountMinor === 0 || bundle.trialDays > 0) return undefined
  throw fieldError('invalid_request', 'paymentMethod', 'is needed: the bundle costs something from the start, and the customer has no payment method')
}

/** Better refused now than stored and never payable. */
const checkPayable = async (
  services: Services,
  tenant: Tenant,
  storefront: Storefront,
  bundle: Bundle,
  customer: Customer | undefined,
  method: PaymentMethod,
  subscriptionId: string,
): Promise<void> => {
  if (bundle.pricing.amountMinor === 0) return
  const route = routePayment(storefront.routing, await loadRoutableAccounts(services, tenant, storefront), {
    paymentId: paymentIdOf(tenant.tenantId, subscriptionId, 0),
    amountMinor: bundle.pricing.amountMinor,
    currency: bundle.pricing.currency,
    country: customer?.country ?? undefined,
    method,
  })
  if (route.candidates.length > 0) return
  const reasons = route.excluded.map(({ account, reason }) => `${account} ${reason}`).join('; ')
  throw new AppError('no_eligible_psp', `no payment provider of the storefront can take this payment: ${reasons || 'it has none'}`, [
    { field: 'paymentMethod', message: 'is usable at no payment provider of the storefront' },
  ])
}

interface FirstState {
  id: string
  input: SubscriptionInput
  start: Date
  now: Date
  methodId: string | undefined
}

const firstState = (services: Services, tenant: Tenant, storefront: Storefront, bundle: Bundle, first: FirstState): New<Subscription> => {
  const { id, input, start, now, methodId } = first
  const trialEnd = bundle.trialDays > 0 ? periodStart({ anchor: start, interval: 'day', count: bundle.trialDays, timeZone: storefront.timeZone }, 1) : undefined
  // Billing periods are counted from where the trial ends.
  const anchor = trialEnd ?? start
  const scheduled: Subscription = {
    _id: keys.subscription(tenant.tenantId, id),
    tenantId: tenant.tenantId,
    revision: 1,
    createdAt: now,
    updatedAt: now,
    id,
    storefrontId: storefront.id,
    customerId: input.customerId,
    bundleId: bundle.id,
    bundleVersion: bundle.version,
    pricing: bundle.pricing,
    entitlements: bundle.entitlements,
    status: 'scheduled',
    anchor,
    timeZone: storefront.timeZone,
    currentPeriod: { index: trialEnd ? -1 : 0, start, end: trialEnd ?? start },
    trialEnd,
    graceHours: storefront.billing.graceHours,
    paymentMethodId: methodId,
    cancelAtPeriodEnd: false,
    metadata: input.metadata,
    clock: clockOf(tenant),
    dueAt: start,
    repairAt: repairTime(services),
  }
  return start <= now ? begin(scheduled, now, repairTime(services)) : scheduled
}
