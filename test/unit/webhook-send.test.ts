/** One message to a webhook endpoint: signed, bounded in time and size, to the internet alone, and never followed elsewhere. */
import type { LookupAddress } from 'node:dns'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { Webhook } from 'standardwebhooks'
import { systemClock } from '../../common/clock.ts'
import { Secret } from '../../common/secret.ts'
import { createWebhookSender, type WebhookSenderOptions } from '../../control-plane/events/webhooks/send.ts'
import type { Lookup } from '../../control-plane/outgoing-http.ts'
import { makeCertificates } from '../support/certificates.ts'
import { eventually } from '../support/eventually.ts'

const DAY_MS = 86_400_000
const [one, two] = ['a', 'b'].map((letter) => `whsec_${Buffer.alloc(32, letter).toString('base64')}`) as [string, string]
const body = JSON.stringify({ specversion: '1.0', id: 'evt_1', type: 'subscription.renewed', data: { name: 'Zoë' } })

interface Received {
  headers: IncomingHttpHeaders
  body: string
}

const opened = async (t: ExecutionContext, server: Server, scheme = 'http'): Promise<string> => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const listen = async (t: ExecutionContext, answer: RequestListener) => {
  const received: Received[] = []
  const url = await opened(
    t,
    createServer(async (request, response) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      received.push({ headers: request.headers, body: Buffer.concat(chunks).toString() })
      answer(request, response)
    }),
  )
  return { url, received }
}

const sender = (options: Partial<WebhookSenderOptions> = {}) => createWebhookSender({ clock: systemClock, allowPrivate: true, timeoutMs: 5_000, ...options })
const message = (url: string) => ({ url, secrets: [new Secret(one)], id: 'evt_1', body })

test.serial('a message is signed with each secret, and says what it is', async (t) => {
  const { url, received } = await listen(t, (_, response) => response.writeHead(204).end())
  const sent = await sender().send({ ...message(`${url}/hooks?a=b`), secrets: [new Secret(one), new Secret(two)] })
  t.like(sent, { outcome: 'delivered', status: 204, answer: '', error: undefined, gone: undefined })
  const [first] = received as [Received]
  t.is(first.body, body)
  t.is(first.headers['content-type'], 'application/cloudevents+json; charset=utf-8')
  t.regex(first.headers['user-agent'] ?? '', /^Tollgate-Webhooks\/\d+\.\d+\.\d+$/)
  t.is(first.headers['webhook-id'], 'evt_1')
  t.is((first.headers['webhook-signature'] as string).split(' ').length, 2)
  for (const secret of [one, two]) t.deepEqual(new Webhook(secret).verify(first.body, first.headers as Record<string, string>), JSON.parse(body))
  t.throws(() => new Webhook(`whsec_${Buffer.alloc(32, 'c').toString('base64')}`).verify(first.body, first.headers as Record<string, string>))
})

for (const [status, headers, expected] of [
  [200, {}, { outcome: 'delivered' }],
  [400, { 'retry-after': '5' }, { outcome: 'refused', retryAfterMs: undefined }],
  [410, {}, { outcome: 'refused', gone: true }],
  [429, { 'retry-after': '120' }, { outcome: 'refused', retryAfterMs: 120_000 }],
  [503, { 'retry-after': '99999999' }, { outcome: 'refused', retryAfterMs: DAY_MS }],
  [503, { 'retry-after': 'Fri, 01 Jan 1999 00:00:00 GMT' }, { outcome: 'refused', retryAfterMs: 0 }],
  [503, { 'retry-after': 'soon' }, { outcome: 'refused', retryAfterMs: undefined }],
] as const)
  test.serial(`${status} with ${JSON.stringify(headers)} is ${expected.outcome}`, async (t) => {
    const { url } = await listen(t, (_, response) => response.writeHead(status, headers).end('why'))
    const sent = await sender().send(message(url))
    t.like(sent, { ...expected, status, answer: 'why' })
    t.is(sent.error === undefined, expected.outcome === 'delivered')
  })

test.serial('a redirect is a refusal, and is not followed', async (t) => {
  const { url, received } = await listen(t, (_, response) => response.writeHead(308, { location: '/elsewhere' }).end())
  const sent = await sender().send(message(url))
  t.like(sent, { outcome: 'refused', status: 308 })
  t.regex(sent.error ?? '', /^redirect: /)
  t.is(received.length, 1)
})

test.serial('of a large answer only the beginning is read, and the message is delivered all the same', async (t) => {
  let written = 0
  const { url } = await listen(t, (_, response) => {
    const more = () => {
      while (!response.destroyed && response.write('ü'.repeat(32 * 1024))) written += 64 * 1024
    }
    // The two bytes of a character are cut apart.
    response.writeHead(200).write('x')
    response.on('drain', more)
    more()
  })
  const sent = await sender().send(message(url))
  t.like(sent, { outcome: 'delivered', status: 200 })
  t.is(sent.answer, `x${'ü'.repeat(2_047)}`)
  t.true(written < 8 * 1024 * 1024, `${written} bytes were taken`)
})

test.serial('an answer that is no text is made one', async (t) => {
  const { url } = await listen(t, (_, response) => response.writeHead(500).end(Buffer.from([0x00, 0xff, 0x61, 0x0a, 0x1b])))
  t.is((await sender().send(message(url))).answer, '��a\n�')
})

test.serial('a body that does not end changes nothing once the status is known', async (t) => {
  const { url } = await listen(t, (_, response) => response.writeHead(200).write('begun'))
  const sent = await sender({ timeoutMs: 300 }).send(message(url))
  t.like(sent, { outcome: 'delivered', status: 200, answer: 'begun' })
  t.true(sent.durationMs < 2_000)
})

test.serial('silence, before or after the connection is made, is over at the deadline', async (t) => {
  const silent = createTcpServer(() => {}).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const hanging = (() => {}) as unknown as Lookup
  const { port } = silent.address() as AddressInfo
  for (const [url, lookup] of [
    [`http://127.0.0.1:${port}/`, undefined],
    ['https://hangs.example/', hanging],
  ] as const) {
    const sent = await sender({ timeoutMs: 300, ...(lookup ? { lookup } : {}) }).send(message(url))
    t.is(sent.outcome, 'unreachable')
    t.regex(sent.error ?? '', /^timeout: the endpoint did not answer within 0.3 seconds/)
    t.true(sent.durationMs >= 290 && sent.durationMs < 2_000, `${sent.durationMs} ms`)
  }
})

test.serial('whoever does not want to wait any more stops it', async (t) => {
  const { url } = await listen(t, () => {})
  const stop = new AbortController()
  const sending = sender().send({ ...message(url), signal: stop.signal })
  await sleep(100)
  stop.abort()
  const sent = await sending
  t.is(sent.outcome, 'unreachable')
  t.regex(sent.error ?? '', /^stopped: /)
})

test.serial('a host that is not there, or has no trusted certificate, is unreachable, and nothing is thrown', async (t) => {
  const closed = createTcpServer().listen(0, '127.0.0.1')
  await once(closed, 'listening')
  const { port } = closed.address() as AddressInfo
  closed.close()
  await once(closed, 'close')
  t.regex((await sender().send(message(`http://127.0.0.1:${port}/`))).error ?? '', /^connection_refused: /)
  const { certFile, keyFile } = makeCertificates()
  let asked = 0
  const server = createHttpsServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) }, (_, response) => {
    asked += 1
    response.end()
  })
  const url = await opened(t, server as unknown as Server, 'https')
  t.regex((await sender().send(message(url))).error ?? '', /^tls: /)
  t.is(asked, 0)
  const nowhere = ((_: string, __: object, callback: (error: Error) => void) =>
    callback(Object.assign(new Error('none'), { code: 'ENOTFOUND' }))) as unknown as Lookup
  t.regex((await sender({ lookup: nowhere }).send(message('https://none.example/'))).error ?? '', /^unknown_host: /)
  t.is((await sender().send({ ...message(url), secrets: [new Secret('whsec_!')] })).outcome, 'unreachable')
  t.is((await sender().send(message('not a URL'))).outcome, 'unreachable')
})

test.serial('nothing of our own network is connected to, by whatever name, number or port', async (t) => {
  let reached = 0
  const trap = createTcpServer((socket) => {
    reached += 1
    socket.destroy()
  }).listen(0)
  await once(trap, 'listening')
  t.teardown(() => trap.close())
  const { port } = trap.address() as AddressInfo
  const numbers = [
    '127.0.0.1',
    '2130706433',
    '0x7f.1',
    '0.0.0.0',
    '[::1]',
    '[::]',
    '[::ffff:127.0.0.1]',
    '[::127.0.0.1]',
    '[64:ff9b::7f00:1]',
    '169.254.169.254',
  ]
  for (const host of numbers)
    for (const url of [`https://${host}:${port}/`, `http://${host}:${port}/`]) {
      const sent = await sender({ allowPrivate: false, timeoutMs: 1_000 }).send(message(url))
      t.regex(sent.error ?? '', /^not_public: /, url)
    }
  const addresses = ['127.0.0.1', '::1', '::ffff:127.0.0.1', '::7f00:1', '64:ff9b::7f00:1', '64:ff9b:1::7f00:1', '0.0.0.0', '169.254.169.254', 'fd00::1']
  for (const address of addresses)
    for (const answer of [[address], ['93.184.216.34', address]]) {
      const lookup = ((_: string, __: object, callback: (error: null, found: LookupAddress[]) => void) =>
        callback(
          null,
          answer.map((one) => ({ address: one, family: one.includes(':') ? 6 : 4 })),
        )) as unknown as Lookup
      const sent = await sender({ allowPrivate: false, timeoutMs: 1_000, lookup }).send(message(`https://hooks.example:${port}/`))
      t.regex(sent.error ?? '', /^not_public: /, answer.join())
    }
  t.is(reached, 0)
})

test.serial('connections are kept and shared, and one slow host does not hold up another', async (t) => {
  let connections = 0
  const quick = createServer((request, response) => {
    request.resume()
    response.end('ok')
  }).on('connection', () => {
    connections += 1
  })
  const url = await opened(t, quick)
  const slow = await listen(t, () => {})
  const one = sender({ timeoutMs: 2_000 })
  const waiting = Array.from({ length: 100 }, () => one.send(message(slow.url)))
  for (let n = 0; n < 20; n += 1) t.is((await one.send(message(url))).outcome, 'delivered')
  t.true(connections <= 2, `${connections} connections`)
  await eventually(async () => slow.received.length === 100)
  for (const sent of await Promise.all(waiting)) t.is(sent.outcome, 'unreachable')
})
