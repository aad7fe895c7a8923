/** A business with a daily bundle, and a subscription that was really made, of which copies are renewed. */

import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { defined } from '../../common/defined.ts'
import { createBundle } from '../../control-plane/catalog/bundles.ts'
import { createTenant } from '../../control-plane/catalog/tenants.ts'
import { keys } from '../../control-plane/keys.ts'
import type { Services } from '../../control-plane/ports.ts'
import type { Customer } from '../../control-plane/schemas/customer.ts'
import type { Subscription } from '../../control-plane/schemas/subscription.ts'
import { createSubscription } from '../../control-plane/subscriptions/create-subscription.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'

const storefront = {
  id: 'shop',
  name: 'shop',
  currency: 'USD',
  timeZone: 'UTC',
  routing: { split: [{ account: 'bank', weight: 1 }], fallback: [], rules: [] },
  billing: { graceHours: 72, retryHours: [24], firstPaymentHours: 23, proration: 'day' as const, maxAttempts: 15, maxAttemptsDays: 30 },
}

export const makeTenant = (services: Services, id: string) => createTenant(services, { id, name: id, mode: 'live', storefronts: [storefront] }, `key-${id}`)

export const makeTemplate = async (services: Services, tenantId: string): Promise<{ subscription: Subscription; customer: Customer }> => {
  const { tenant } = await makeTenant(services, tenantId)
  await createBundle(tenantScope(services, tenant), 'shop', 'daily', {
    name: 'daily',
    pricing: { amountMinor: 100, currency: 'USD', interval: 'day', intervalCount: 1 },
    entitlements: Array.from({ length: 5 }, (_, n) => ({ key: `feature-${n}`, kind: 'flag' as const, enabled: true })),
    trialDays: 0,
    refundEndsAccess: false,
  })
  const order = { customerId: 'template', bundleId: 'daily', storefrontId: 'shop', paymentMethod: 'good' }
  const { subscription } = await createSubscription(tenantScope(services, tenant), 'template', order)
  const customer = await services.storage.customers.get(keys.customer(tenantId, 'shop', 'template'))
  return { subscription, customer: defined({ ...customer, repairAt: undefined }) }
}

/** Past the control plane, in one transaction: what is timed begins later. */
export const insertInBulk = (dataDir: string, collection: 'subscriptions' | 'customers', documents: Iterable<{ _id: string; createdAt: Date }>): void => {
  const database = new DatabaseSync(join(dataDir, 'tollgate.sqlite'), { timeout: 10_000 })
  const insert = database.prepare(`INSERT INTO ${collection} (id, revision, document) VALUES (?, 1, ?)`)
  database.exec('BEGIN')
  for (const document of documents) insert.run(document._id, JSON.stringify({ ...document, revision: 1, updatedAt: document.createdAt }))
  database.exec('COMMIT')
  database.close()
}
