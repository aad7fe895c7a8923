/** Real gateways with the configurations of `examples/`: what passes, what does not, and what callers may try. */
import { generateKeyPairSync, sign } from 'node:crypto'
import test from 'ava'
import { openGatedShop } from '../support/gated-shop.ts'
import { exampleRules, type GatewayName, gatewayMissing, openGateway } from '../support/gateways.ts'

const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const jwks = JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'a', alg: 'ES256', use: 'sig' }] })
const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
const tokenOf = (sub: string, key = privateKey) => {
  const claims = { iss: 'https://login.example.com', aud: 'https://api.example.com', sub, exp: Math.floor(Date.now() / 1_000) + 600 }
  const signed = `${part({ alg: 'ES256', kid: 'a' })}.${part(claims)}`
  return `${signed}.${sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}

interface Kind {
  name: GatewayName
  /** How a customer shows who it is. */
  as(customer: string): Record<string, string>
  /** A gateway that can add headers to the application's answer says what is left there, too. */
  tellsLimits: boolean
  /** Without a customer, the gateway itself refuses. */
  needsCustomer?: boolean
}

const kinds: Kind[] = [
  { name: 'envoy', as: (customer) => ({ authorization: `Bearer ${tokenOf(customer)}` }), tellsLimits: true },
  { name: 'nginx', as: (customer) => ({ 'x-api-key': `key-of-${customer}` }), tellsLimits: true },
  { name: 'caddy', as: (customer) => ({ 'x-api-key': `key-of-${customer}` }), tellsLimits: false },
  {
    name: 'traefik',
    as: (customer) => ({ authorization: `Basic ${Buffer.from(`${customer}:${customer}`).toString('base64')}` }),
    tellsLimits: false,
    needsCustomer: true,
  },
]

for (const { name, as, tellsLimits, needsCustomer } of kinds) {
  const missing = gatewayMissing(name)
  const story = missing === undefined ? test.serial : test.serial.skip
  const title = (text: string) => `${name}: ${text}${missing === undefined ? '' : ` (${missing})`}`
  const open = async (rules = exampleRules(name), env: Record<string, string> = {}, key?: string) => {
    await using started = new AsyncDisposableStack()
    const shop = started.use(await openGatedShop(rules, env))
    const gateway = started.use(await openGateway(name, shop, { files: { 'jwks.json': jwks }, key }))
    const parts = started.move()
    return { shop, ...gateway, [Symbol.asyncDispose]: () => parts.disposeAsync() }
  }

  story(title('who has bought it reaches the application, and others are told why not'), async (t) => {
    await using gateway = await open()
    const { send, reached } = gateway
    const passes = await send('GET', '/v1/reports/42?page=2', as('anna'))
    t.like(passes, { status: 200, body: 'the application' })
    const [seen, ...more] = reached()
    t.like(seen, { method: 'GET', url: '/v1/reports/42?page=2' })
    t.is(seen?.headers['x-tollgate-reason'], 'granted')
    t.regex(String(seen?.headers['x-tollgate-revision']), /^\d+$/)
    t.deepEqual(more, [])
    const refused = await send('GET', '/v1/reports/42', as('bert'))
    t.is(refused.status, 402)
    t.is(refused.headers['content-type'], 'application/problem+json')
    t.like(JSON.parse(refused.body), { type: 'urn:tollgate:denied:not_granted', status: 402, entitlement: 'reports' })
    t.is((await send('GET', '/other', as('anna'))).status, 403)
    t.is((await send('GET', '/v1/reports/42')).status, 401)
    t.deepEqual(reached(), [])
    t.is((await send('GET', '/healthz', needsCustomer ? as('bert') : {})).status, 200)
    t.is(reached().length, 1)
  })

  story(title('uses are counted up to the limit, and bodies reach the application'), async (t) => {
    await using gateway = await open()
    const { send, reached, shop } = gateway
    // A caller that may choose the key of a use has one use for ever.
    const call = () =>
      send('POST', '/v1/calls', { ...as('anna'), 'content-type': 'text/plain', 'x-request-id': '7f0a3c9e-0000-4000-8000-000000000001' }, 'a body')
    for (let left = 4; left >= 0; left -= 1) {
      const { status, headers } = await call()
      t.is(status, 200)
      if (tellsLimits) t.regex(String(headers.ratelimit), new RegExp(`^"api_limit";r=${left};t=\\d+$`))
    }
    t.deepEqual(
      reached().map(({ body }) => body),
      Array.from({ length: 5 }, () => 'a body'),
    )
    const refused = await call()
    t.is(refused.status, 429)
    t.regex(String(refused.headers['retry-after']), /^\d+$/)
    t.is(refused.headers['ratelimit-policy'], '"api_limit";q=5')
    t.like(JSON.parse(refused.body), { reason: 'limit_exceeded', status: 429 })
    t.deepEqual(reached(), [])
    t.is(await shop.used(), 5n)
  })

  story(title('no path, method or header that a caller makes up reaches what it has not bought'), async (t) => {
    // Whatever is not the rules' is open, so that a path passes unless it is read as the application reads it.
    await using gateway = await open(exampleRules(name).replace('default: deny', 'default: allow'))
    const { send, reached } = gateway
    t.is((await send('GET', '/open', as('bert'))).status, 200)
    t.is(reached().length, 1)
    const paths = [
      '//v1/reports/42',
      '/v1//reports/42',
      '/V1/reports/42',
      '/v1/reports/42/',
      '/v1/%72eports/42',
      '/healthz/../v1/reports/42',
      '/healthz/%2e%2e/v1/reports/42',
      '/healthz/..%2fv1/reports/42',
      '/healthz%2f..%2fv1/reports/42',
      '/healthz\\..\\v1\\reports\\42',
      '/healthz;/../v1/reports/42',
      '/healthz%00/../v1/reports/42',
      '/./v1/reports/42',
      '/v1/reports/42;x=/healthz',
      '/v1/reports/42?/healthz',
      'http://api.example.com/v1/reports/42',
    ]
    for (const path of paths) {
      const { status } = await send('GET', path, as('bert'))
      t.true(status >= 400, `${path} was answered with ${status}`)
    }
    t.is((await send('HEAD', '/v1/reports/42', as('bert'))).status, 402)
    const made = { 'x-customer-id': 'anna', 'x-tollgate-reason': 'granted', 'x-tollgate-dry-run': '402' }
    const named = (uri: string) => ({
      ...{ 'x-original-uri': uri, 'x-original-method': 'GET', 'x-forwarded-uri': uri, 'x-forwarded-method': 'GET' },
      ...{ 'x-forwarded-host': 'other', 'x-original-url': uri, 'x-envoy-original-path': uri, 'x-rewrite-url': uri },
    })
    t.is((await send('GET', '/v1/reports/42', { ...as('bert'), ...made, ...named('/healthz') })).status, 402)
    t.deepEqual(reached(), [])
    t.is((await send('GET', '/v1/reports/42', { ...as('anna'), ...made, 'x-tollgate-revision': '999', ...named('/x') })).status, 200)
    const [seen] = reached()
    t.is(seen?.headers['x-tollgate-reason'], 'granted')
    t.is(seen?.headers['x-tollgate-dry-run'], undefined)
    t.not(seen?.headers['x-tollgate-revision'], '999')
  })

  story(title('in a dry run, everything reaches the application, which is told what would have been refused'), async (t) => {
    await using gateway = await open(`dryRun: true\n${exampleRules(name)}`)
    const { send, reached, shop } = gateway
    t.is((await send('GET', '/v1/reports/42', as('bert'))).status, 200)
    t.is((await send('POST', '/v1/calls', as('anna'))).status, 200)
    t.deepEqual(
      reached().map(({ headers }) => [headers['x-tollgate-reason'], headers['x-tollgate-dry-run']]),
      [
        ['not_granted', '402'],
        ['granted', undefined],
      ],
    )
    t.is(await shop.used(), 0n)
  })

  story(title('a sidecar with keys answers the gateway that has one, and the application does not see it'), async (t) => {
    const keys = { SIDECAR_KEYS: JSON.stringify({ 'key-of-the-gateway': ['acme'] }) }
    {
      await using gateway = await open(exampleRules(name), keys, 'key-of-the-gateway')
      t.is((await gateway.send('GET', '/v1/reports/42', as('anna'))).status, 200)
      t.false(JSON.stringify(gateway.reached()).includes('key-of-the-gateway'))
      t.is((await gateway.send('GET', '/v1/reports/42', as('bert'))).status, 402)
    }
    await using gateway = await open(exampleRules(name), keys)
    t.true((await gateway.send('GET', '/v1/reports/42', { ...as('anna'), 'x-tollgate-key': 'key-of-nobody' })).status >= 500)
    t.deepEqual(gateway.reached(), [])
  })

  story(title('without the sidecar, nothing passes'), async (t) => {
    await using gateway = await open()
    await gateway.shop.sidecar.close()
    const { status } = await gateway.send('GET', '/v1/reports/42', as('anna'))
    t.true(status >= 500, String(status))
    t.deepEqual(gateway.reached(), [])
  })
}

const envoyStory = gatewayMissing('envoy') === undefined ? test.serial : test.serial.skip

envoyStory('envoy: a token that it has not verified is no customer', async (t) => {
  await using shop = await openGatedShop(exampleRules('envoy'))
  await using gateway = await openGateway('envoy', shop, { files: { 'jwks.json': jwks } })
  const { privateKey: other } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  t.is((await gateway.send('GET', '/v1/reports/42', { authorization: `Bearer ${tokenOf('anna', other)}` })).status, 401)
  t.is((await gateway.send('GET', '/v1/reports/42', { 'x-customer-id': 'anna' })).status, 401)
  t.deepEqual(gateway.reached(), [])
})
