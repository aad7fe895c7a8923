/** Answers sidecars that were asked why: what the customer holds of an entitlement, and which bundles have it. */

import { deriveGrants } from '../../common/entitlements/derive.ts'
import type { ExplainQuestion, Explanation } from '../../common/entitlements/explanation.ts'
import { type Grant, sourceIdOf } from '../../common/entitlements/model.ts'
import { paymentIdOfBill } from '../billing/bills.ts'
import { type Bundle, toEntitlement } from '../schemas/bundle.ts'
import type { Subscription } from '../schemas/subscription.ts'
import { every } from '../storage/every.ts'
import type { Collection, PageQuery, StoredDocument } from '../storage/storage.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { accessOf } from './sources.ts'

/** More bundles or subscriptions than this are not looked through: whoever asks wants a hint, not a catalog. */
const MOST = 1_000

const upTo = async <D extends StoredDocument>(collection: Pick<Collection<D>, 'page'>, where: PageQuery['where']): Promise<D[]> => {
  const found: D[] = []
  for await (const document of every(collection, where)) {
    found.push(document)
    if (found.length === MOST) break
  }
  return found
}

const has = (key: string) => (of: Pick<Bundle, 'entitlements'>) =>
  of.entitlements.some((one) => one.key === key && !(one.kind === 'flag' && one.enabled === false))

const holdingOf = async (of: TenantScope, subscription: Subscription): Promise<Explanation['holdings'][number]> => {
  const { id, tenantId, bundleId, status, currentPeriod } = subscription
  const payment = await of.storage.payments.find(of.keys.payment(paymentIdOfBill(tenantId, id, currentPeriod.ownBill)))
  return {
    subscriptionId: id,
    bundleId,
    status,
    periodStart: currentPeriod.start.toISOString(),
    periodEnd: currentPeriod.end.toISOString(),
    ...(payment ? { paymentId: payment.id, paymentStatus: payment.status } : {}),
  }
}

const sourceOf = (grant: Grant): Explanation['sources'][number] => {
  const { source, mode = 'add', fromMs, untilMs, inactive, deniedKind, terms } = grant
  return {
    source: source?.type ?? 'subscription',
    id: sourceIdOf(grant),
    mode,
    from: new Date(fromMs).toISOString(),
    ...(untilMs === undefined ? {} : { until: new Date(untilMs).toISOString() }),
    inactive,
    kind: deniedKind ?? terms.kind,
    ...(terms.kind === 'flag' ? { enabled: terms.enabled } : {}),
    ...('limit' in terms && !deniedKind ? { limit: terms.limit } : {}),
    ...(terms.kind === 'value' ? { value: terms.value } : {}),
  }
}

export const explain = async (of: TenantScope, { entitlement, ...customer }: ExplainQuestion): Promise<Explanation> => {
  const { tenantId, storefrontId, customerId } = customer
  const subscriptions = await upTo(of.storage.subscriptions, { tenantId, storefrontId, customerId })
  const bundles = await upTo(of.storage.bundles, { tenantId, storefrontId })
  // What cannot be bought is no offer.
  const offers = bundles
    .filter(({ onSale }) => onSale !== false)
    .filter(has(entitlement))
    .flatMap(({ id, name, entitlements }) =>
      entitlements
        .filter(({ key }) => key === entitlement)
        .map(toEntitlement)
        .map((one) => ({
          bundleId: id,
          name,
          kind: one.kind,
          ...('limit' in one ? { limit: one.limit } : {}),
          ...('value' in one ? { value: one.value } : {}),
        })),
    )
  const holdings = await Promise.all(subscriptions.filter(has(entitlement)).map((one) => holdingOf(of, one)))
  const grants = await of.storage.customerGrants.find(of.keys.customer(storefrontId, customerId))
  const sources = deriveGrants(accessOf({ subscriptions, grants }))
    .filter(({ key }) => key === entitlement)
    .map(sourceOf)
  return { holdings, offers, sources }
}
