/** What a customer used when. */
import test from 'ava'
import { eventually } from '../support/eventually.ts'
import { httpClient } from '../support/http-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop, type Shop } from '../support/shop.ts'

const terms = {
  bundle: {
    entitlements: [
      { key: 'calls', kind: 'quota', limit: 100, per: 'month' },
      { key: 'seats', kind: 'capacity', limit: 5 },
      { key: 'beta', kind: 'flag', enabled: true },
    ],
  },
}

const about = '/usage?storefrontId=us-store&customerId=ann'
const history = async ({ api }: Shop, query: string, entitlement = 'calls') => (await api.get(`${about}&entitlement=${entitlement}&${query}`)).body
const report = ({ api }: Shop, entitlement: string, change: { amount: number } | { used: number }) =>
  api.post('/usage', { storefrontId: 'us-store', customerId: 'ann', entitlement, ...change })

inWorlds(test, (story) => {
  story('the history has what was used through all doors', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate, terms)
    const { entitlementRevision: minRevision } = (await shop.subscribe('ann')).body
    const use = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'ann', entitlement: 'calls', minRevision }
    await report(shop, 'calls', { amount: 10 })
    await report(shop, 'calls', { used: 25 })
    await report(shop, 'calls', { amount: -5 })
    await report(shop, 'calls', { amount: 6 })
    await report(shop, 'seats', { used: 4 })
    await report(shop, 'seats', { amount: -1 })
    t.true((await grpc.consume({ ...use, amount: 8 })).counted)
    await eventually(async () => (await history(shop, 'from=2024-03-15&to=2024-03-16')).total === 34)
    await shop.setClock('2024-03-15T02:30:00Z')
    await shop.api.put('/storefronts/us-store/customers/ann/entitlements/calls/used', { used: 30, reason: 'counted twice' })
    const hours = await history(shop, 'from=2024-03-15T00:20:00Z&granularity=hour')
    t.deepEqual(hours, {
      data: [
        { start: '2024-03-15T00:00:00.000Z', end: '2024-03-15T01:00:00.000Z', used: 34 },
        { start: '2024-03-15T01:00:00.000Z', end: '2024-03-15T02:00:00.000Z', used: 0 },
        { start: '2024-03-15T02:00:00.000Z', end: '2024-03-15T03:00:00.000Z', used: -4 },
      ],
      total: 30,
    })
    const ledger = await shop.api.get('/storefronts/us-store/customers/ann/entitlements/calls/ledger')
    t.is(ledger.body.used, 30)
    t.is((await history(shop, 'from=2024-03-15', 'seats')).total, 3)
    t.is((await history(shop, 'from=2024-03-15', 'beta')).total, 0)
  })

  story("days and months are those of the storefront's time zone", async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, terms)
    t.is((await shop.api.patch('/storefronts/us-store', { timeZone: 'America/New_York' })).status, 200)
    await shop.subscribe('ann')
    await shop.setClock('2024-03-16T03:59:59Z')
    await report(shop, 'calls', { amount: 1 })
    await shop.setClock('2024-03-16T04:00:00Z')
    await report(shop, 'calls', { amount: 2 })
    await shop.setClock('2024-04-01T03:59:59Z')
    await report(shop, 'calls', { amount: 4 })
    await shop.setClock('2024-04-01T04:00:00Z')
    await report(shop, 'calls', { amount: 8 })
    t.deepEqual((await history(shop, 'from=2024-03-15&to=2024-03-17')).data, [
      { start: '2024-03-15T04:00:00.000Z', end: '2024-03-16T04:00:00.000Z', used: 1 },
      { start: '2024-03-16T04:00:00.000Z', end: '2024-03-17T04:00:00.000Z', used: 2 },
    ])
    t.deepEqual((await history(shop, 'from=2024-03-15&to=2024-04-02&granularity=month')).data, [
      { start: '2024-03-01T05:00:00.000Z', end: '2024-04-01T04:00:00.000Z', used: 7 },
      { start: '2024-04-01T04:00:00.000Z', end: '2024-05-01T04:00:00.000Z', used: 8 },
    ])
  })

  story('a caller limited to a storefront reads in it only', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, terms)
    await shop.subscribe('ann')
    await shop.api.post('/storefronts', { id: 'other', currency: 'USD', paymentProviders: ['psp-main'] })
    const reader = async (storefronts: string[]) =>
      httpClient(tollgate.http, { key: (await shop.api.post('/api-keys', { role: 'read', storefronts })).body.secret })
    const query = `${about}&entitlement=calls&from=2024-03-15`
    t.is((await (await reader(['other'])).get(query)).status, 403)
    t.is((await (await reader(['us-store'])).get(query)).status, 200)
  })

  story('the export has the history, and an erasure takes it', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, terms)
    await shop.subscribe('ann')
    await report(shop, 'calls', { amount: 4 })
    await shop.setClock('2024-03-15T10:20:00Z')
    await report(shop, 'calls', { amount: 3 })
    await report(shop, 'seats', { used: 2 })
    const lines = (await shop.api.get('/storefronts/us-store/customers/ann/export')).body as string
    const told = lines
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
      .filter(({ kind }) => kind === 'usage_history')
      .map(({ data }) => data)
    t.deepEqual(told, [
      {
        entitlement: 'calls',
        month: '2024-03-01T00:00:00.000Z',
        hours: [
          { start: '2024-03-15T00:00:00.000Z', used: 4 },
          { start: '2024-03-15T10:00:00.000Z', used: 3 },
        ],
      },
      { entitlement: 'seats', month: '2024-03-01T00:00:00.000Z', hours: [{ start: '2024-03-15T10:00:00.000Z', used: 2 }] },
    ])
    t.true((await shop.api.call('DELETE', '/storefronts/us-store/customers/ann?cancel=now')).status < 300)
    t.is((await shop.api.get(`${about}&entitlement=calls&from=2024-03-15`)).status, 404)
    await shop.subscribe('ann')
    t.is((await history(shop, 'from=2024-03-01')).total, 0)
  })
})
