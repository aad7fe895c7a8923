import { defined } from '../../common/defined.ts'
import { fieldError } from '../../common/errors.ts'
import { keys } from '../keys.ts'
import type { Services } from '../ports.ts'
import { type BillingTerms, defaultNotices, type Routing, type Storefront } from '../schemas/storefront.ts'
import type { NewDocument } from '../storage/storage.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'

export interface StorefrontInput {
  id: string
  name: string
  region?: string | undefined
  currency: string
  timeZone: string
  routing: Routing
  billing: BillingTerms
}

/** The billing terms of subscriptions where the storefront does not say otherwise. */
export const defaultBilling = {
  graceHours: 72,
  retryHours: [24, 72, 168],
  firstPaymentHours: 23,
  proration: 'day',
  actionHours: 23,
  maxAttemptsPerDay: 10,
  maxAttempts: 15,
  maxAttemptsDays: 30,
  tryOtherMethods: false,
  onDispute: 'nothing',
  onDisputeLost: 'cancel',
  trialOncePer: 'bundle',
  ...defaultNotices,
} satisfies BillingTerms

/** The rules of billing as they hold, those that have a default included. */
export const billingOf = ({ billing }: Pick<Storefront, 'billing'>) => ({ ...defaultBilling, ...defined(billing) })

/** The routing that `paymentProviders: [a, b, c]` stands for: a is primary, the rest are fallbacks in order. */
export const routingOf = ([primary, ...fallback]: readonly string[]): Routing => ({
  split: primary === undefined ? [] : [{ account: primary, weight: 1 }],
  fallback,
  rules: [],
})

export const newStorefront = (tenantId: string, input: StorefrontInput, createdAt: Date): NewDocument<Storefront> =>
  defined({
    _id: keys.storefront(tenantId, input.id),
    tenantId,
    createdAt,
    id: input.id,
    name: input.name,
    region: input.region,
    currency: input.currency,
    timeZone: input.timeZone,
    routing: input.routing,
    billing: input.billing,
  })

/** @throws AppError `already_exists`. */
export const createStorefront = (of: TenantScope, input: StorefrontInput): Promise<Storefront> =>
  of.storage.storefronts.insert(newStorefront(of.tenantId, input, of.clock.now()))

/** Subscriptions that exist keep the time zone and the rules of billing they were made under. @throws AppError `not_found`. */
export const changeStorefront = (
  of: TenantScope,
  id: string,
  check: (storefront: Storefront) => void,
  {
    paymentProviders,
    ...change
  }: Partial<Omit<StorefrontInput, 'id' | 'currency' | 'billing'>> & { billing?: Partial<BillingTerms>; paymentProviders?: string[] },
): Promise<Storefront> =>
  update(of.storage.storefronts, of.keys.storefront(id), (storefront) => {
    check(storefront)
    // The short form says who is primary and who is next; rules are of the long form alone, and stay.
    const routing = paymentProviders ? { routing: { ...storefront.routing, ...routingOf(paymentProviders), rules: storefront.routing.rules } } : {}
    return { ...storefront, ...routing, ...defined(change), billing: { ...storefront.billing, ...change.billing } }
  })

/** The storefront that a caller's `storefrontId` names. @throws AppError `unknown_reference`. */
export const storefrontNamed = async ({ storage, keys }: TenantScope, storefrontId: string): Promise<Storefront> => {
  const storefront = await storage.storefronts.find(keys.storefront(storefrontId))
  if (!storefront) throw fieldError('unknown_reference', 'storefrontId', `there is no storefront ${JSON.stringify(storefrontId)}`)
  return storefront
}

/** @throws AppError `unknown_reference`. */
export const knownStorefronts = async ({ storage }: Pick<Services, 'storage'>, tenantId: string, ids: string[], field = 'storefronts'): Promise<string[]> => {
  for (const [n, id] of ids.entries())
    if (!(await storage.storefronts.find(keys.storefront(tenantId, id))))
      throw fieldError('unknown_reference', `${field}[${n}]`, `there is no storefront ${JSON.stringify(id)}: GET /v1/storefronts lists them`)
  return ids
}
