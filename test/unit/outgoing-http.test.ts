/** Outgoing calls: bounded in size, to the internet alone where a tenant names the host, and never redirected. */
import type { LookupAddress, lookup as systemLookup } from 'node:dns'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { gzipSync } from 'node:zlib'
import test from 'ava'
import { Secret } from '../../common/secret.ts'
import { boundedOptions, createOutgoingTransport } from '../../control-plane/outgoing-http.ts'
import { mercadopagoProvider } from '../../control-plane/payments/psp/mercadopago/adapter.ts'
import { transportFailure } from '../../control-plane/payments/psp/transport-errors.ts'

/** A resolver of the test's own: what a name stands for is what the next of the answers says, and the last from then on. */
const resolver = (...answers: string[][]) => {
  const asked: string[] = []
  const lookup = ((hostname: string, _: object, callback: (error: Error | null, found: LookupAddress[]) => void) => {
    const answer = answers[Math.min(asked.length, answers.length - 1)] ?? []
    asked.push(hostname)
    callback(
      null,
      answer.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
  }) as unknown as typeof systemLookup
  return { lookup, asked }
}

const listen = async (listener: RequestListener) => {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close: () => server.close() }
}

const inside = [
  '127.0.0.1',
  '10.1.2.3',
  '172.16.0.9',
  '192.168.1.1',
  '169.254.169.254',
  '100.64.0.1',
  '0.0.0.0',
  '224.0.0.1',
  '::1',
  '::',
  'fe80::1',
  'fd00::1',
  '::ffff:127.0.0.1',
  '::ffff:10.0.0.1',
  '64:ff9b::a00:1',
  '64:ff9b:1::a00:1',
  // ::127.0.0.1, as it is looked up.
  '::7f00:1',
  '2002:7f00:1::',
  '4000::1',
]

test('no connection is made to a name that stands for an internal address, whatever it is called', async (t) => {
  const reached: string[] = []
  const trap = createTcpServer((socket) => {
    reached.push(socket.remoteAddress ?? '')
    socket.destroy()
  }).listen(0, '127.0.0.1')
  await once(trap, 'listening')
  const { port } = trap.address() as AddressInfo
  for (const address of inside)
    for (const answer of [[address], ['93.184.216.34', address]]) {
      const { lookup, asked } = resolver(answer)
      const { fetch } = createOutgoingTransport({ timeoutMs: 2_000, onlyPublic: true, lookup })
      const error = await t.throwsAsync(fetch(`https://bank.example:${port}/`))
      t.deepEqual(transportFailure(error), { status: 'not_sent', pspCode: 'enotpublic' }, answer.join())
      t.deepEqual(asked, ['bank.example'])
    }
  t.deepEqual(reached, [])
  trap.close()
})

test('a name that was on the internet at one look-up and is internal at the next is refused at the next', async (t) => {
  // Nobody answers at the first (a network for documentation would be refused itself): what counts is that the second is not tried.
  const { lookup, asked } = resolver(['93.184.216.34'], ['127.0.0.1'])
  const { fetch } = createOutgoingTransport({ timeoutMs: 300, onlyPublic: true, lookup })
  await t.throwsAsync(fetch('https://bank.example:8443/'))
  const error = await t.throwsAsync(fetch('https://bank.example:8443/'))
  t.is(transportFailure(error).pspCode, 'enotpublic')
  t.is(asked.length, 2)
})

test('a redirect is not followed, wherever it leads', async (t) => {
  const seen: string[] = []
  const { url, close } = await listen((request, response) => {
    seen.push(request.url ?? '')
    response.writeHead(307, { location: '/inside' }).end()
  })
  const { fetch } = createOutgoingTransport({ timeoutMs: 2_000 })
  await t.throwsAsync(fetch(`${url}/charge`, { method: 'POST', body: '{}' }))
  t.deepEqual(seen, ['/charge'])
  close()
})

test('an answer larger than any provider gives is read only up to that size, packed or not', async (t) => {
  let sent = 0
  const chunk = Buffer.alloc(64 * 1024, 'x')
  const { url, close } = await listen((request, response) => {
    if (request.url === '/packed') return response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(50 * 1024 * 1024)))
    if (request.url === '/small') return response.writeHead(200, { 'content-type': 'application/json' }).end('{"a":1}')
    const more = () => {
      while (!response.destroyed && response.write(chunk)) sent += chunk.length
    }
    response.on('drain', more)
    more()
    return undefined
  })
  const { fetch } = createOutgoingTransport({ timeoutMs: 5_000 })
  for (const path of ['/endless', '/packed']) {
    const error = await t.throwsAsync(fetch(`${url}${path}`), { message: /larger than 1048576 bytes/ })
    t.deepEqual(transportFailure(error), { status: 'unknown', pspCode: 'answer_too_large' })
  }
  t.true(sent < 20 * 1024 * 1024, `${sent} bytes were taken`)
  t.deepEqual(await (await fetch(`${url}/small`)).json(), { a: 1 })
  close()
})

test('a number in the place of a name is looked at as well, however it is spelt', async (t) => {
  let asked = 0
  const server = await listen((_, response) => {
    asked += 1
    response.end('inside')
  })
  t.teardown(server.close)
  const { fetch } = createOutgoingTransport({ timeoutMs: 1_000, onlyPublic: true })
  const port = new URL(server.url).port
  for (const host of ['127.0.0.1', '2130706433', '0x7f.1', '[::ffff:127.0.0.1]', '[::127.0.0.1]', '[::1]', '10.0.0.1', '169.254.169.254'])
    await t.throwsAsync(fetch(`http://${host}:${port}/`), { message: /does not resolve only to addresses on the internet/ }, host)
  t.is(asked, 0)
})

test("a library's own calls are bounded, too: MercadoPago's is not answered more than it can take, nor sent elsewhere", async (t) => {
  let asked = 0
  const big = await listen((request, response) => {
    asked += 1
    if (request.url?.includes('search')) response.end('{"results":[]}')
    else response.writeHead(201, { 'content-type': 'application/json' }).end(`{"id":1,"status":"approved","pad":"${'x'.repeat(5_000_000)}"}`)
  })
  t.teardown(big.close)
  const clock = { now: () => new Date(), nowMs: () => Date.now() }
  const provider = mercadopagoProvider({ clock, baseUrl: big.url })
  const made = {
    credentials: { accessToken: new Secret('a') },
    webhookSecret: undefined,
    capture: 'automatic' as const,
    returnUrl: 'https://shop.example',
    timeoutMs: 2_000,
  }
  const order = {
    reference: 'pay-1',
    idempotencyKey: 'pay-1',
    amountMinor: 100,
    currency: 'BRL',
    token: 'token',
    customerId: 'c',
    onSession: false,
    description: 'x',
  } as unknown as Parameters<ReturnType<typeof provider.create>['charge']>[0]
  t.is((await provider.create(made).charge(order)).status, 'unknown')
  t.true(asked > 0)
  const elsewhere = await listen((_, response) => response.writeHead(302, { location: big.url }).end())
  t.teardown(elsewhere.close)
  await t.throwsAsync(globalThis.fetch(elsewhere.url, boundedOptions(1_000) as unknown as RequestInit))
})
