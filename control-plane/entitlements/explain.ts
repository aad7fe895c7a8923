/** Answers sidecars that were asked why: what the customer holds of an entitlement, and which bundles have it. */

import { type ExplainQuestion, type Explanation, explainQuestion } from '../../common/entitlements/explanation.ts'
import { AppError } from '../../common/errors.ts'
import { paymentIdOf } from '../billing/bills.ts'
import { keys } from '../keys.ts'
import type { Services } from '../ports.ts'
import { type Bundle, toEntitlement } from '../schemas/bundle.ts'
import type { Subscription } from '../schemas/subscription.ts'
import { every } from '../storage/every.ts'
import type { Collection, PageQuery, StoredDocument } from '../storage/storage.ts'
import { type TenantScope, tenantScope } from '../tenant-scope.ts'

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
  const payment = await of.storage.payments.find(of.keys.payment(paymentIdOf(tenantId, id, currentPeriod.ownBill)))
  return {
    subscriptionId: id,
    bundleId,
    status,
    periodStart: currentPeriod.start.toISOString(),
    periodEnd: currentPeriod.end.toISOString(),
    ...(payment ? { paymentId: payment.id, paymentStatus: payment.status } : {}),
  }
}

const explain = async (of: TenantScope, { entitlement, ...customer }: ExplainQuestion): Promise<Explanation> => {
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
  return { holdings, offers }
}

/**
 * @param mayAsk whose customers whoever asks may ask about; undefined: anybody's.
 * @throws AppError `forbidden` for a question about another's.
 */
export const answerQuestion = async (services: Services, question: string, mayAsk: string | undefined): Promise<string> => {
  const asked = explainQuestion.parse(JSON.parse(question))
  if (mayAsk !== undefined && asked.tenantId !== mayAsk) throw new AppError('forbidden', 'the question is about another tenant than its NATS subject allows')
  const tenant = await services.storage.tenants.find(keys.tenant(asked.tenantId))
  const explanation: Explanation = tenant ? await explain(tenantScope(services, tenant), asked) : { holdings: [], offers: [] }
  return JSON.stringify(explanation)
}
