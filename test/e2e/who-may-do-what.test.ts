/** Every route, with every role, every permission by itself, ids of others, and callers that are limited to a storefront. */
import test, { type ExecutionContext } from 'ava'
import { permissions, presets } from '../../control-plane/access/permissions.ts'
import { routes } from '../../control-plane/http/routes/index.ts'
import { everything, openEverything, type RouteRequest } from '../support/every-route.ts'
import { type HttpAnswer, type HttpClient, httpClient } from '../support/http-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { come } from '../support/person.ts'
import { openShop, type Shop } from '../support/shop.ts'
import type { Tollgate } from '../support/tollgate.ts'

const keyOf = async (t: ExecutionContext, shop: Shop, body: object): Promise<string> => {
  const made = await shop.api.post('/api-keys', body)
  t.is(made.status, 201, JSON.stringify(made.body))
  return made.body.secret
}

/** As one sees it who must not learn what is there. */
const seen = ({ status, body }: HttpAnswer) => [status, body?.code, body?.field, body?.detail?.replaceAll(/"[^"]*"/g, '"…"')]

/** A wrong precondition: what would be done otherwise is refused, after everything that this test is about. */
const STALE = { 'if-match': '"999999"' }
const harmless = ({ ifMatch }: (typeof routes)[number]) => (typeof ifMatch === 'object' && 'document' in ifMatch ? STALE : {})

const named = ({ method, path }: (typeof routes)[number]) => `${method} ${path}`

inWorlds(test, (story) => {
  story('every route lets in who has its permission, and nobody else', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const callers: { what: string; may: (access: string) => boolean; headers: Record<string, string> }[] = []
    for (const [role, has] of Object.entries(presets)) {
      const may = (access: string) => (has as readonly string[]).includes(access)
      callers.push({ what: role, may, headers: { authorization: `Bearer ${await keyOf(t, shop, { role })}` } })
      // The same, in a browser.
      const { browser, csrf } = await come(t, tollgate, shop, { email: `${role}@example.com`, role })
      const cookie = `tollgate-session=${browser.cookie(tollgate.http, 'tollgate-session')}`
      callers.push({ what: `somebody who is ${role}`, may, headers: { cookie, 'x-csrf-token': csrf } })
    }
    for (const permission of permissions) {
      const id = `only-${permission.replace(':', '-')}`
      t.is((await shop.api.post('/roles', { id, permissions: [permission] })).status, 201)
      callers.push({ what: id, may: (access) => access === permission, headers: { authorization: `Bearer ${await keyOf(t, shop, { role: id })}` } })
    }
    const revoked = (await shop.api.post('/api-keys', { role: 'admin' })).body
    t.is((await httpClient(tollgate.http, { key: revoked.secret }).get('/storefronts')).status, 200)
    t.is((await shop.api.call('DELETE', `/api-keys/${revoked.id}`)).status, 204)
    const wrong = ['', 'Bearer', 'Bearer wrong', `Basic ${shop.apiKey}`, `Bearer ${revoked.secret}`, `Bearer ${shop.apiKey}x`]

    for (const route of routes) {
      if (route.access === 'public') continue
      const path = route.path.replace(/\{\w+\}/g, 'none')
      // Its own end is told of by others.
      if (route.path === '/v1/sign-out') continue
      const call = (headers: Record<string, string>) =>
        httpClient(tollgate.http, { key: undefined }).call(route.method.toUpperCase(), path, route.body ? {} : undefined, { 'x-tn': shop.tenantId, ...headers })
      for (const authorization of wrong) t.is((await call({ authorization })).status, 401, `${named(route)} with ${authorization}`)
      for (const { what, may, headers } of callers) {
        const { status, body } = await call(headers)
        const isAllowed = route.access === 'everybody' || may(route.access)
        t.is(status === 403, !isAllowed, `${named(route)} as ${what}: ${status} ${JSON.stringify(body)}`)
        t.not(status, 401)
      }
    }
  })

  const callEach = async (
    api: HttpClient,
    requests: Record<string, RouteRequest>,
    each: (route: (typeof routes)[number], answer: HttpAnswer) => Promise<void> | void,
  ) => {
    for (const route of routes) {
      if (route.access === 'public' || route.access === 'platform') continue
      const { path, body, headers } = requests[named(route)] as RouteRequest
      await each(route, await api.call(route.method.toUpperCase(), path, body, { ...headers, ...harmless(route) }))
    }
  }

  story("every route answers about another tenant's things as if they did not exist", async ({ t, tollgate }) => {
    const theirs = await openShop(t, tollgate)
    const requests = await openEverything(theirs)
    const stranger = await emptyTenant(t, tollgate)
    const before = await everything(theirs)
    await callEach(stranger, requests, async (route, answer) => {
      if (!route.path.includes('{')) return
      const { path, body, headers } = requests[named(route)] as RouteRequest
      // The same call, with ids that nobody has.
      const [own = '', query = ''] = path.split('?')
      const parts = route.path.split('/').map((part, n) => (part.startsWith('{') ? 'nobody-has-this' : own.split('/')[n]))
      const none = await stranger.call(route.method.toUpperCase(), `${parts.join('/')}${query && `?${query}`}`, body, { ...headers, ...harmless(route) })
      t.deepEqual(seen(answer), seen(none), `${named(route)}: ${JSON.stringify([answer.body, none.body])}`)
    })
    t.deepEqual(await everything(theirs), before)
  })

  story('a caller that is limited to a storefront neither reads nor changes anything of another', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const requests = await openEverything(shop)
    t.is((await shop.api.post('/storefronts', { id: 'elsewhere', currency: 'USD' })).status, 201)
    const limited = httpClient(tollgate.http, { key: await keyOf(t, shop, { role: 'admin', storefronts: ['elsewhere'] }) })
    const before = await everything(shop)
    await callEach(limited, requests, ({ storefront, ...route }, { status, body }) => {
      const what = `${route.method} ${route.path}: ${status} ${JSON.stringify(body)}`
      if (storefront === 'none') return void t.not(status, 403, what)
      if (storefront === 'within') return void t.false(JSON.stringify(body.data ?? body.storefronts ?? body).includes('us-store'), what)
      if (storefront === 'subscription' || storefront === 'payment') t.is(status, 404, what)
      else t.is(status, 403, what)
    })
    for (const path of ['/subscriptions?storefrontId=us-store', '/payments?storefrontId=us-store&customerId=c'])
      t.is((await limited.get(path)).status, 403, path)
    const { id } = (await shop.api.get('/subscriptions?limit=1')).body.data[0]
    t.is((await limited.get(`/payments?subscriptionId=${id}`)).status, 404)
    t.is((await limited.get('/payments?status=failed')).status, 400)
    t.deepEqual(await everything(shop), before)

    // In its own storefront it does all that its role permits.
    const own = httpClient(tollgate.http, { key: await keyOf(t, shop, { role: 'admin', storefronts: ['us-store', 'elsewhere'] }) })
    await callEach(own, requests, ({ storefront, ...route }, { status, body }) => {
      t.is(status === 403, storefront === 'all', `${route.method} ${route.path}: ${status} ${JSON.stringify(body)}`)
      // A key has no session.
      if (status === 404 && route.path !== '/v1/session') t.fail(`${route.method} ${route.path}: ${JSON.stringify(body)}`)
    })
    t.true((await own.get('/subscriptions')).body.data.length > 1)
    t.true((await own.get('/payments')).body.data.length > 1)
    t.is((await own.get('/storefronts')).body.data.length, 2)
  })

  story('nobody gives rights that they do not have, nor takes them from others', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    t.is(
      (await shop.api.post('/roles', { id: 'office', permissions: ['api-keys:read', 'api-keys:write', 'roles:read', 'roles:write', 'catalog:read'] })).status,
      201,
    )
    t.is((await shop.api.post('/roles', { id: 'money', permissions: ['payments:resolve'] })).status, 201)
    const office = httpClient(tollgate.http, { key: await keyOf(t, shop, { role: 'office' }) })
    const admin = (await shop.api.post('/api-keys', { role: 'admin' })).body
    const refused: [string, string, object?][] = [
      ['POST', '/api-keys', { role: 'admin' }],
      ['POST', '/api-keys', { role: 'read' }],
      ['POST', '/api-keys', { role: 'money' }],
      ['POST', `/api-keys/${admin.id}/rotate`, {}],
      ['DELETE', `/api-keys/${admin.id}`],
      ['POST', '/roles', { id: 'more', permissions: ['payments:refund'] }],
      ['PATCH', '/roles/office', { permissions: ['api-keys:write', 'payments:refund'] }],
      ['PATCH', '/roles/money', { permissions: ['catalog:read'] }],
      ['DELETE', '/roles/money'],
    ]
    for (const [method, path, body] of refused) t.is((await office.call(method, path, body)).status, 403, `${method} ${path} ${JSON.stringify(body)}`)
    t.is((await office.post('/api-keys', { role: 'office' })).status, 201)
    t.is((await office.post('/roles', { id: 'reader', permissions: ['catalog:read'] })).status, 201)
    t.deepEqual((await office.get('/caller')).body.permissions, ['api-keys:read', 'api-keys:write', 'catalog:read', 'roles:read', 'roles:write'])
  })

  story('a role counts from the next request on, and is removed when nobody has it', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    t.is((await shop.api.post('/roles', { id: 'desk', permissions: ['catalog:read'] })).status, 201)
    const { id, secret } = (await shop.api.post('/api-keys', { role: 'desk' })).body
    const desk = httpClient(tollgate.http, { key: secret })
    t.is((await desk.get('/storefronts')).status, 200)
    t.is((await desk.get('/subscriptions')).status, 403)
    t.is((await shop.api.patch('/roles/desk', { permissions: ['subscriptions:read'] })).status, 200)
    t.is((await desk.get('/storefronts')).status, 403)
    t.is((await desk.get('/subscriptions')).status, 200)
    const kept = await shop.api.call('DELETE', '/roles/desk')
    t.like([kept.status, kept.body], [409, { code: 'not_allowed_in_state' }])
    t.is((await shop.api.call('DELETE', `/api-keys/${id}`)).status, 204)
    t.is((await shop.api.call('DELETE', '/roles/desk')).status, 204)
  })
})

/** One with nothing in it, so that no id of another is its own by chance. */
const emptyTenant = async (t: ExecutionContext, tollgate: Tollgate): Promise<HttpClient> => {
  const made = await httpClient(tollgate.http).post('/tenants', { id: `empty-${process.pid}-${Date.now()}`, name: 'Empty', mode: 'sandbox' })
  t.is(made.status, 201)
  return httpClient(tollgate.http, { key: made.body.apiKey })
}
