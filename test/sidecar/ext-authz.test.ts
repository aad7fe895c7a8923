/** Gateways ask a sidecar whether requests may pass: over Envoy's protocol on both transports, and over HTTP. */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { credentials, Metadata, status as Status } from '@grpc/grpc-js'
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { ConfigError } from '../../common/config.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { createLog } from '../../common/log.ts'
import type { CheckResponse, DeniedHttpResponse, OkHttpResponse } from '../../proto/gen/envoy/service/auth/v3/external_auth.ts'
import { AuthorizationClient, type CheckRequest } from '../../proto/gen/envoy/service/auth/v3/external_auth.ts'
import { openRuleFile } from '../../sidecar/ext-authz/rule-file.ts'
import { eventually } from '../support/eventually.ts'
import { openGatedShop } from '../support/gated-shop.ts'
import { losableFeed, openSidecar } from '../support/sidecar.ts'

const rules = `
defaults: { tenant: acme, storefront: us-store, customer: { header: x-customer-id } }
rules:
  - { name: health, match: { path: /healthz }, action: allow }
  - { name: closed, match: { path: "/internal/{rest...}" }, action: deny }
  - { name: reports, match: { method: GET, path: "/v1/reports/{report}" }, action: check, entitlement: reports }
  - { name: features, match: { path: "/features/{feature}" }, action: check, entitlement: { path: feature }, missingStatus: 403 }
  - { name: seats, match: { path: /seats }, action: check, entitlement: seats, amount: { query: n } }
  - { name: token, match: { path: /token }, action: check, customer: { claim: sub }, storefront: { context: storefront }, entitlement: reports }
  - { name: wrong, match: { path: /wrong }, action: consume, entitlement: reports }
  - name: calls
    match: { path: "/v1/calls" }
    action: consume
    entitlement: api_limit
    amount: { header: x-units, default: 1 }
    idempotencyKey: { header: x-request-id }
  - { name: limited, match: { path: /limited }, action: consume, entitlement: api_limit, limitStatus: 429 }
  - { name: trial, match: { path: /trial }, action: consume, entitlement: api_limit, dryRun: true }
`

interface Asked {
  method?: string
  headers?: Record<string, string>
  claims?: object
  context?: Record<string, string>
  key?: string
}

const requestOf = (target: string, { method = 'GET', headers = {}, claims, context = {} }: Asked): CheckRequest => ({
  attributes: {
    request: { http: { id: 'r', method, headers, headerMap: undefined, path: target, host: 'api.example.com:443' } },
    contextExtensions: context,
    metadataContext: claims ? { filterMetadata: { 'envoy.filters.http.jwt_authn': { jwt_payload: claims } } } : undefined,
  },
})

const asker = (address: string) => {
  const client = new AuthorizationClient(address, credentials.createInsecure())
  const send = (request: CheckRequest, key?: string) => {
    const metadata = new Metadata()
    if (key !== undefined) metadata.set('authorization', `Bearer ${key}`)
    return new Promise<CheckResponse>((resolve, reject) => {
      client.check(request, metadata, { deadline: Date.now() + 20_000 }, (error, answer) => (error ? reject(error) : resolve(answer)))
    })
  }
  return { send, ask: (target: string, asked: Asked = {}) => send(requestOf(target, asked), asked.key), close: () => client.close() }
}

const anna = { headers: { 'x-customer-id': 'anna' } }
const bert = { headers: { 'x-customer-id': 'bert' } }

const headersOf = (options: OkHttpResponse['headers']): Record<string, string> =>
  Object.fromEntries(options.map(({ header, appendAction }) => [header?.key, appendAction === 2 ? header?.value : 'appended']))

/** What a response says, in short. */
const said = ({ status, httpResponse }: CheckResponse) => {
  if (httpResponse?.$case === 'okResponse') {
    const ok = httpResponse.value as OkHttpResponse
    return { code: status?.code, upstream: headersOf(ok.headers), removed: ok.headersToRemove, headers: headersOf(ok.responseHeadersToAdd) }
  }
  const denied = httpResponse?.value as DeniedHttpResponse
  return {
    code: status?.code,
    status: denied.status?.code as number,
    headers: headersOf(denied.headers),
    problem: JSON.parse(denied.body) as Record<string, unknown>,
  }
}

for (const transport of ['fast', 'grpc-js']) {
  test.serial(`${transport}: Envoy is told what may pass, what may not and why, as a gate of an application would`, async (t) => {
    await using shop = await openGatedShop(rules, { SIDECAR_TRANSPORT: transport })
    const { ask, close } = asker(shop.sidecar.address)
    const passes = said(await ask('/v1/reports/42', anna))
    t.like(passes, { code: Status.OK, upstream: { 'x-tollgate-reason': 'granted' }, removed: [], headers: {} })
    t.regex(passes.upstream?.['x-tollgate-revision'] ?? '', /^\d+$/)
    t.like(said(await ask('/v1/reports/42', bert)), {
      code: Status.PERMISSION_DENIED,
      status: 402,
      headers: { 'content-type': 'application/problem+json' },
      problem: { type: 'urn:tollgate:denied:not_granted', title: 'not granted', status: 402, entitlement: 'reports', reason: 'not_granted' },
    })
    t.like(said(await ask('/v1/reports/42', { headers: { 'x-customer-id': 'nobody' } })), { status: 402, problem: { reason: 'customer_unknown' } })
    t.like(said(await ask('/v1/reports/42')), { code: Status.UNAUTHENTICATED, status: 401, problem: { reason: 'no_customer', entitlement: 'reports' } })
    t.like(said(await ask('/features/reports')), { code: Status.PERMISSION_DENIED, status: 403, problem: { reason: 'no_customer', status: 403 } })
    t.like(said(await ask('/features/reports', anna)), { code: Status.OK })
    t.like(said(await ask('/features/other', anna)), { status: 402, problem: { entitlement: 'other' } })
    t.like(said(await ask('/healthz')), { code: Status.OK, upstream: { 'x-tollgate-reason': 'allowed' } })
    t.like(said(await ask('/internal/a/b', anna)), { status: 403, problem: { reason: 'denied_by_rule' } })
    t.like(said(await ask('/other', anna)), { status: 403, problem: { reason: 'no_rule' } })
    t.like(said(await ask('/v1/reports/42', { ...anna, method: 'POST' })), { status: 403, problem: { reason: 'no_rule' } })
    t.like(said(await ask('/internal/../v1/reports/42', anna)), { status: 400, problem: { reason: 'ambiguous_path' } })
    t.like(said(await ask('/Healthz', anna)), { status: 400, problem: { reason: 'ambiguous_path' } })
    t.like(said(await ask('/seats?n=2', anna)), { code: Status.OK, headers: {} })
    t.like(said(await ask('/seats?n=3', anna)), { status: 402, problem: { reason: 'limit_exceeded' } })
    for (const query of ['', '?n=-1', '?n=1.5', '?n=1e3', '?n=99999999999999999', '?n=1&n=1'])
      t.like(said(await ask(`/seats${query}`, anna)), { status: 400, problem: { reason: 'invalid_request' } }, query)
    t.like(said(await ask('/v1/reports/42', { headers: { 'x-customer-id': 'a'.repeat(129) } })), { status: 400, problem: { reason: 'invalid_request' } })
    t.like(said(await ask('/wrong', anna)), { status: 500, problem: { reason: 'rule_not_applicable' } })
    close()
    const judged = await shop.judged()
    t.true(judged.includes('{rule="reports",outcome="allowed",dry_run="false"} 1'), judged.join('\n'))
    t.true(judged.includes('{rule="reports",outcome="not_granted",dry_run="false"} 1'))
    t.true(judged.includes('{rule="none",outcome="ambiguous_path",dry_run="false"} 2'))
    t.true(judged.includes('{rule="none",outcome="no_rule",dry_run="false"} 2'))
    t.false(
      judged.some((line) => /anna|bert|42/.test(line.replace(/ \d+$/, ''))),
      'no label names a customer or a path',
    )
  })

  test.serial(`${transport}: uses are counted before a request passes, each once, up to the limit`, async (t) => {
    await using shop = await openGatedShop(rules, { SIDECAR_TRANSPORT: transport })
    const { ask, close } = asker(shop.sidecar.address)
    const call = (id: string, more: Record<string, string> = {}) =>
      ask('/v1/calls', { method: 'POST', headers: { ...anna.headers, 'x-request-id': id, ...more } })
    const first = said(await call('r-1', { 'x-units': '3' }))
    t.like(first, { code: Status.OK, headers: { 'RateLimit-Policy': '"api_limit";q=5' } })
    t.regex(first.headers.RateLimit ?? '', /^"api_limit";r=2;t=\d+$/)
    t.like(said(await call('r-1', { 'x-units': '3' })), { code: Status.OK }, 'a repeat is the same use')
    t.like(said(await call('r-1', { 'x-units': '2' })), { status: 400, problem: { reason: 'invalid_request' } }, 'it cannot be another use')
    t.is(await shop.used(), 3n)
    t.like(said(await call('r-0', { 'x-units': '0' })), { code: Status.OK }, 'nothing is counted, and there is something left')
    t.is(await shop.used(), 3n)
    const beyond = said(await call('r-2', { 'x-units': '3' }))
    t.like(beyond, { status: 402, headers: { 'RateLimit-Policy': '"api_limit";q=5' }, problem: { reason: 'limit_exceeded' } })
    t.regex(String(beyond.problem?.resetsAt), /^\d{4}-/)
    t.false('Retry-After' in beyond.headers)
    t.like(said(await call('r-3', { 'x-units': '2' })), { code: Status.OK })
    const limited = said(await ask('/limited', anna))
    t.like(limited, { status: 429, problem: { reason: 'limit_exceeded', status: 429 } })
    t.is(limited.headers['Retry-After'], /;t=(\d+)$/.exec(limited.headers.RateLimit ?? '')?.[1])
    t.is(await shop.used(), 5n)
    close()
  })

  test.serial(`${transport}: a dry run lets pass, counts no use, and tells the application and the metrics what it would have done`, async (t) => {
    await using shop = await openGatedShop(`dryRun: true\n${rules}`, { SIDECAR_TRANSPORT: transport })
    const { ask, close } = asker(shop.sidecar.address)
    t.like(said(await ask('/trial', anna)), { code: Status.OK, upstream: { 'x-tollgate-reason': 'granted' } })
    const refused = said(await ask('/trial', { headers: { ...bert.headers, 'x-tollgate-dry-run': 'no', 'x-tollgate-value': 'x' } }))
    t.like(refused, {
      code: Status.OK,
      upstream: { 'x-tollgate-reason': 'not_granted', 'x-tollgate-dry-run': '402' },
      removed: ['x-tollgate-value'],
      headers: {},
    })
    for (const target of ['/v1/reports/42', '/other', '/a//b', '/internal/x', '/wrong', '/seats']) t.like(said(await ask(target)), { code: Status.OK }, target)
    t.like(said(await ask('/v1/calls', { headers: { ...anna.headers, 'x-units': '9' } })), { code: Status.OK, upstream: { 'x-tollgate-dry-run': '402' } })
    t.is(await shop.used(), 0n)
    close()
    const judged = await shop.judged()
    t.true(judged.includes('{rule="trial",outcome="allowed",dry_run="true"} 1'), judged.join('\n'))
    t.true(judged.includes('{rule="trial",outcome="not_granted",dry_run="true"} 1'))
    t.true(judged.includes('{rule="none",outcome="ambiguous_path",dry_run="true"} 1'))
  })

  test.serial(`${transport}: a token counts as far as Envoy has verified it`, async (t) => {
    await using shop = await openGatedShop(rules, { SIDECAR_TRANSPORT: transport })
    const { ask, close } = asker(shop.sidecar.address)
    const context = { storefront: 'us-store' }
    t.like(said(await ask('/token', { claims: { sub: 'anna' }, context })), { code: Status.OK })
    t.like(said(await ask('/token', { claims: { sub: 'bert' }, context })), { status: 402 })
    for (const claims of [{}, { sub: '' }, { sub: ['anna'] }, { sub: { toString: 'anna' } }])
      t.like(said(await ask('/token', { claims, context })), { status: 401 })
    t.like(said(await ask('/token', { claims: { sub: 'anna' } })), { status: 401 }, 'no storefront')
    const forged = Buffer.from(JSON.stringify({ sub: 'anna' })).toString('base64url')
    t.like(said(await ask('/token', { headers: { ...anna.headers, authorization: `Bearer e30.${forged}.` }, context })), { status: 401 })
    close()
  })

  test.serial(`${transport}: a gateway has a key of the sidecar, and asks about its own tenants`, async (t) => {
    const keys = { 'key-of-acme-itself': ['acme'], 'key-of-somebody-else': ['globex'] }
    await using shop = await openGatedShop(rules, { SIDECAR_TRANSPORT: transport, SIDECAR_KEYS: JSON.stringify(keys) })
    const { ask, close } = asker(shop.sidecar.address)
    t.like(said(await ask('/v1/reports/42', { ...anna, key: 'key-of-acme-itself' })), { code: Status.OK })
    await t.throwsAsync(ask('/v1/reports/42', { ...anna, key: 'key-of-somebody-else' }), { code: Status.PERMISSION_DENIED } as never)
    await t.throwsAsync(ask('/healthz', { key: 'key-of-nobody-at-all' }), { code: Status.UNAUTHENTICATED } as never)
    await t.throwsAsync(ask('/healthz', {}), { code: Status.UNAUTHENTICATED } as never)
    const http = (key: string) =>
      fetch(`${shop.sidecar.httpUrl}/ext-authz/forward`, { headers: { ...anna.headers, ...forwarded('/v1/reports/42'), 'x-tollgate-key': key } })
    t.is((await http('key-of-acme-itself')).status, 200)
    for (const key of ['key-of-somebody-else', 'key-of-nobody-at-all', '']) t.is((await http(key)).status, 500, 'that is nothing to ask a caller for')
    const own = await fetch(`${shop.sidecar.httpUrl}/ext-authz/forward`, {
      headers: { ...anna.headers, ...forwarded('/v1/reports/42'), authorization: 'Bearer key-of-acme-itself' },
    })
    t.is(own.status, 500, 'authorization is of the request that is judged')
    close()
  })
}

test.serial('headers that Envoy passes on as bytes are read, too', async (t) => {
  await using shop = await openGatedShop(rules)
  const { send, close } = asker(shop.sidecar.address)
  const header = (key: string, text: string) => ({ key, value: '', rawValue: Buffer.from(text) })
  const request = requestOf('/v1/reports/42', {})
  const http = request.attributes?.request?.http
  if (http) http.headerMap = { headers: [header(':path', '/v1/reports/42'), header('x-customer-id', 'anna'), header('x-tollgate-reason', 'granted')] }
  t.like(said(await send(request)), { code: Status.OK })
  if (http) http.headerMap = { headers: [header('x-customer-id', 'anna'), header('x-customer-id', 'bert')] }
  t.like(said(await send(request)), { status: 402, problem: { reason: 'customer_unknown' } }, 'two are neither')
  close()
})

test.serial('if nobody can say, a rule refuses with 503, or lets pass', async (t) => {
  const { feed, lose } = losableFeed(systemClock)
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-rules-'))
  const unsure = `
defaults: { tenant: acme, storefront: us-store, customer: { header: x-customer-id } }
rules:
  - { name: closed, match: { path: /closed }, action: check, entitlement: sso }
  - { name: open, match: { path: /open }, action: check, entitlement: sso, whenUnknown: allow }
`
  writeFileSync(join(folder, 'rules.yaml'), unsure)
  const sidecar = await openSidecar({ EXT_AUTHZ_RULES_FILE: join(folder, 'rules.yaml') }, { feed })
  const { ask, close } = asker(sidecar.address)
  t.like(said(await ask('/open', anna)), { status: 402, problem: { reason: 'customer_unknown' } })
  lose()
  const other = { headers: { 'x-customer-id': 'carl' } }
  t.like(said(await ask('/closed', other)), { status: 503, headers: { 'Retry-After': '1' }, problem: { reason: 'unknown' } })
  t.like(said(await ask('/open', other)), { code: Status.OK, upstream: { 'x-tollgate-reason': 'allowed_unknown' } })
  close()
  await sidecar.close()
})

const forwarded = (uri: string, method = 'GET') => ({ 'x-forwarded-method': method, 'x-forwarded-host': 'api.example.com', 'x-forwarded-uri': uri })
const original = (uri: string, method = 'GET') => ({ 'x-original-method': method, 'x-original-host': 'api.example.com', 'x-original-uri': uri })

test.serial('over HTTP, each gateway is answered by the headers that it sets, in statuses that it knows', async (t) => {
  await using shop = await openGatedShop(rules)
  const at = (form: string, headers: Record<string, string>, more: RequestInit = {}) =>
    fetch(`${shop.sidecar.httpUrl}/ext-authz/${form}`, { ...more, headers: { ...anna.headers, ...headers } })
  const passes = await at('forward', forwarded('/limited', 'POST'))
  t.is(passes.status, 200)
  t.is(passes.headers.get('x-tollgate-reason'), 'granted')
  t.regex(passes.headers.get('ratelimit') ?? '', /^"api_limit";r=4;t=/)
  const refused = await at('forward', { ...forwarded('/v1/reports/1'), ...bert.headers })
  t.is(refused.status, 402)
  t.is(refused.headers.get('content-type'), 'application/problem+json')
  t.like(await refused.json(), { reason: 'not_granted', status: 402 })
  t.is((await at('forward', { ...forwarded('/internal/x'), ...original('/healthz') })).status, 403, "nginx' headers are the caller's at another gateway")
  t.is((await at('nginx', { ...original('/internal/x'), ...forwarded('/healthz') })).status, 403)
  t.is((await at('forward', original('/healthz'))).status, 400, 'without the headers there is no request to judge')
  t.is((await at('nginx', original('/v1/reports/1'))).status, 200)
  const nginx = await at('nginx', { ...original('/features/h%C3%B6flich'), ...bert.headers })
  t.is(nginx.status, 403)
  t.is(nginx.headers.get('x-tollgate-status'), '402')
  t.like(JSON.parse(nginx.headers.get('x-tollgate-problem') ?? ''), { status: 402, entitlement: 'höflich' })
  t.is(await nginx.text(), '')
  t.is((await fetch(`${shop.sidecar.httpUrl}/ext-authz/nginx`, { headers: original('/v1/reports/1') })).status, 401)
  t.is((await at('nginx', original('/a//b'))).status, 403)
  t.is((await at('other', {})).status, 404)
  for (const method of ['HEAD', 'POST', 'DELETE'])
    t.is((await at('forward', { ...forwarded('/healthz'), 'content-type': 'text/plain' }, { method })).status, 200, method)
})

test.serial('without rules there is no such service', async (t) => {
  const sidecar = await openSidecar({}, { feed: createInProcessFeed({ clock: systemClock }) })
  const { ask, close } = asker(sidecar.address)
  await t.throwsAsync(ask('/'), { code: Status.UNIMPLEMENTED } as never)
  t.is((await fetch(`${sidecar.httpUrl}/ext-authz/forward`, { headers: forwarded('/') })).status, 404)
  close()
  await sidecar.close()
})

test.serial('threads that share the port judge alike, and are counted together', async (t) => {
  await using shop = await openGatedShop(rules, { SIDECAR_WORKERS: '2' })
  const asked = 12
  for (let n = 0; n < asked; n += 1) {
    // A connection each, so that both threads get some.
    const { ask, close } = asker(shop.sidecar.address)
    t.like(said(await ask('/v1/reports/42', n % 2 === 0 ? anna : bert)), n % 2 === 0 ? { code: Status.OK } : { status: 402 })
    close()
  }
  await eventually(async () => {
    const judged = await shop.judged()
    return (
      judged.includes(`{rule="reports",outcome="allowed",dry_run="false"} ${asked / 2}`) &&
      judged.includes(`{rule="reports",outcome="not_granted",dry_run="false"} ${asked / 2}`)
    )
  })
  t.pass()
})

test.serial('a file of rules is read again when it changes, and a mistake changes nothing', async (t) => {
  const file = join(mkdtempSync(join(tmpdir(), 'tollgate-rules-')), 'rules.yaml')
  const write = (name: string) => writeFileSync(file, `rules: [{name: ${name}, action: allow}]`)
  write('one')
  const lines: string[] = []
  const log = createLog('info')
  log.error = ((_: unknown, what: string) => lines.push(what)) as never
  log.info = ((_: unknown, what: string) => lines.push(what)) as never
  const read = openRuleFile(file, log, 20)
  const name = () => read.current().rules[0]?.name
  t.is(name(), 'one')
  write('two')
  await eventually(async () => name() === 'two')
  write('WRONG')
  await eventually(async () => lines.length === 2)
  t.is(name(), 'two')
  write('three')
  await eventually(async () => name() === 'three')
  read.stop()
  t.deepEqual(lines, [
    'gateways: new rules were loaded',
    'gateways: the file of rules cannot be used; the previous rules stay in use',
    'gateways: new rules were loaded',
  ])
  await t.throwsAsync(openSidecar({ EXT_AUTHZ_RULES_FILE: join(file, 'none') }), {
    instanceOf: ConfigError,
    message: /^EXT_AUTHZ_RULES_FILE: the file cannot be read/,
  })
})
