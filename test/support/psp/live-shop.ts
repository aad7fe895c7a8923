/** A live tenant on the real adapters, in a process of any world, against stand-ins of its providers. */
import type { ExecutionContext } from 'ava'
import { type HttpClient, httpClient } from '../http-client.ts'
import { bundleDocument } from '../platform-model.ts'
import type { Tollgate } from '../tollgate.ts'
import type { StandIn } from './index.ts'

let made = 0

export interface LiveShop {
  tenantId: string
  api: HttpClient
  /** A customer with one method, a token at each account. @returns what a payment of theirs answers. */
  pay(customerId: string, word?: string, order?: object): ReturnType<HttpClient['post']>
  customer(customerId: string, word?: string): Promise<void>
}

/** @param standIns by account id. Webhooks of a stand-in come to the shop that was opened last. */
export const openLiveShop = async (t: ExecutionContext, tollgate: Tollgate, standIns: Record<string, StandIn>, storefront: object): Promise<LiveShop> => {
  made += 1
  const tenantId = `live-${process.pid}-${made}`
  const created = await httpClient(tollgate.http).post('/tenants', { id: tenantId, name: 'Live', mode: 'live' })
  t.is(created.status, 201, JSON.stringify(created.body))
  const api = httpClient(tollgate.http, { key: created.body.apiKey })
  for (const [id, { provider, credentials, webhookSecret, fake }] of Object.entries(standIns)) {
    const account = await api.post('/psp-accounts', { id, provider, credentials, webhookSecret })
    t.is(account.status, 201, JSON.stringify(account.body))
    t.is(account.body.problem, null)
    fake.webhooks.url = `${tollgate.http}${account.body.webhookPath}`
  }
  const store = await api.post('/storefronts', { id: 'us-store', currency: 'USD', ...storefront })
  t.is(store.status, 201, JSON.stringify(store.body))
  t.is((await api.post('/bundles', bundleDocument)).status, 201)
  const customer = async (customerId: string, word = 'ok') => {
    const tokens = Object.fromEntries(Object.entries(standIns).map(([id, standIn]) => [id, standIn.token(word)]))
    const answer = await api.post('/customers', { id: customerId, storefrontId: 'us-store', paymentMethods: [{ id: 'card', tokens }] })
    t.is(answer.status, 201, JSON.stringify(answer.body))
  }
  return {
    tenantId,
    api,
    customer,
    pay: async (customerId, word = 'ok', order = {}) => {
      await customer(customerId, word)
      return api.post('/payments', { storefrontId: 'us-store', customerId, amount: 2900, currency: 'USD', paymentMethod: 'card', ...order })
    },
  }
}
