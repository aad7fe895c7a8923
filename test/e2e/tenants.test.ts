/** A tenant is ended, and a customer is given what is kept of it. */
import test from 'ava'
import { Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { httpClient } from '../support/http-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'

inWorlds(test, (story) => {
  story('a tenant that is ended answers nothing any more, sells nothing, and its customers have no access', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    await shop.subscribe('c')
    const question = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'analytics_dashboard' }
    await eventually(async () => (await grpc.check(question)).allowed)
    const path = `/tenants/${shop.tenantId}`
    const refused = await shop.api.call('DELETE', path)
    t.like([refused.status, refused.body], [409, { code: 'not_allowed_in_state' }])
    t.regex(refused.body.detail, /has not ended.*cancel=now/)
    const billing = httpClient(tollgate.http, { key: (await shop.api.post('/api-keys', { role: 'billing' })).body.secret })
    t.is((await billing.call('DELETE', `${path}?cancel=now`)).status, 403)
    const ended = await shop.api.call('DELETE', `${path}?cancel=now`)
    t.is(ended.status, 200, JSON.stringify(ended.body))
    t.truthy(ended.body.endingSince)
    t.is((await shop.api.get(path)).body.endingSince, ended.body.endingSince)
    for (const one of ['/subscriptions', '/storefronts', '/audit-log']) t.is((await shop.api.get(one)).status, 409, one)
    t.is((await shop.subscribe('d')).status, 409)
    await eventually(async () => (await grpc.check(question)).reason === Reason.REASON_CUSTOMER_UNKNOWN)
    const platform = httpClient(tollgate.http)
    t.is((await platform.post('/tenants', { id: shop.tenantId, name: 'Again' })).status, 409)
    t.is((await platform.patch(path, { name: 'Again' })).status, 409)
    const [told] = (await platform.get('/platform/audit-log?limit=1&action=delete%20/v1/tenants/{tenant}')).body.data
    t.like(told, { event: 'done', resource: { tenant: shop.tenantId } })
  })

  story('tenants are listed, and renamed', async ({ t, tollgate }) => {
    const [shop, other] = [await openShop(t, tollgate), await openShop(t, tollgate)]
    const platform = httpClient(tollgate.http)
    const listed = async () => {
      const found: { id: string }[] = []
      for (let cursor = ''; ; ) {
        const { body } = await platform.get(`/tenants?limit=2${cursor}`)
        found.push(...body.data)
        if (body.nextCursor === undefined) return found
        cursor = `&cursor=${encodeURIComponent(body.nextCursor)}`
      }
    }
    const path = `/tenants/${shop.tenantId}`
    const ids = (await listed()).map(({ id }) => id)
    t.true(ids.indexOf(shop.tenantId) >= 0 && ids.indexOf(shop.tenantId) < ids.indexOf(other.tenantId))
    t.is((await shop.api.get('/tenants')).status, 403)

    const { body: before, headers } = await shop.api.get(path)
    const renamed = await shop.api.patch(path, { name: 'Renamed' }, { 'if-match': headers.get('etag') ?? '' })
    t.deepEqual([renamed.status, renamed.body], [200, { ...before, name: 'Renamed' }])
    t.is((await platform.patch(path, { name: 'Again' })).body.name, 'Again')
    t.like(
      (await listed()).find(({ id }) => id === shop.tenantId),
      { name: 'Again', mode: 'sandbox' },
    )
    const told = (await shop.api.get('/audit-log?limit=100')).body.data.filter(({ action }: { action: string }) => action === 'patch /v1/tenants/{tenant}')
    t.deepEqual(
      told.map(({ event, actor }: { event: string; actor: { role: string } }) => `${event} ${actor.role}`),
      ['done platform', 'begun platform', 'done admin', 'begun admin'],
      "in the tenant's own log",
    )
    t.is((await other.api.patch(path, { name: 'Theirs' })).status, 404)
    const billing = httpClient(tollgate.http, { key: (await shop.api.post('/api-keys', { role: 'billing' })).body.secret })
    t.is((await billing.patch(path, { name: 'Theirs' })).status, 403)
  })

  story('an export has everything that is kept of a customer, and nothing that could be charged with', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const at = '/storefronts/us-store/customers/c'
    await shop.api.post('/customers', {
      id: 'c',
      storefrontId: 'us-store',
      email: 'c@example.com',
      paymentMethods: [{ id: 'm', type: 'card', tokens: { '*': 'tok_1234' } }],
    })
    const { id } = (await shop.subscribe('c', 'm')).body
    await shop.api.post('/usage', { storefrontId: 'us-store', customerId: 'c', entitlement: 'api_limit', amount: 3 })
    await shop.subscribe('other')
    const { status, body, headers } = await shop.api.get(`${at}/export`)
    t.is(status, 200)
    t.is(headers.get('content-type'), 'application/jsonl')
    const lines = (body as string)
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const kinds = new Set(lines.map(({ kind }) => kind))
    for (const kind of ['customer', 'entitlements', 'usage', 'subscription', 'timeline', 'payment']) t.true(kinds.has(kind), kind)
    t.is(lines.find(({ kind }) => kind === 'customer').data.email, 'c@example.com')
    t.is(lines.find(({ kind }) => kind === 'subscription').data.id, id)
    t.is(lines.filter(({ kind }) => kind === 'payment').length, 1)
    t.false(body.includes('tok_1234') || body.includes('other'))
    const told = (await shop.api.get('/audit-log?storefrontId=us-store&customerId=c&event=done')).body.data
    t.true(told.some(({ action }: { action: string }) => action.endsWith('/export')))
    const reader = httpClient(tollgate.http, { key: (await shop.api.post('/api-keys', { role: 'read' })).body.secret })
    t.is((await reader.get(`${at}/export`)).status, 403)
  })
})
