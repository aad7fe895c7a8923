/** What a sidecar speaks besides its own protocol, and what it tells of itself. */
import { mkdtempSync, readFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { credentials, Metadata, status as Status } from '@grpc/grpc-js'
import { FlagdProvider } from '@openfeature/flagd-provider'
import { OFREPProvider } from '@openfeature/ofrep-provider'
import { OpenFeature } from '@openfeature/server-sdk'
import test from 'ava'
import { replay } from '../../cli/replay-decisions.ts'
import { systemClock } from '../../common/clock.ts'
import type { Grant } from '../../common/entitlements/model.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { createLog } from '../../common/log.ts'
import { Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { ServiceClient as V1Client } from '../../proto/gen/flagd/evaluation/v1/evaluation.ts'
import { eventually } from '../support/eventually.ts'
import { openSidecar, setOf } from '../support/sidecar.ts'

const FLAGS = { FLAG_TENANT: 'acme', FLAG_STOREFRONT: 'us' }
const filled = async () => {
  const feed = createInProcessFeed({ clock: systemClock })
  await feed.putSet(setOf('anna'))
  await feed.putSet(setOf('bert', 1, { grants: [{ ...setOf('').grants[0], terms: { kind: 'flag', enabled: false } } as never], usage: [] }))
  return feed
}

for (const transport of ['fast', 'grpc-js']) {
  test.serial(`${transport}: the real flagd provider of OpenFeature reads entitlements as flags, each customer its own`, async (t) => {
    const feed = await filled()
    const sidecar = await openSidecar({ ...FLAGS, SIDECAR_TRANSPORT: transport }, { feed })
    const [host = '', port] = sidecar.address.split(':')
    const provider = new FlagdProvider({ host, port: Number(port), cache: 'lru', deadlineMs: 5_000 })
    await OpenFeature.setProviderAndWait(`flagd-${transport}`, provider)
    const client = OpenFeature.getClient(`flagd-${transport}`)
    const [anna, bert, nobody] = ['anna', 'bert', 'nobody'].map((targetingKey) => ({ targetingKey }))
    for (let round = 0; round < 3; round += 1) {
      // Asked in turn: what one is told must never be kept for the other.
      t.true(await client.getBooleanValue('sso', false, anna))
      t.false(await client.getBooleanValue('sso', true, bert))
      t.true(await client.getBooleanValue('sso', true, nobody), 'nobody is known by that name: the default counts')
      t.false(await client.getBooleanValue('sso', false, nobody))
    }
    t.like(await client.getBooleanDetails('sso', false, anna), {
      reason: 'TARGETING_MATCH',
      variant: 'granted',
      flagMetadata: { bundleId: 'pro', allowed: true },
    })
    t.is(await client.getNumberValue('seats', 0, anna), 5)
    t.is(await client.getStringValue('hours', '', anna), '24/7')
    t.is(await client.getStringValue('hours', 'none', bert), 'none', 'a value that is not held')
    t.like(await client.getObjectValue('calls', {}, anna), { allowed: true, kind: 'quota', limit: 1000, used: 7, remaining: 993 })
    t.like(await client.getNumberDetails('hours', 3, anna), { value: 3, errorCode: 'TYPE_MISMATCH' })
    // Something changes: the provider says so, and asks again.
    const changed = new Promise<string[]>((resolve) =>
      client.addHandler('PROVIDER_CONFIGURATION_CHANGED' as never, (event) => resolve((event as { flagsChanged: string[] }).flagsChanged)),
    )
    await feed.putSet(setOf('anna', 2, { grants: setOf('').grants.slice(1) }))
    t.false(await client.getBooleanValue('sso', true, anna))
    t.true((await changed).includes('seats'))
    await OpenFeature.clearProviders()
    await sidecar.close()
  })
}

test.serial('flagd v1 answers alike, and ResolveAll in both', async (t) => {
  const sidecar = await openSidecar(FLAGS, { feed: await filled() })
  const v1 = new V1Client(sidecar.address, credentials.createInsecure())
  const boolean = await new Promise<object>((resolve, reject) =>
    v1.resolveBoolean({ flagKey: 'sso', context: { targetingKey: 'anna' } }, (error, answer) => (error ? reject(error) : resolve(answer))),
  )
  t.like(boolean, { value: true, reason: 'TARGETING_MATCH', variant: 'granted' })
  const unknown = await new Promise<object>((resolve, reject) =>
    v1.resolveString({ flagKey: 'hours', context: { targetingKey: 'nobody' } }, (error, answer) => (error ? reject(error) : resolve(answer))),
  )
  t.like(unknown, { value: '', reason: 'DEFAULT', variant: '' })
  const { flags } = await new Promise<{ flags: Record<string, { value?: { value: unknown } }> }>((resolve, reject) =>
    v1.resolveAll({ context: { targetingKey: 'anna' } }, (error, answer) => (error ? reject(error) : resolve(answer as never))),
  )
  t.deepEqual(Object.fromEntries(Object.entries(flags).map(([key, { value }]) => [key, value?.value])), { sso: true, seats: 5, hours: '24/7', calls: 1000 })
  const refused = await new Promise<{ code: number; details: string } | null>((resolve) =>
    v1.resolveBoolean({ flagKey: 'sso', context: {} }, (error) => resolve(error as never)),
  )
  t.is(refused?.code, Status.INVALID_ARGUMENT)
  t.regex(refused?.details ?? '', /targetingKey/)
  v1.close()
  await sidecar.close()
})

test.serial('what is denied by hand is a flag that is off, a limit of 0 and no value; metrics and the decision log say why', async (t) => {
  const { grants, usage } = setOf('')
  const denials = grants.map(({ key, terms }): Grant => {
    const source = { type: 'manual' as const, id: 'grt' }
    const decoy = terms.kind === 'capacity' ? (grants[3] as Grant).terms : ({ kind: 'capacity', limit: 0 } as const)
    return { key, subscriptionId: '', bundleId: '', source, mode: 'deny', deniedKind: terms.kind, fromMs: 0, inactive: false, terms: decoy }
  })
  const feed = createInProcessFeed({ clock: systemClock })
  await feed.putSet(setOf('anna', 1, { grants: grants.flatMap((grant, n) => [grant, denials[n] as Grant]), usage }))
  const log = join(mkdtempSync(join(tmpdir(), 'tollgate-log-')), 'decisions.jsonl')
  const sidecar = await openSidecar({ ...FLAGS, DECISION_LOG: log, DECISION_LOG_SHARE: '1' }, { feed })
  const provider = new OFREPProvider({ baseUrl: sidecar.httpUrl ?? '' })
  await OpenFeature.setProviderAndWait('denied', provider)
  const client = OpenFeature.getClient('denied')
  const anna = { targetingKey: 'anna' }
  t.like(await client.getBooleanDetails('sso', true, anna), { value: false, reason: 'TARGETING_MATCH', variant: 'blocked' })
  t.is(await client.getNumberValue('seats', 9, anna), 0)
  t.is(await client.getNumberValue('calls', 9, anna), 0)
  t.is(await client.getStringValue('hours', 'none', anna), 'none')
  // Twice: the second time from bytes to bytes.
  for (let n = 0; n < 2; n += 1)
    for (const { key } of grants) t.like(await sidecar.check('anna', key), { allowed: false, reason: Reason.REASON_BLOCKED, subscriptionId: '', bundleId: '' })
  const metrics = await (await fetch(`${sidecar.httpUrl}/metrics`)).text()
  t.regex(metrics, /tollgate_decisions_total\{method="CheckEntitlement",reason="blocked"\} 8/)
  await sidecar.close()
  const lines = readFileSync(log, 'utf8').trim().split('\n')
  t.is(lines.filter((line) => JSON.parse(line).decision.reason === 'blocked').length, 12)
  t.like(replay(lines), { same: 12, different: [] })
  await OpenFeature.clearProviders()
})

test.serial('OFREP: the real provider reads flags over HTTP; bulk answers have an ETag', async (t) => {
  const sidecar = await openSidecar(FLAGS, { feed: await filled() })
  await OpenFeature.setProviderAndWait('ofrep', new OFREPProvider({ baseUrl: sidecar.httpUrl ?? '' }))
  const client = OpenFeature.getClient('ofrep')
  t.true(await client.getBooleanValue('sso', false, { targetingKey: 'anna' }))
  t.is(await client.getNumberValue('seats', 0, { targetingKey: 'anna' }), 5)
  t.is(await client.getStringValue('hours', '', { targetingKey: 'anna' }), '24/7')
  t.false(await client.getBooleanValue('sso', true, { targetingKey: 'bert' }))
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    fetch(`${sidecar.httpUrl}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  const context = { targetingKey: 'anna' }
  const bulk = await post('/ofrep/v1/evaluate/flags', { context })
  const etag = bulk.headers.get('etag') ?? ''
  t.truthy(etag)
  t.deepEqual(
    ((await bulk.json()) as { flags: { key: string; value: unknown }[] }).flags.map(({ key, value }) => [key, value]),
    [
      ['sso', true],
      ['seats', 5],
      ['hours', '24/7'],
      ['calls', 1000],
    ],
  )
  const again = await post('/ofrep/v1/evaluate/flags', { context }, { 'if-none-match': etag })
  t.is(again.status, 304)
  t.is(await again.text(), '')
  t.is((await post('/ofrep/v1/evaluate/flags', { context: { targetingKey: 'bert' } }, { 'if-none-match': etag })).status, 200)
  const missing = await post('/ofrep/v1/evaluate/flags/sso', { context: {} })
  t.is(missing.status, 400)
  t.like(await missing.json(), { key: 'sso', errorCode: 'TARGETING_KEY_MISSING' })
  t.like(await (await post('/ofrep/v1/evaluate/flags/sso', { context: { targetingKey: 7 } })).json(), { errorCode: 'INVALID_CONTEXT' })
  t.like(await (await post('/ofrep/v1/evaluate/flags/sso', '{')).json(), { errorCode: 'PARSE_ERROR' })
  t.is((await fetch(`${sidecar.httpUrl}/ofrep/v1/evaluate/flags/sso`)).status, 405)
  const untyped = await fetch(`${sidecar.httpUrl}/ofrep/v1/evaluate/flags/sso`, { method: 'POST', body: JSON.stringify({ context }) })
  t.like({ status: untyped.status, ...((await untyped.json()) as object) }, { status: 415, errorDetails: 'content-type must be application/json' })
  // What probes and proxies send along is no body; and a path that is no text is the key as it came.
  for (const path of ['/healthz', '/readyz', '/metrics']) {
    const status = await new Promise((resolve) =>
      request(`${sidecar.httpUrl}${path}`, { headers: { 'content-length': '0' } }, (answer) => resolve(answer.resume().statusCode)).end(),
    )
    t.is(status, 200, path)
  }
  t.like(await (await post('/ofrep/v1/evaluate/flags/%E0%A4%A', { context })).json(), { key: '%E0%A4%A' })
  await OpenFeature.clearProviders()
  await sidecar.close()
})

for (const transport of ['fast', 'grpc-js']) {
  test(`${transport}: with keys, a caller can only ask about its own tenants, whatever it asks by`, async (t) => {
    const feed = createInProcessFeed({ clock: systemClock })
    for (const tenantId of ['acme', 'globex', 'other']) await feed.putSet(setOf('anna', 1, { tenantId }))
    const keys = { 'key-of-acme-and-globex': ['acme', 'globex'], 'key-of-everybody': ['*'] }
    const sidecar = await openSidecar({ ...FLAGS, SIDECAR_KEYS: JSON.stringify(keys), SIDECAR_TRANSPORT: transport }, { feed })
    const codeOf = async (settings: object) => {
      try {
        return (await sidecar.check('anna', 'sso', settings)).allowed
      } catch (error) {
        return (error as { code: number }).code
      }
    }
    for (let round = 0; round < 2; round += 1) {
      t.is(await codeOf({ key: 'key-of-acme-and-globex' }), true)
      t.is(await codeOf({ key: 'key-of-acme-and-globex', tenant: 'globex' }), true)
      t.is(await codeOf({ key: 'key-of-acme-and-globex', tenant: 'other' }), Status.PERMISSION_DENIED)
      t.is(await codeOf({ key: 'key-of-everybody', tenant: 'other' }), true)
      t.is(await codeOf({}), Status.UNAUTHENTICATED)
      t.is(await codeOf({ key: 'key-of-nobody-at-all' }), Status.UNAUTHENTICATED)
    }
    const metadata = new Metadata()
    metadata.set('authorization', 'Bearer key-of-acme-and-globex')
    const customer = { tenantId: 'other', storefrontId: 'us', customerId: 'anna', minRevision: 0n }
    const codes = await Promise.all([
      new Promise((resolve) => sidecar.client.listEntitlements(customer, metadata, (error) => resolve(error?.code))),
      new Promise((resolve) =>
        sidecar.client.batchCheckEntitlements(
          {
            checks: [
              { ...customer, tenantId: 'acme', entitlement: 'sso', amount: 0n },
              { ...customer, entitlement: 'sso', amount: 0n },
            ],
          },
          metadata,
          (error) => resolve(error?.code),
        ),
      ),
      new Promise((resolve) =>
        sidecar.client
          .watchEntitlements(customer, metadata)
          .on('error', (error: Error & { code?: number }) => resolve(error.code))
          .resume(),
      ),
    ])
    t.deepEqual(codes, [Status.PERMISSION_DENIED, Status.PERMISSION_DENIED, Status.PERMISSION_DENIED])
    const flag = await fetch(`${sidecar.httpUrl}/ofrep/v1/evaluate/flags/sso`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: 'Bearer key-of-acme-and-globex' },
      body: JSON.stringify({ context: { targetingKey: 'anna', tenantId: 'other' } }),
    })
    t.is(flag.status, 403)
    await sidecar.close()
  })
}

test('a decision log in a folder that is not there is told of at the start', async (t) => {
  await t.throwsAsync(openSidecar({ DECISION_LOG: '/nowhere at all/decisions.jsonl' }), { message: 'DECISION_LOG: there is no folder /nowhere at all' })
})

test('metrics tell of decisions, of the cache and of the feed', async (t) => {
  const sidecar = await openSidecar(FLAGS, { feed: await filled() })
  for (let n = 0; n < 5; n += 1) await sidecar.check('anna', 'sso')
  await sidecar.check('bert', 'sso')
  await sidecar.check('nobody', 'sso')
  const text = await (await fetch(`${sidecar.httpUrl}/metrics`)).text()
  const value = (name: string) => Number(new RegExp(`^${name.replace(/[{}"]/g, '\\$&')} (.*)$`, 'm').exec(text)?.[1])
  t.is(value('tollgate_decisions_total{method="CheckEntitlement",reason="granted"}'), 5)
  t.is(value('tollgate_decisions_total{method="CheckEntitlement",reason="disabled"}'), 1)
  t.is(value('tollgate_decisions_total{method="CheckEntitlement",reason="customer_unknown"}'), 1)
  t.is(value('tollgate_answer_seconds_count{method="/entitlement.v1.EntitlementService/CheckEntitlement"}'), 7)
  t.is(value('tollgate_cache_hits_total'), 4)
  t.is(value('tollgate_cache_misses_total'), 3)
  t.is(value('tollgate_cache_sets'), 2)
  t.is(value('tollgate_ready'), 1)
  t.is(value('tollgate_feed_live'), 1)
  t.true(value('tollgate_connections{thread="0"}') >= 1)
  for (const name of [
    'tollgate_cache_bytes',
    'tollgate_cache_max_bytes',
    'tollgate_cache_evictions_total',
    'tollgate_feed_reconnects_total',
    'tollgate_feed_lag_seconds',
    'process_resident_memory_bytes',
  ]) {
    t.true(value(name) >= 0, name)
  }
  t.notRegex(text, /anna/)
  t.is((await fetch(`${sidecar.httpUrl}/readyz`)).status, 200)
  t.is((await fetch(`${sidecar.httpUrl}/healthz`)).status, 200)
  await sidecar.close()
})

test('a decision log holds what each answer was made from: replayed, it says the same', async (t) => {
  const path = join(mkdtempSync(join(tmpdir(), 'tollgate-decisions-')), 'decisions.jsonl')
  const sidecar = await openSidecar({ DECISION_LOG: path }, { feed: await filled() })
  for (const customer of ['anna', 'bert', 'nobody'])
    for (const key of ['sso', 'seats', 'hours', 'calls', 'else']) await sidecar.check(customer, key, { amount: 6n })
  await sidecar.close()
  const lines = readFileSync(path, 'utf8').trim().split('\n')
  t.is(lines.length, 15)
  t.like(JSON.parse(lines[3] as string), {
    customerId: 'anna',
    entitlement: 'calls',
    amount: 6,
    decision: { allowed: true, remaining: 993 },
    revision: 1,
    stale: false,
  })
  t.deepEqual(replay(lines), { same: 15, different: [] })
  const changed = (lines[3] as string).replace('"used":7,', '"used":999,')
  t.is(replay([changed]).different.length, 1)
})

test('sampling takes evenly: a tenth of decisions is a tenth', async (t) => {
  const path = join(mkdtempSync(join(tmpdir(), 'tollgate-decisions-')), 'decisions.jsonl')
  const sidecar = await openSidecar({ DECISION_LOG: path, DECISION_LOG_SHARE: '0.1' }, { feed: await filled() })
  for (let n = 0; n < 100; n += 1) await sidecar.check('anna', 'sso')
  await sidecar.close()
  await eventually(() => readFileSync(path, 'utf8').trim().split('\n').length === 10)
  t.pass()
})

test('of denials every other one is logged, with the trace that it came in; what is allowed is not', async (t) => {
  const lines: Record<string, unknown>[] = []
  const log = {
    ...createLog('silent'),
    info: (fields: Record<string, unknown>, text: string) => lines.push({ ...fields, text }),
    warn: () => undefined,
    error: () => undefined,
    debug: () => undefined,
  }
  const sidecar = await openSidecar({ DENIALS_SHARE: '0.5' }, { feed: await filled(), log: log as never })
  for (let n = 0; n < 10; n += 1) {
    await sidecar.check('anna', 'sso')
    await sidecar.check('bert', 'sso')
  }
  const denied = lines.filter(({ text }) => text === 'denied')
  t.is(denied.length, 5)
  t.like(denied[0], { tenantId: 'acme', customerId: 'bert', entitlement: 'sso', reason: 'disabled', revision: 1 })
  const metadata = new Metadata()
  metadata.set('traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01')
  const request = { tenantId: 'acme', storefrontId: 'us', customerId: 'bert', entitlement: 'nothing', amount: 0n, minRevision: 0n }
  for (let n = 0; n < 2; n += 1) await new Promise((resolve) => sidecar.client.batchCheckEntitlements({ checks: [request] }, metadata, resolve))
  t.regex(String(lines.findLast(({ text }) => text === 'denied')?.traceparent), /0af7651916cd43dd8448eb211c80319c/)
  await sidecar.close()
})
