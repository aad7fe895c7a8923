/** A sandbox tenant that sells the platform model's Pro Plan, ready for customers. */
import type { ExecutionContext } from 'ava'
import { type HttpClient, httpClient } from './http-client.ts'
import { bundleDocument, tenantDocument } from './platform-model.ts'
import type { Tollgate } from './tollgate.ts'

let made = 0

export interface Shop {
  tenantId: string
  storefrontId: string
  /** Calls with the tenant's own admin key. */
  api: HttpClient
  apiKey: string
  subscribe(customerId: string, paymentMethod?: string): ReturnType<HttpClient['post']>
  setClock(now: string): ReturnType<HttpClient['put']>
}

export const openShop = async (
  t: ExecutionContext,
  tollgate: Tollgate,
  change: { bundle?: object; now?: string; tenant?: object; unchecked?: boolean } = {},
): Promise<Shop> => {
  made += 1
  const tenantId = `shop-${process.pid}-${made}`
  // What another version answers is not this version's to describe.
  const { unchecked = false } = change
  const created = await httpClient(tollgate.http, { unchecked }).post('/tenants', { ...tenantDocument, id: tenantId, mode: 'sandbox', ...change.tenant })
  t.is(created.status, 201, JSON.stringify(created.body))
  const api = httpClient(tollgate.http, { key: created.body.apiKey, unchecked })
  const setClock = (now: string) => api.put('/test-clock', { now })
  t.is((await setClock(change.now ?? '2024-03-15T00:00:00Z')).status, 200)
  const bundle = await api.post('/bundles', { ...bundleDocument, ...change.bundle })
  t.is(bundle.status, 201, JSON.stringify(bundle.body))
  return {
    tenantId,
    storefrontId: 'us-store',
    api,
    apiKey: created.body.apiKey,
    subscribe: (customerId, paymentMethod = 'pm_card') =>
      api.post('/subscriptions', { customerId, bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod }),
    setClock,
  }
}
