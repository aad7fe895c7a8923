/** Who changed what: every change by a caller is in the audit log, before it is made and after, and nothing in it that must not be kept. */
import test from 'ava'
import { routes } from '../../control-plane/http/routes/index.ts'
import { openEverything, type RouteRequest } from '../support/every-route.ts'
import { httpClient } from '../support/http-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'
import { runCommand } from '../support/tollgate.ts'

interface Entry {
  event: string
  action: string
  requestId: string
  code?: string
  status?: number
  resource: Record<string, string>
  reason: string | null
  actor: { id: string; name: string | null; role: string }
  from: string
  changes?: { field: string; before?: unknown; after?: unknown }[]
}

/** What changes nothing, or is usage. */
const looks = (route: (typeof routes)[number]) =>
  (route.method === 'get' && route.access !== 'customers:export') || ['public', 'usage:report'].includes(route.access) || route.access.endsWith(':read')

inWorlds(test, (story) => {
  story('the audit log records every change before and after it, with who made it and from where', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const requests = await openEverything(shop)
    for (const route of routes) {
      if (route.access === 'public' || route.access === 'platform' || route.ofTenant === false) continue
      const { path, body, headers } = requests[`${route.method} ${route.path}`] as RouteRequest
      const answer = await shop.api.call(route.method.toUpperCase(), path, body, { ...headers, 'x-reason': 'the matrix' })
      const { data } = (await shop.api.get(`/audit-log?requestId=${answer.headers.get('x-request-id')}`)).body as { data: Entry[] }
      const what = `${route.method} ${route.path}: ${JSON.stringify(data)}`
      if (looks(route)) {
        t.deepEqual(data, [], what)
        continue
      }
      t.deepEqual(
        data.map(({ event }) => event),
        ['done', 'begun'],
        what,
      )
      for (const { action, actor, from, reason } of data)
        t.like([action, actor.role, from, reason], [`${route.method} ${route.path}`, 'admin', '127.0.0.1', 'the matrix'], what)
      if (answer.status < 300) t.is(data[0]?.status, answer.status, what)
      else t.is(data[0]?.code, answer.body.code, what)
    }
    const platform = httpClient(tollgate.http)
    const made = await platform.post('/tenants', { id: `made-${process.pid}-${Date.now()}`, name: 'Made', mode: 'sandbox' })
    const { data } = (await platform.get(`/platform/audit-log?requestId=${made.headers.get('x-request-id')}`)).body
    t.deepEqual([data[0].action, data[0].actor.role, data.length], ['post /v1/tenants', 'platform', 2])
    t.false(JSON.stringify(data).includes(made.body.apiKey))
  })

  story('an entry says what was before and what is now, who was refused, and why it was done', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const { secret } = (await shop.api.post('/api-keys', { role: 'admin', name: 'Ann of accounts' })).body
    const ann = httpClient(tollgate.http, { key: secret })
    await ann.patch('/storefronts/us-store', { name: 'The shop' }, { 'x-reason': 'ticket 7' })
    const [done] = (await shop.api.get('/audit-log?limit=1')).body.data as Entry[]
    t.like(done, { event: 'done', action: 'patch /v1/storefronts/{storefront}', resource: { storefront: 'us-store' }, reason: 'ticket 7' })
    t.is(done?.actor.name, 'Ann of accounts')
    t.deepEqual(done?.changes, [{ field: 'name', before: 'us-store', after: 'The shop' }])
    await ann.patch('/storefronts/us-store', { name: 'No' }, { 'if-match': '"99"' })
    t.is((await shop.api.get('/audit-log?limit=1')).body.data[0].code, 'precondition_failed')
    t.is((await ann.patch('/storefronts/us-store', { name: 'No' }, { 'x-reason': 'x'.repeat(501) })).status, 400)

    // Who sends much does not make the log larger by as much; another key is told of by its id.
    await shop.api.put('/identity-provider', {
      issuer: 'https://login.example.com',
      clientId: 'c',
      groups: Array.from({ length: 200 }, (_, n) => ({ group: 'g'.repeat(190) + n, role: 'none' })),
    })
    const long = (await shop.api.get('/audit-log?limit=2')).body.data as (Entry & { input?: object })[]
    t.deepEqual(long[1]?.input, { '[cut]': ['issuer', 'clientId', 'scopes', 'groupsClaim', 'groups'] })
    const { id: first_, secret: __ } = (await shop.api.post('/api-keys', { role: 'read' })).body
    const rotated = (await shop.api.post(`/api-keys/${first_}/rotate`, {})).body
    t.deepEqual((await shop.api.get('/audit-log?limit=1')).body.data[0].resource, { key: first_, made: rotated.id })

    // Under its Idempotency-Key it is done once, and told of once.
    const once = { 'idempotency-key': 'once' }
    const first = await shop.api.post('/customers', { id: 'c', storefrontId: 'us-store' }, once)
    await shop.api.post('/customers', { id: 'c', storefrontId: 'us-store' }, once)
    t.is(first.status, 201)
    t.is((await shop.api.get('/audit-log?action=post%20/v1/customers')).body.data.length, 2)
    // A customer is found by the id, which is not what the log says.
    const found = (await shop.api.get('/audit-log?storefrontId=us-store&customerId=c')).body.data as Entry[]
    t.is(found.length, 2)
    t.false(JSON.stringify(found).includes('"c"'))
    t.is((await shop.api.get('/audit-log?customerId=c')).body.field, 'storefrontId')
  })

  story("a refused change is recorded, and an ended tenant's log can still be read", async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const reader = (await shop.api.post('/api-keys', { role: 'read' })).body
    const limited = (await shop.api.post('/api-keys', { role: 'admin', storefronts: ['eu-store'] })).body
    t.is((await httpClient(tollgate.http, { key: reader.secret }).patch('/storefronts/us-store', { name: 'N' })).status, 403)
    t.is((await httpClient(tollgate.http, { key: limited.secret }).patch('/storefronts/us-store', { name: 'N' })).status, 403)
    t.is((await httpClient(tollgate.http, { key: reader.secret }).get('/api-keys')).status, 403)
    const { data } = (await shop.api.get('/audit-log?limit=3')).body as { data: Entry[] }
    t.deepEqual(
      data.slice(0, 2).map(({ actor, code, action }) => [actor.id, code, action]),
      [limited, reader].map(({ id }) => [id, 'forbidden', 'patch /v1/storefronts/{storefront}']),
    )
    t.is(data[2]?.action, 'post /v1/api-keys', 'reads are not')
    const platform = httpClient(tollgate.http)
    t.is((await platform.call('DELETE', `/tenants/${shop.tenantId}`, undefined, { 'x-tn': 'another' })).body.field, 'x-tn')
    t.is((await platform.call('DELETE', `/tenants/${shop.tenantId}?cancel=now`)).status, 200)
    t.is((await shop.api.get('/audit-log')).status, 409)
    const kept = (await platform.get(`/platform/audit-log?tenant=${shop.tenantId}&limit=2`)).body.data as Entry[]
    t.deepEqual(
      kept.map(({ code }) => code),
      ['forbidden', 'forbidden'],
    )
  })

  story('the log holds neither secrets nor what identifies people, and an erased customer leaves no trace', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const john = 'john@example.com'
    const hidden = [john, 'john-mail@example.com', 'John Doe', 'tok_of_john', 'a note on John', 'sk_live_0000', 'whsec_0000', 'pm_sca_secret']
    await shop.api.post('/customers', {
      id: john,
      storefrontId: 'us-store',
      email: 'john-mail@example.com',
      name: 'John Doe',
      metadata: { note: 'a note on John' },
      paymentMethods: [{ id: 'm', type: 'card', tokens: { '*': 'tok_of_john' } }],
    })
    const path = `/storefronts/us-store/customers/${john}`
    await shop.api.patch(path, { name: 'John Doe' })
    await shop.api.post(`${path}/payment-methods`, { id: 'n', tokens: { '*': 'tok_of_john' } })
    await shop.api.post('/psp-accounts', { id: 'acc', provider: 'stripe', credentials: { secretKey: 'sk_live_0000' }, webhookSecret: 'whsec_0000' })
    await shop.subscribe(john, 'm')
    await shop.api.post('/payments', {
      storefrontId: 'us-store',
      customerId: john,
      amount: 100,
      currency: 'USD',
      paymentMethod: 'pm_sca_secret',
      description: 'a note on John',
    })
    const key = (await shop.api.post('/api-keys', { role: 'read' })).body.secret
    t.is((await shop.api.call('DELETE', `${path}?cancel=now`)).status, 200)
    const whole = await (await fetch(`${tollgate.http}/v1/audit-log/export`, { headers: { authorization: `Bearer ${shop.apiKey}` } })).text()
    t.true(whole.split('\n').length > 14)
    for (const secret of [...hidden, key, shop.apiKey]) t.false(whole.includes(secret), secret)
  })

  story('the log is read in pages, exported as JSON lines, and proven whole by a command', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    for (let n = 0; n < 12; n += 1) await shop.api.patch('/storefronts/us-store', { name: `name ${n}` })
    const answer = await fetch(`${tollgate.http}/v1/audit-log/export`, { headers: { authorization: `Bearer ${shop.apiKey}` } })
    t.is(answer.headers.get('content-type'), 'application/jsonl')
    const exported = (await answer.text())
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const seen: Entry[] = []
    let cursor = ''
    do {
      const { body } = await shop.api.get(`/audit-log?limit=7${cursor}`)
      seen.push(...body.data)
      cursor = body.nextCursor ? `&cursor=${body.nextCursor}` : ''
    } while (cursor)
    t.deepEqual(seen.toReversed(), exported)
    t.is((await shop.api.get('/audit-log?cursor=rubbish')).body.field, 'cursor')
    const verify = (...args: string[]) => runCommand('control-plane/audit-verify.ts', args, tollgate.env)
    const head = (await verify(shop.tenantId)).split(' ')[0] ?? ''
    t.regex(head, new RegExp(`^${shop.tenantId}@\\d+:[0-9a-f]{64}$`))
    await shop.api.patch('/storefronts/us-store', { name: 'more' })
    t.regex(await verify('--expect', head), /unchanged/)
    await t.throwsAsync(verify('no-such-tenant'))
    const other = head.replace(/.$/, (last) => (last === '0' ? '1' : '0'))
    const { stdout } = (await t.throwsAsync<Error & { stdout: string }>(verify('--expect', other))) as Error & { stdout: string }
    t.regex(stdout, /does not have the expected hash/)
  })
})
