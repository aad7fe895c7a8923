/** People: invited with a password and an authenticator app, or from an identity provider; what a browser holds, and what it cannot be made to do. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import test from 'ava'
import { type TOTP, URI } from 'otpauth'
import { openBrowser } from '../support/browser.ts'
import { eventually } from '../support/eventually.ts'
import { httpClient } from '../support/http-client.ts'
import { startIdentityProvider } from '../support/identity-provider.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { come, PASSWORD, totpCodeOf } from '../support/person.ts'
import { openShop } from '../support/shop.ts'

const SESSION = 'tollgate-session'

inWorlds(
  test,
  (story) => {
    story('an invited person chooses a password, shows a code, and may do what their role permits', async ({ t, tollgate }) => {
      const shop = await openShop(t, tollgate)
      const { body } = await shop.api.post('/users', { email: 'Ann@example.com', name: 'Ann', role: 'billing' })
      t.like(body, { email: 'Ann@example.com', status: 'invited', role: 'billing' })
      t.is((await shop.api.post('/users', { email: 'ann@EXAMPLE.com', role: 'read' })).status, 409, 'addresses are compared as people type them')
      const browser = openBrowser()
      const post = (path: string, given: object) => browser.go(`${tollgate.http}/v1${path}`, { method: 'POST', body: given })
      const { invitation } = body
      t.is((await post('/sign-in/invitation', { invitation: invitation.slice(4) })).status, 401)
      const { totpUri: seen } = (await post('/sign-in/invitation', { invitation })).body
      const { email, totpUri } = (await post('/sign-in/invitation', { invitation })).body
      t.is(email, 'Ann@example.com')
      t.not(seen, totpUri, 'whoever saw it on its way has no second factor of it')
      t.is((await post('/sign-in/invitation/take', { invitation, password: PASSWORD, code: totpCodeOf(seen) })).body.field, 'code')
      const take = (password: string, code: string) => post('/sign-in/invitation/take', { invitation, password, code })
      t.is((await take('short', totpCodeOf(totpUri))).body.field, 'password')
      t.is((await take(`${email} 123456`, totpCodeOf(totpUri))).body.field, 'password')
      t.is((await take(PASSWORD, totpCodeOf(totpUri, 20))).body.field, 'code')
      // Of several who take it at once one gets through.
      const answers = await Promise.all([take(PASSWORD, totpCodeOf(totpUri)), take(PASSWORD, totpCodeOf(totpUri)), take(PASSWORD, totpCodeOf(totpUri))])
      t.deepEqual(answers.map(({ status }) => status).toSorted(), [200, 401, 401])
      t.is((await take(PASSWORD, totpCodeOf(totpUri))).status, 401)
      const set = answers.find(({ status }) => status === 200)?.headers.getSetCookie()[0] ?? ''
      t.regex(set, /^tollgate-session=[^;]+;/)
      for (const flag of [/;\s*httponly/i, /;\s*samesite=lax/i, /;\s*path=\//i]) t.regex(set, flag)

      const caller = (await browser.go(`${tollgate.http}/v1/caller`)).body
      t.like(caller, { kind: 'user', id: body.id, name: 'Ann', role: 'billing', tenantId: shop.tenantId })
      t.is((await browser.go(`${tollgate.http}/v1/subscriptions`)).status, 200)
      t.is((await browser.go(`${tollgate.http}/v1/api-keys`)).status, 403)
      const read = (await shop.api.get(`/users/${body.id}`)).body
      t.like(read, { status: 'active', invitedUntil: null, signsInAt: 'tollgate' })
      t.truthy(read.lastSignInAt)
    })

    story('a change by a session shows its token: another site cannot make it', async ({ t, tollgate }) => {
      const shop = await openShop(t, tollgate)
      const ann = await come(t, tollgate, shop, { email: 'ann@example.com', role: 'admin' })
      const path = '/storefronts/us-store'
      for (const headers of [{ 'x-csrf-token': '' }, { 'x-csrf-token': 'wrong' }, { 'x-csrf-token': ann.csrf.slice(1) }])
        t.is((await ann.call('PATCH', path, { name: 'N' }, headers)).status, 403, JSON.stringify(headers))
      t.is((await ann.call('PATCH', path, { name: 'N' })).status, 200)
      t.is((await ann.call('GET', '/session')).body.csrfToken, ann.csrf)
      const [told] = (await shop.api.get(`/audit-log?limit=1&actor=${ann.id}`)).body.data
      t.like(told, { event: 'done', action: 'patch /v1/storefronts/{storefront}', actor: { kind: 'user', role: 'admin' } })
      // A page of another site cannot read what is answered, either.
      t.is((await ann.call('GET', '/session', undefined, { origin: 'https://evil.example' })).headers.get('access-control-allow-origin'), null)
    })

    story('signing in: every mistake gets the same answer, a code works once, and too many wrong ones shut out', async ({ t, tollgate }) => {
      const shop = await openShop(t, tollgate)
      const ann = await come(t, tollgate, shop, { email: 'ann@example.com', role: 'read' })
      t.is((await ann.call('POST', '/sign-out', {})).status, 204)
      t.is(ann.browser.cookie(tollgate.http, SESSION), undefined)
      t.is((await ann.call('GET', '/caller')).status, 401)
      const right = { tenant: shop.tenantId, email: 'ann@example.com', password: PASSWORD, code: totpCodeOf(ann.uri) }
      const signIn = (change: object = {}) => ann.browser.go(`${tollgate.http}/v1/sign-in`, { method: 'POST', body: { ...right, ...change } })
      const wrong = await Promise.all([
        signIn({ password: 'wrong' }),
        signIn({ code: totpCodeOf(ann.uri, 40) }),
        signIn({ email: 'bob@example.com' }),
        signIn({ tenant: 'no-such-tenant' }),
      ])
      t.is(new Set(wrong.map(({ status, body }) => JSON.stringify([status, body.code, body.detail]))).size, 1)
      t.is(wrong[0]?.status, 401)
      const both = await Promise.all([signIn(), signIn()])
      t.deepEqual(both.map(({ status }) => status).toSorted(), [200, 401], 'of two with the same code one is let in')
      t.is((await ann.call('GET', '/caller')).status, 200)
      for (let n = 0; n < 5; n += 1) await signIn({ password: 'wrong' })
      t.is((await signIn({ code: totpCodeOf(ann.uri, 1) })).status, 401, 'shut out for a while, though all is right')
      // Who is signed in stays so: somebody else may have guessed.
      t.is((await ann.call('GET', '/caller')).status, 200)
    })

    story("a change of somebody's rights counts at once; a person who is disabled, removed or invited again is out at once", async ({ t, tollgate }) => {
      const shop = await openShop(t, tollgate)
      const ann = await come(t, tollgate, shop, { email: 'ann@example.com', role: 'read' })
      const change = (body: object) => shop.api.patch(`/users/${ann.id}`, body)
      t.is((await ann.call('GET', '/payments')).status, 200)
      t.is((await change({ role: 'sidecar' })).status, 200)
      t.is((await ann.call('GET', '/payments')).status, 403)
      t.is((await change({ role: 'admin', storefronts: ['eu-store'] })).status, 200)
      t.is((await ann.call('GET', '/storefronts/us-store')).status, 403)
      t.is((await ann.call('GET', '/storefronts/eu-store')).status, 200)
      t.is((await change({ disabled: true })).status, 200)
      t.is((await ann.call('GET', '/caller')).status, 401)
      t.is((await change({ disabled: false, storefronts: null })).status, 200)
      t.is((await ann.call('GET', '/caller')).status, 401, 'what was open stays over')
      const again = await shop.api.post(`/users/${ann.id}/invitation`)
      t.is(again.status, 201)
      t.is((await ann.call('GET', '/caller')).status, 401)
      const old = { tenant: shop.tenantId, email: 'ann@example.com', password: PASSWORD, code: totpCodeOf(ann.uri, 1) }
      t.is((await ann.browser.go(`${tollgate.http}/v1/sign-in`, { method: 'POST', body: old })).status, 401)
      const bob = await come(t, tollgate, shop, { email: 'bob@example.com', role: 'read' })
      t.is((await shop.api.call('DELETE', `/users/${bob.id}`)).status, 204)
      t.is((await bob.call('GET', '/caller')).status, 401)
      const again2 = await come(t, tollgate, shop, { email: 'bob@example.com', role: 'read' })
      t.is((await again2.call('GET', '/caller')).status, 200)
      t.is((await bob.call('GET', '/caller')).status, 401, 'the same address is somebody else by now')
      // Nobody makes somebody more than they are themselves.
      t.is((await shop.api.post('/roles', { id: 'office', permissions: ['users:read', 'users:write'] })).status, 201)
      const office = httpClient(tollgate.http, { key: (await shop.api.post('/api-keys', { role: 'office' })).body.secret })
      t.is((await office.post('/users', { email: 'eve@example.com', role: 'admin' })).status, 403)
      t.is((await office.post(`/users/${ann.id}/invitation`)).status, 403)
      t.is((await office.patch(`/users/${ann.id}`, { disabled: true })).status, 403)
      const mapping = { issuer: 'https://login.example.com', clientId: 'c', groups: [{ group: 'all', role: 'admin' }] }
      t.is((await office.put('/identity-provider', mapping)).status, 403)
      // Nor takes the way in from those who may do more.
      t.is((await shop.api.put('/identity-provider', mapping)).status, 200)
      const other = { ...mapping, issuer: 'https://evil.example', groups: [{ group: 'all', role: 'office' }] }
      t.is((await office.put('/identity-provider', other)).status, 403)
      t.is((await office.call('DELETE', '/identity-provider')).status, 403)
      t.is((await shop.api.post('/roles', { id: 'mapped', permissions: ['catalog:read'] })).status, 201)
      t.is((await shop.api.put('/identity-provider', { ...mapping, groups: [{ group: 'g', role: 'mapped' }] })).status, 200)
      t.is((await shop.api.call('DELETE', '/roles/mapped')).status, 409)
    })

    story('nobody signs in to a tenant that is ending, nor stays signed in', async ({ t, tollgate }) => {
      const shop = await openShop(t, tollgate)
      const ann = await come(t, tollgate, shop, { email: 'ann@example.com', role: 'read' })
      const { invitation } = (await shop.api.post('/users', { email: 'bob@example.com', role: 'read' })).body
      t.is((await shop.api.call('DELETE', `/tenants/${shop.tenantId}`)).status, 200)
      t.is((await ann.call('GET', '/subscriptions')).status, 409)
      const post = (path: string, body: object) => openBrowser().go(`${tollgate.http}/v1${path}`, { method: 'POST', body })
      t.is((await post('/sign-in/invitation', { invitation })).status, 401)
      const right = { tenant: shop.tenantId, email: 'ann@example.com', password: PASSWORD, code: totpCodeOf(ann.uri) }
      t.is((await post('/sign-in', right)).status, 401)
    })

    story('an identity provider that does not answer is asked once in a while, whoever begins a sign-in', async ({ t, tollgate }) => {
      const shop = await openShop(t, tollgate)
      let asked = 0
      const silent = createServer(() => {
        asked += 1
      }).listen(0, '127.0.0.1')
      await once(silent, 'listening')
      t.teardown(() => {
        silent.closeAllConnections()
        silent.close()
      })
      const issuer = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`
      await shop.api.put('/identity-provider', { issuer, clientId: 'c', groups: [{ group: 'g', role: 'read' }] })
      const start = () => openBrowser().go(`${tollgate.http}/v1/sign-in/${shop.tenantId}/start`, { follow: false })
      const first = Array.from({ length: 20 }, start)
      await eventually(() => asked > 0)
      silent.closeAllConnections()
      t.deepEqual(new Set((await Promise.all(first)).map(({ status }) => status)), new Set([503]))
      t.is((await start()).status, 503)
      t.true(asked <= 2, `${asked} times`)
    })

    story('neither passwords, codes nor tokens are stored as they are, answered, or told of', async ({ t, tollgate }) => {
      const shop = await openShop(t, tollgate)
      const ann = await come(t, tollgate, shop, { email: 'ann@example.com', role: 'read' })
      const secret = (URI.parse(ann.uri) as TOTP).secret.base32
      const session = ann.browser.cookie(tollgate.http, SESSION) ?? ''
      const said = JSON.stringify([
        (await shop.api.get('/users')).body,
        (await shop.api.get('/audit-log?limit=100')).body,
        tollgate.controlPlane.stderr(),
        tollgate.controlPlane.stdout(),
      ])
      for (const one of [PASSWORD, secret, session, ann.csrf, 'argon2id']) t.false(said.includes(one), one)
      const signedIn = (await shop.api.get(`/audit-log?actor=${ann.id}`)).body.data
      t.deepEqual(
        signedIn.map(({ action }: { action: string }) => action),
        ['post /v1/sign-in/invitation/take'],
      )
    })

    story('people come from an identity provider, with the roles of their groups', async ({ t, tollgate }) => {
      const shop = await openShop(t, tollgate)
      const callback = `${tollgate.http}/v1/sign-in/${shop.tenantId}/callback`
      const idp = await startIdentityProvider({ alice: ['staff', 'ops'], bob: ['staff'], carol: ['admins'] }, [callback])
      t.teardown(idp.close)
      const mapping = {
        issuer: idp.issuer,
        clientId: idp.clientId,
        clientSecret: idp.clientSecret,
        groups: [
          { group: 'admins', role: 'admin' },
          { group: 'ops', role: 'billing', storefronts: ['us-store'] },
        ],
      }
      const set = await shop.api.put('/identity-provider', mapping)
      t.is(set.status, 200, JSON.stringify(set.body))
      t.like(set.body, { hasClientSecret: true, redirectUri: callback })
      t.false(JSON.stringify((await shop.api.get('/identity-provider')).body).includes(idp.clientSecret))
      const start = `${set.body.signInUrl}?returnTo=/readyz`

      const enter = async (name: string) => {
        const browser = openBrowser()
        const page = await browser.go(start)
        t.true(page.url.startsWith(idp.issuer), page.url)
        const end = await idp.signIn(browser, page.url, name)
        return { browser, end, caller: await browser.go(`${tollgate.http}/v1/caller`) }
      }
      const alice = await enter('alice')
      t.is(alice.end, `${tollgate.http}/readyz`)
      t.like(alice.caller.body, { kind: 'user', name: 'alice', role: 'billing', tenantId: shop.tenantId })
      t.deepEqual(alice.caller.body.storefronts, ['us-store'])
      const [asked] = idp.asked
      t.is(asked?.get('code_challenge_method'), 'S256')
      for (const field of ['state', 'nonce', 'code_challenge']) t.true((asked?.get(field) ?? '').length > 20, field)
      // Who is in no group that has a role here stays out.
      t.is((await enter('bob')).caller.status, 401)
      t.is((await enter('carol')).caller.body.role, 'admin')

      // The next sign-in goes by what the groups are then.
      await shop.api.put('/identity-provider', { ...mapping, clientSecret: undefined, groups: [{ group: 'staff', role: 'read' }] })
      const again = await enter('alice')
      t.like(again.caller.body, { id: alice.caller.body.id, role: 'read', storefronts: null })
      await shop.api.patch(`/users/${alice.caller.body.id}`, { disabled: true })
      t.is((await alice.browser.go(`${tollgate.http}/v1/caller`)).status, 401)
      t.is((await enter('alice')).caller.status, 401)
      t.is((await shop.api.post(`/users/${alice.caller.body.id}/invitation`)).status, 409)
    })

    story('a sign-in is finished by the browser that began it, once, and leads nowhere else', async ({ t, tollgate }) => {
      const shop = await openShop(t, tollgate)
      const callback = `${tollgate.http}/v1/sign-in/${shop.tenantId}/callback`
      const idp = await startIdentityProvider({ alice: ['ops'] }, [callback])
      t.teardown(idp.close)
      const mapping = { issuer: idp.issuer, clientId: idp.clientId, clientSecret: idp.clientSecret, groups: [{ group: 'ops', role: 'billing' }] }
      const { signInUrl } = (await shop.api.put('/identity-provider', mapping)).body
      for (const bad of ['https://evil.example', '//evil.example', '/\\evil.example', 'javascript:alert(1)'])
        t.is((await openBrowser().go(`${signInUrl}?returnTo=${encodeURIComponent(bad)}`, { follow: false })).body.field, 'returnTo', bad)

      const victim = openBrowser()
      const attacker = openBrowser()
      await victim.go(signInUrl)
      // What an attacker has begun, and would have the victim finish.
      const page = await attacker.go(signInUrl)
      attacker.forget(tollgate.http, 'tollgate-sign-in')
      const refused = await attacker.go(await idp.signIn(attacker, page.url, 'alice'))
      t.is(refused.status, 401)
      t.is(attacker.cookie(tollgate.http, SESSION), undefined)
      t.is((await victim.go(`${callback}?code=stolen&state=stolen`)).status, 401)
      t.is((await victim.go(`${tollgate.http}/v1/sign-in/no-such-tenant/start`)).status, 404)
    })
  },
  undefined,
  async () => ({ OIDC_PRIVATE_URLS: 'true' }),
)
