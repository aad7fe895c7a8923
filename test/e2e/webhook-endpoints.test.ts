/** Where a tenant's events are sent: endpoints, their secrets, and a test event that is sent at once. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { Webhook } from 'standardwebhooks'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'
import { embedded } from '../support/tollgate.ts'

/** A receiver that answers what it is told to, and keeps what it was sent. */
const openReceiver = async (t: ExecutionContext, answer: { status: number; body?: string } = { status: 204 }) => {
  const received: { headers: IncomingHttpHeaders; body: string }[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    received.push({ headers: request.headers, body: Buffer.concat(chunks).toString() })
    response.writeHead(answer.status).end(answer.body)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hooks`, received, answer }
}

const isSignedBy = (secret: string, { headers, body }: { headers: IncomingHttpHeaders; body: string }): boolean => {
  try {
    new Webhook(secret).verify(body, headers as Record<string, string>)
    return true
  } catch {
    return false
  }
}

inWorlds(
  test,
  (story) => {
    story('an endpoint is created, changed, found, tested and deleted, and its secret is shown once', async ({ t, tollgate }) => {
      const { api, tenantId } = await openShop(t, tollgate)
      const receiver = await openReceiver(t)
      const made = await api.post('/webhook-endpoints', { url: receiver.url, types: ['subscription.*', 'payment.failed'], metadata: { team: 'billing' } })
      t.is(made.status, 201, JSON.stringify(made.body))
      const { secret, ...shown } = made.body
      t.regex(secret, /^whsec_[A-Za-z0-9+/]{43}=$/)
      t.like(shown, {
        url: receiver.url,
        ordered: false,
        enabled: true,
        disabledAt: null,
        disabledReason: null,
        storefrontIds: null,
        metadata: { team: 'billing' },
      })
      const path = `/webhook-endpoints/${shown.id}`
      t.deepEqual((await api.get(path)).body, shown)
      t.deepEqual((await api.get('/webhook-endpoints')).body.data, [shown])

      const tested = await api.post(`${path}/test`, {})
      t.like(tested.body, { delivered: true, status: 204, answer: '', error: null })
      const [message] = receiver.received
      t.true(message && isSignedBy(secret, message))
      const event = JSON.parse(message?.body ?? '')
      t.like(event, { specversion: '1.0', type: 'webhook_endpoint.test', source: `/tenants/${tenantId}`, subject: path, id: message?.headers['webhook-id'] })
      t.deepEqual(event.data, { id: shown.id, url: receiver.url, enabled: true, disabledReason: null })

      const off = await api.call(
        'PATCH',
        path,
        { enabled: false, description: 'Ledger', storefrontIds: ['us-store'] },
        { 'if-match': made.headers.get('etag') ?? '' },
      )
      t.is(off.status, 200, JSON.stringify(off.body))
      t.like(off.body, { enabled: false, disabledReason: 'asked', description: 'Ledger', storefrontIds: ['us-store'], types: shown.types })
      t.truthy(off.body.disabledAt)
      const stale = await api.call('PATCH', path, { enabled: true }, { 'if-match': made.headers.get('etag') ?? '' })
      t.is(stale.status, 412)
      const on = await api.call('PATCH', path, { enabled: true, description: null, storefrontIds: null })
      t.like(on.body, { enabled: true, disabledAt: null, disabledReason: null, description: null, storefrontIds: null })

      Object.assign(receiver.answer, { status: 500, body: 'the queue is full' })
      const refused = (await api.post(`${path}/test`, {})).body
      t.like(refused, { delivered: false, status: 500, answer: 'the queue is full' })
      t.regex(refused.error, /^status_500: /)
      t.is((await api.call('DELETE', path)).status, 204)
      t.is((await api.get(path)).status, 404)

      const log = JSON.stringify((await api.get('/audit-log?limit=100')).body)
      t.true(log.includes('/v1/webhook-endpoints'))
      t.false(log.includes(secret))
    })

    story('a secret is rotated with an overlap, or without, and may be brought along', async ({ t, tollgate }) => {
      const { api } = await openShop(t, tollgate)
      const receiver = await openReceiver(t)
      const own = `whsec_${Buffer.alloc(24, 'k').toString('base64')}`
      const made = (await api.post('/webhook-endpoints', { url: receiver.url, types: ['*'], secret: own })).body
      t.is(made.secret, own)
      const path = `/webhook-endpoints/${made.id}`
      const signs = async (...secrets: string[]): Promise<boolean[]> => {
        t.true((await api.post(`${path}/test`, {})).body.delivered)
        const message = receiver.received.at(-1)
        return secrets.map((secret) => message !== undefined && isSignedBy(secret, message))
      }
      const second = (await api.post(`${path}/rotate-secret`, { expirePreviousInHours: 1 })).body
      t.is(second.secrets.length, 2)
      t.truthy(second.secrets[0].expiresAt)
      t.is(second.secrets[1].expiresAt, null)
      t.deepEqual(await signs(own, second.secret), [true, true])

      const current = await api.call('DELETE', `${path}/secrets/${second.secrets[1].id}`)
      t.is(current.status, 409)
      t.is((await api.call('DELETE', `${path}/secrets/${made.secrets[0].id}`)).status, 204)
      t.is((await api.call('DELETE', `${path}/secrets/${made.secrets[0].id}`)).status, 404)
      t.deepEqual(await signs(own, second.secret), [false, true])

      const third = (await api.post(`${path}/rotate-secret`, { expirePreviousInHours: 0 })).body
      t.is(third.secrets.length, 1)
      t.deepEqual(await signs(second.secret, third.secret), [false, true])
      for (let n = 0; n < 4; n += 1) t.is((await api.post(`${path}/rotate-secret`, {})).status, 200)
      const sixth = await api.post(`${path}/rotate-secret`, {})
      t.is(sixth.status, 409)
      t.regex(sixth.body.detail, /5 secrets/)
      t.is((await api.post(`${path}/rotate-secret`, { expirePreviousInHours: 0 })).status, 200)
    })

    story('an unknown type is refused with the nearest one, and nothing is created', async ({ t, tollgate }) => {
      const { api } = await openShop(t, tollgate)
      for (const [given, nearest] of [
        ['subscripton.renewed', 'subscription.renewed'],
        ['payments.*', 'payment.*'],
      ] as const) {
        const { status, body } = await api.post('/webhook-endpoints', { url: 'https://hooks.example/', types: ['*', given] })
        t.is(status, 400)
        t.is(body.field, 'types[1]')
        t.true(body.detail.includes(`did you mean ${nearest}?`), body.detail)
      }
      t.deepEqual((await api.get('/webhook-endpoints')).body.data, [])
    })

    story('a tenant has at most a hundred endpoints, however many are created at once', async ({ t, tollgate }) => {
      const { api } = await openShop(t, tollgate)
      const create = () => api.post('/webhook-endpoints', { url: 'https://hooks.example/', types: ['*'] })
      for (let n = 0; n < 98; n += 14) for (const { status } of await Promise.all(Array.from({ length: 14 }, create))) t.is(status, 201)
      const answers = await Promise.all(Array.from({ length: 10 }, create))
      t.true(answers.every(({ status, body }) => status === 201 || (status === 409 && body.code === 'not_allowed_in_state')))
      const kept = (await api.get('/webhook-endpoints?limit=500')).body.data.length
      t.is(kept, 98 + answers.filter(({ status }) => status === 201).length)
      t.true(kept <= 100)
      while ((await create()).status === 201);
      t.is((await api.get('/webhook-endpoints?limit=500')).body.data.length, 100)
    })
  },
  undefined,
  async () => ({ WEBHOOK_PRIVATE_URLS: 'true' }),
)

test('secrets of endpoints are encrypted, and npm run reseal encrypts them with another key', async (t) => {
  const [old, next] = ['o', 'n'].map((letter) => Buffer.alloc(32, letter).toString('base64')) as [string, string]
  const tollgate = await embedded.start({ CREDENTIALS_KEY: `${old},${next}`, WEBHOOK_PRIVATE_URLS: 'true' })
  t.teardown(tollgate.close)
  const { api } = await openShop(t, tollgate)
  const receiver = await openReceiver(t)
  const made = (await api.post('/webhook-endpoints', { url: receiver.url, types: ['*'] })).body
  const { secret } = (await api.post(`/webhook-endpoints/${made.id}/rotate-secret`, {})).body
  const reseal = async (keys: string) => {
    const env = { ...process.env, MONGODB_URL: '', DATA_DIR: tollgate.env.DATA_DIR ?? '', CREDENTIALS_KEY: keys }
    return (await promisify(execFile)(process.execPath, ['control-plane/reseal.ts'], { env })).stdout
  }
  t.regex(await reseal(`${next},${old}`), /^2 secrets were encrypted with key \w{8}\n1 secrets were re-encrypted; all are on key \w{8}$/m)
  // Without the old key: none is left that needs it.
  t.regex(await reseal(next), /^0 secrets were re-encrypted/m)
  t.true((await api.post(`/webhook-endpoints/${made.id}/test`, {})).body.delivered)
  const [message] = receiver.received
  t.true(message && isSignedBy(made.secret, message) && isSignedBy(secret, message))
})
