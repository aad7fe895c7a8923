/** What callers can and cannot do to each other and to the process: keys, wrong text, refusals, connections that say nothing. */
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import test from 'ava'
import { eventually } from '../support/eventually.ts'
import { httpClient } from '../support/http-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'
import { embedded, PLATFORM_KEY } from '../support/tollgate.ts'

const LOST = String.fromCharCode(0xd8_00)

inWorlds(test, (story) => {
  story('a key shows its purpose, its beginning, its expiry and its last use', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    t.regex(shop.apiKey, /^tg_test_[A-Za-z0-9_-]{43}$/)
    const expiresAt = new Date(Date.now() + 3_600_000).toISOString()
    const { body: made } = await shop.api.post('/api-keys', { role: 'read', name: 'Reports', expiresAt })
    t.like(made, { role: 'read', name: 'Reports', expiresAt, lastUsedAt: null, hint: made.secret.slice(0, 'tg_test_'.length + 4) })
    t.is((await httpClient(tollgate.http, { key: made.secret }).get('/storefronts')).status, 200)
    await eventually(async () => (await shop.api.get(`/api-keys/${made.id}`)).body.lastUsedAt !== null)
    t.false(JSON.stringify((await shop.api.get('/api-keys')).body).includes(made.secret))
    t.like((await shop.api.post('/api-keys', { role: 'read', expiresAt: '2020-01-01T00:00:00Z' })).body, { code: 'invalid_request', field: 'expiresAt' })
    const soon = (await shop.api.post('/api-keys', { role: 'read', expiresAt: new Date(Date.now() + 1_500).toISOString() })).body
    await eventually(async () => (await httpClient(tollgate.http, { key: soon.secret }).get('/storefronts')).status === 401)
    const live = await httpClient(tollgate.http).post('/tenants', { id: `live-${shop.tenantId}`, name: 'Live', mode: 'live', storefronts: [] })
    t.regex(live.body.apiKey ?? JSON.stringify(live.body), /^tg_live_[A-Za-z0-9_-]{43}$/)
  })

  story("a key is rotated with an overlap, and the last of role admin stays, also when two take each other's away", async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const as = (key: string) => httpClient(tollgate.http, { key })
    const [first] = (await shop.api.get('/api-keys')).body.data
    t.like((await shop.api.call('DELETE', `/api-keys/${first.id}`)).body, { code: 'not_allowed_in_state' })
    t.is((await shop.api.get('/storefronts')).status, 200)
    const { body: worker } = await shop.api.post('/api-keys', { role: 'sidecar', name: 'Worker' })
    const { body: next, status } = await shop.api.post(`/api-keys/${worker.id}/rotate`, { overlapHours: 1 })
    t.is(status, 201)
    t.like(next, { role: 'sidecar', name: 'Worker', expiresAt: null })
    for (const { secret } of [worker, next]) t.is((await as(secret).get('/storefronts/us-store/customers/nobody/entitlements')).status, 404)
    const { body: last } = await shop.api.post(`/api-keys/${next.id}/rotate`, { overlapHours: 0 })
    t.is((await as(next.secret).get('/storefronts/us-store/customers/nobody/entitlements')).status, 401)
    t.is((await as(last.secret).get('/storefronts/us-store/customers/nobody/entitlements')).status, 404)
    // One that expires does not count: some day nobody could make another.
    await shop.api.post('/api-keys', { role: 'admin', expiresAt: new Date(Date.now() + 3_600_000).toISOString() })
    t.is((await shop.api.call('DELETE', `/api-keys/${first.id}`)).status, 409)
    const { body: second } = await shop.api.post('/api-keys', { role: 'admin' })
    const both = await Promise.all([shop.api.call('DELETE', `/api-keys/${second.id}`), as(second.secret).call('DELETE', `/api-keys/${first.id}`)])
    t.true(both.filter(({ status }) => status === 204).length <= 1, both.map(({ status }) => status).join())
    const left = await Promise.all([shop.apiKey, second.secret].map(async (key) => (await as(key).get('/api-keys')).status))
    t.true(left.includes(200), left.join())
  })

  story('a repeat is recognized however the header is spelt; the key is looked at before the body', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const send = (authorization: string) =>
      fetch(`${tollgate.http}/v1/customers`, {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/json', 'idempotency-key': 'once' },
        body: JSON.stringify({ id: 'repeated', storefrontId: 'us-store' }),
      })
    const [made, again] = [await send(`Bearer ${shop.apiKey}`), await send(`bearer   ${shop.apiKey}`.replace('   ', ' '))]
    t.deepEqual([made.status, again.status, again.headers.get('idempotent-replayed')], [201, 201, 'true'])
    t.is(made.headers.get('cache-control'), 'no-store')
    const broken = await fetch(`${tollgate.http}/v1/customers`, {
      method: 'POST',
      headers: { authorization: 'Bearer wrong', 'content-type': 'application/json' },
      body: '{"broken',
    })
    t.is(broken.status, 401)
  })

  story('half a character is refused by its field, wherever it stands; an answer does not list a thousand mistakes', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const customer = { id: 'x', storefrontId: 'us-store' }
    t.like((await shop.api.post('/customers', { ...customer, name: `A${LOST}` })).body, { code: 'invalid_request', field: 'name' })
    t.like((await shop.api.post('/customers', { ...customer, metadata: { a: LOST } })).body, { code: 'invalid_request', field: 'metadata.a' })
    t.is((await shop.api.post('/customers', { ...customer, [`a${LOST}`]: 1 })).status, 400)
    t.is((await shop.api.post('/customers', { ...customer, name: 'A\u{1F600}' })).status, 201)
    t.like((await shop.api.post('/customers', { ...customer, id: 'y', name: 'A\u0000B' })).body, { code: 'invalid_request', field: 'name' })
    const lines = [{ kind: 'charge', reference: LOST, currency: 'USD', grossMinor: 1, feeMinor: 0, netMinor: 1 }]
    t.is((await shop.api.post('/settlement-reports', { id: 'r', account: 'stripe', lines })).status, 400)
    const many = Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`field${n}`, n]))
    const answer = await shop.api.post('/customers', { ...customer, ...many })
    t.is(answer.body.errors.length, 20)
    t.true(JSON.stringify(answer.body).length < 5_000)
    t.regex(answer.body.detail, /and 4980 more/)
    // Columns and kinds that every object has.
    for (const type of ['constructor', '__proto__', 'toString', 'hasOwnProperty']) {
      const csv = `type,reference,currency,gross,fee,net\n${type},r,USD,1,0,1\n`
      const report = await shop.api.call('POST', `/settlement-reports/csv-${type.replaceAll('_', '')}/csv?account=stripe&format=tollgate`, csv, {
        'content-type': 'text/csv',
      })
      t.true(report.status < 300, `${type}: ${JSON.stringify(report.body)}`)
    }
    const rubbish = `type,reference,currency,gross,fee,net\n${'what,r,USD,1,0,1\n'.repeat(3_000)}`
    const headers = { 'content-type': 'text/csv' }
    const stopped = await shop.api.call('POST', '/settlement-reports/rubbish/csv?account=stripe&format=tollgate', rubbish, headers)
    t.is(stopped.status, 400)
    t.regex(stopped.body.detail, /more than 1000 lines cannot be read/)
    const large = 'type,reference,currency,gross,fee,net\ncharge,r,USD,90000000000000,0,90000000000000\n'
    t.like((await shop.api.call('POST', '/settlement-reports/large/csv?account=stripe&format=tollgate', large, headers)).body, { differences: 1 })
  })

  story('the documented patterns can be met: each is a pattern, and matches what is accepted', async ({ t, tollgate }) => {
    const text = JSON.stringify((await httpClient(tollgate.http).get('/openapi.json')).body)
    const patterns = [...text.matchAll(/"pattern":("(?:[^"\\]|\\.)*")/g)].map(([, pattern]) => JSON.parse(pattern ?? '') as string)
    t.true(patterns.length > 50)
    for (const pattern of patterns) t.notRegex(pattern, /\/[a-z]*$/)
    t.true(patterns.some((pattern) => new RegExp(pattern, 'u').test('us-store')))
  })

  story('reports that come at once for one customer are all counted, and none refused', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    await shop.subscribe('c')
    const usage = { storefrontId: 'us-store', customerId: 'c', entitlement: 'api_limit', amount: 1 }
    const answers = await Promise.all(Array.from({ length: 200 }, () => shop.api.post('/usage', usage)))
    t.deepEqual([...new Set(answers.map(({ status }) => status))], [201])
    t.is(Math.max(...answers.map(({ body }) => body.used)), 200)
  })

  story('the billing role cannot say that money has moved; whoever may says it of unknown outcomes alone', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const { body: key } = await shop.api.post('/api-keys', { role: 'billing' })
    const billing = httpClient(tollgate.http, { key: key.secret })
    const { payment } = (await shop.subscribe('c', 'pm_sca')).body
    const path = `/payments/${payment.id}/attempts/${payment.attempts[0].id}/resolve`
    const said = { outcome: 'succeeded', pspReference: 'x', reason: 'I say so' }
    t.is((await billing.post(path, said)).status, 403)
    const refused = await shop.api.post(path, said)
    t.like(refused.body, { code: 'not_allowed_in_state' })
    t.regex(refused.body.detail, /requires_action.*cancel/)
    t.not((await shop.api.get(`/payments/${payment.id}`)).body.status, 'succeeded')
  })
})

test('a guesser of keys gets 429 after a while, and callers from elsewhere or with a right key go on', async (t) => {
  const tollgate = await embedded.start({ WRONG_KEYS_PER_MINUTE: '5', KEY_CONCURRENCY: '4', LOG_LEVEL: 'warn' })
  t.teardown(tollgate.close)
  const shop = await openShop(t, tollgate)
  t.is((await shop.api.get('/storefronts')).status, 200)
  const statuses: number[] = []
  for (let n = 0; n < 12; n += 1) {
    const answer = await httpClient(tollgate.http, { key: `guess-${n}` }).get('/storefronts')
    statuses.push(answer.status)
    if (answer.status === 429) t.true(Number(answer.headers.get('retry-after')) >= 1)
  }
  t.deepEqual(statuses, [...Array(5).fill(401), ...Array(7).fill(429)])
  t.is((await shop.api.get('/storefronts')).headers.get('ratelimit-policy'), '"key";q=2000;w=1')
  const { stdout, stderr } = tollgate.controlPlane
  const log = stdout() + stderr()
  t.is(log.split('wrong keys from one address').length, 2)
  t.false(log.includes('guess-'))
  const metrics = await (await fetch(`${tollgate.http}/metrics`, { headers: { authorization: `Bearer ${PLATFORM_KEY}` } })).text()
  t.regex(metrics, /tollgate_authentication_failures_total \d+\n/)
  // A key has so much under way, and what is too much is not begun.
  const at = await Promise.all(Array.from({ length: 40 }, (_, n) => shop.api.post('/customers', { id: `c${n}`, storefrontId: 'us-store' })))
  const made = at.filter(({ status }) => status === 201).length
  t.true(made >= 4 && at.every(({ status }) => status === 201 || status === 429))
  t.is((await shop.api.get('/storefronts/us-store/customers?limit=100')).body.data.length, made)
})

test('stored files are for their owner alone; a connection that says nothing, or never ends its request, is ended', async (t) => {
  t.timeout(120_000)
  const tollgate = await embedded.start()
  t.teardown(tollgate.close)
  for (const name of ['tollgate.sqlite', 'all-in-one.lock']) t.is(statSync(join(tollgate.env.DATA_DIR ?? '', name)).mode & 0o077, 0, name)
  const { hostname, port } = new URL(tollgate.http)
  const open = async (text: string) => {
    const socket = connect(Number(port), hostname)
    socket.on('error', () => {})
    await once(socket, 'connect')
    if (text !== '') socket.write(text)
    socket.resume()
    return once(socket, 'close')
  }
  const ends = [
    '',
    'GET /healthz HTTP/1.1\r\nHost: x\r\nX-Unending: ',
    `POST /v1/customers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${PLATFORM_KEY}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"id`,
  ]
  const ended = Promise.all(ends.map(open))
  t.is((await fetch(`${tollgate.http}/healthz`)).status, 200)
  t.is((await ended).length, 3)
})
