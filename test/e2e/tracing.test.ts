/** Traces: one from a request to the sidecar that answers by it, with nothing of the customer in it; and none that anybody pays for. */
import { randomBytes } from 'node:crypto'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Metadata } from '@grpc/grpc-js'
import test from 'ava'
import { startCollector } from '../support/collector.ts'
import { eventually } from '../support/eventually.ts'
import { grpcClient } from '../support/grpc-client.ts'
import { httpClient } from '../support/http-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { tenantDocument } from '../support/platform-model.ts'
import { openShop } from '../support/shop.ts'
import { embedded, startProcess } from '../support/tollgate.ts'

const collector = await startCollector()
test.after.always(() => collector.close())
// The simulator of a world is given what the test itself was given.
Object.assign(process.env, collector.env)

/** The traces that callers have sent. */
const sent = new Set<string>()

/** A caller's own trace. */
const newTrace = () => {
  const [traceId, spanId] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')]
  sent.add(traceId)
  return { traceId, spanId, traceparent: `00-${traceId}-${spanId}-01` }
}

const anyPorts = async () => ({ HTTP_PORT: '0', GRPC_PORT: '0', DATA_DIR: await mkdtemp(join(tmpdir(), 'tollgate-')) })

inWorlds(test, (story, world) => {
  const apart = world !== embedded

  story('one trace leads from a subscribe over storage, provider and feed to the sidecar that applies the set', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const customerId = 'anna-of-the-traces'
    const question = { tenantId: shop.tenantId, storefrontId: shop.storefrontId, customerId, entitlement: 'analytics_dashboard' }
    // From here on the sidecar follows her.
    t.false((await grpc.check(question)).allowed)

    const { traceId, spanId, traceparent } = newTrace()
    const subscription = { customerId, bundleId: 'pro-plan', storefrontId: shop.storefrontId, paymentMethod: 'pm_card' }
    const answer = await shop.api.post('/subscriptions', subscription, { traceparent })
    t.is(answer.status, 201)
    t.true((await grpc.check({ ...question, minRevision: answer.body.entitlementRevision })).allowed)

    const spans = await collector.trace(traceId, (all) => ['apply entitlement set', 'POST /v1/subscriptions'].every((name) => all.some((s) => s.name === name)))
    const one = (name: string, service: string) => {
      const found = spans.find((span) => span.name === name && span.service === service)
      t.truthy(found, `${name} of ${service} is not among ${spans.map((span) => `${span.service}: ${span.name}`).join(', ')}`)
      return found
    }
    const [plane, sidecar] = apart ? ['tollgate-control-plane', 'tollgate-sidecar'] : ['tollgate', 'tollgate']
    const request = one('POST /v1/subscriptions', plane)
    t.is(request?.parentSpanId, spanId, 'the caller’s span is the parent')
    t.like(request, { kind: 'server', attributes: { 'http.route': '/v1/subscriptions', 'http.response.status_code': 201, 'tollgate.tenant': shop.tenantId } })
    t.like(one('insert subscriptions', plane), { kind: 'client', attributes: { 'db.collection.name': 'subscriptions', 'db.operation.name': 'insert' } })
    const charge = one('psp charge', plane)
    t.like(charge, { kind: 'client', attributes: { 'tollgate.psp.provider': 'simulator', 'tollgate.psp.outcome': 'succeeded' } })
    const call = spans.find((span) => span.parentSpanId === charge?.spanId)
    t.like(call, { kind: 'client', name: 'POST', attributes: { 'http.response.status_code': 200 } })
    const simulated = one('POST /v1/accounts/:tenant/:account/charges', 'tollgate-psp-simulator')
    t.is(simulated?.parentSpanId, call?.spanId)
    t.is(simulated?.kind, 'server')
    const published = one('publish entitlement set', plane)
    t.like(published, {
      kind: 'producer',
      attributes: { 'messaging.system': apart ? 'nats' : 'in_process', 'tollgate.revision': answer.body.entitlementRevision },
    })
    const applied = one('apply entitlement set', sidecar)
    t.is(applied?.parentSpanId, published?.spanId)
    t.is(applied?.attributes['tollgate.revision'], answer.body.entitlementRevision)
  })

  story('a sidecar traces the calls of callers who send a trace, and no others', async ({ t, tollgate, grpc }) => {
    const { tenantId, storefrontId, subscribe } = await openShop(t, tollgate)
    await subscribe('held')
    const question = { tenantId, storefrontId, customerId: 'held', entitlement: 'analytics_dashboard', amount: 0n, minRevision: 0n }
    await grpc.check({ tenantId, storefrontId, customerId: 'held', entitlement: 'analytics_dashboard' })
    const { traceId, spanId, traceparent } = newTrace()
    const metadata = new Metadata()
    metadata.set('traceparent', traceparent)
    const ask = () =>
      new Promise<boolean>((resolve, reject) =>
        grpc.raw.checkEntitlement(question, metadata, (error, answer) => (error ? reject(error) : resolve(answer.allowed))),
      )
    t.true(await ask())
    await new Promise<void>((resolve, reject) =>
      grpc.raw.listEntitlements({ tenantId, storefrontId, customerId: 'held', minRevision: 0n }, metadata, (error) => (error ? reject(error) : resolve())),
    )
    const spans = await collector.trace(traceId, (all) => all.length >= 2)
    t.deepEqual(spans.map(({ name }) => name).toSorted(), [
      'entitlement.v1.EntitlementService/CheckEntitlement',
      'entitlement.v1.EntitlementService/ListEntitlements',
    ])
    for (const span of spans) t.like(span, { kind: 'server', parentSpanId: spanId, attributes: { 'rpc.response.status_code': 'OK' } })
    const calls = collector.spans().filter(({ name }) => name.startsWith('entitlement.v1'))
    t.true(calls.every((call) => sent.has(call.traceId)))
  })

  story('no span names a customer, an email address, a payment method or a key', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const customerId = 'bertha-of-the-traces'
    const { traceId, traceparent } = newTrace()
    const made = await shop.api.post('/customers', { id: customerId, storefrontId: shop.storefrontId, email: 'bertha@traces.example' }, { traceparent })
    t.is(made.status, 201, JSON.stringify(made.body))
    await shop.api.get(`/customers?email=bertha@traces.example`, { traceparent })
    await shop.api.get(`/storefronts/${shop.storefrontId}/customers/${customerId}`, { traceparent })
    await shop.subscribe(customerId)
    await grpc.check({ tenantId: shop.tenantId, storefrontId: shop.storefrontId, customerId, entitlement: 'analytics_dashboard' })
    await collector.trace(traceId, (all) => all.filter(({ kind }) => kind === 'server').length >= 3)
    const text = Buffer.concat(collector.bodies).toString()
    for (const secret of [customerId, 'anna-of-the-traces', 'traces.example', 'pm_card', shop.apiKey, Buffer.from(customerId).toString('base64url')])
      t.false(text.includes(secret), `${secret} is in a span`)
  })

  story('the work of a worker is a trace of its own', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    await shop.subscribe('carla')
    t.is((await shop.api.post('/usage', { storefrontId: shop.storefrontId, customerId: 'carla', entitlement: 'api_limit', amount: 1 })).status, 201)
    await eventually(async () => collector.spans().some(({ name }) => name === 'work repair usageCounters'))
    const work = collector.spans().find(({ name }) => name === 'work repair usageCounters')
    t.is(work?.parentSpanId, undefined)
    t.true((await collector.trace(work?.traceId ?? '', (all) => all.length > 1)).some(({ name }) => name === 'replace usageCounters'))
  })
})

test('the transport of grpc-js traces as well', async (t) => {
  const tollgate = await embedded.start({ SIDECAR_TRANSPORT: 'grpc-js' })
  t.teardown(tollgate.close)
  const grpc = grpcClient(tollgate.grpc)
  t.teardown(grpc.close)
  const { traceId, traceparent } = newTrace()
  const metadata = new Metadata()
  metadata.set('traceparent', traceparent)
  const question = { tenantId: 'none', storefrontId: 'none', customerId: 'none', entitlement: 'none', amount: 0n, minRevision: 0n }
  await new Promise<void>((resolve) => grpc.raw.checkEntitlement(question, metadata, () => resolve()))
  const spans = await collector.trace(traceId, (all) => all.some(({ kind }) => kind === 'server'))
  t.true(spans.some(({ name }) => name === 'entitlement.v1.EntitlementService/CheckEntitlement'))
})

test('log lines within a trace name it', async (t) => {
  // Nobody listens there, so the time of the simulator cannot be read.
  const started = await startProcess('all-in-one/main.ts', {
    ...(await anyPorts()),
    LOG_LEVEL: 'warn',
    SIMULATOR_URL: 'http://127.0.0.1:2',
    PLATFORM_API_KEY: 'platform-key-of-the-tests-0123456789',
  })
  t.teardown(() => started.stop('SIGKILL'))
  const base = started.ready.split(' ')[0] ?? ''
  const { body } = await httpClient(base).post('/tenants', { ...tenantDocument, id: 'logged', mode: 'sandbox' })
  const { traceId, traceparent } = newTrace()
  const clock = httpClient(base, { key: body.apiKey })
  t.is((await clock.put('/test-clock', { now: '2024-03-15T00:00:00Z' })).status, 200)
  t.is((await clock.put('/test-clock', { now: '2024-03-16T00:00:00Z' }, { traceparent })).status, 200)
  const lines = started
    .stderr()
    .split('\n')
    .filter((line) => line.includes("simulator's time"))
  t.true(lines.length > 0)
  t.true(
    lines.every((line) => JSON.parse(line).traceId === traceId),
    lines.join('\n'),
  )
})

/** Tells on standard error of what is imported of OpenTelemetry, but for its API, a few types, which prom-client imports as well. */
const telling = `import { registerHooks } from 'node:module'; registerHooks({ resolve: (specifier, context, next) => { if (/open-telemetry|opentelemetry.(?!api)/.test(specifier)) process.stderr.write('imported ' + specifier + '\\n'); return next(specifier, context) } })`

test('without OTEL_EXPORTER_OTLP_ENDPOINT nothing of OpenTelemetry is loaded', async (t) => {
  const importedWith = async (endpoint: string) => {
    const env = { ...(await anyPorts()), OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(telling)}` }
    const started = await startProcess('all-in-one/main.ts', env)
    await fetch(`${started.ready.split(' ')[0]}/v1/tenants`)
    t.is(await started.stop(), 0)
    return started.stderr().includes('imported ')
  }
  t.true(await importedWith(collector.env.OTEL_EXPORTER_OTLP_ENDPOINT ?? ''), 'the hook works')
  t.false(await importedWith(''))
})

test('OTLP over HTTP is protobuf unless OTEL_EXPORTER_OTLP_PROTOCOL says otherwise, and what is left is exported at the end', async (t) => {
  const own = await startCollector()
  t.teardown(own.close)
  const env = { ...own.env, OTEL_EXPORTER_OTLP_PROTOCOL: '', OTEL_BSP_SCHEDULE_DELAY: '60000', OTEL_SERVICE_NAME: 'billing-of-ours' }
  const started = await startProcess('all-in-one/main.ts', { ...(await anyPorts()), ...env })
  await fetch(`${started.ready.split(' ')[0]}/v1/tenants`)
  t.is(own.bodies.length, 0)
  t.is(await started.stop(), 0)
  t.deepEqual([...own.contentTypes], ['application/x-protobuf'])
  const text = Buffer.concat(own.bodies).toString('latin1')
  t.true(text.includes('GET /v1/tenants'))
  t.true(text.includes('billing-of-ours'))
})

for (const [what, endpoint] of [
  ['is away', async () => 'http://127.0.0.1:2'],
  [
    'never answers',
    async (t: { teardown(close: () => void): void }) => {
      const silent = await startCollector({ answers: false })
      t.teardown(silent.close)
      return silent.env.OTEL_EXPORTER_OTLP_ENDPOINT ?? ''
    },
  ],
] as const) {
  test(`a collector that ${what} neither slows nor ends anything, and is told of once`, async (t) => {
    const env = {
      ...(await anyPorts()),
      LOG_LEVEL: 'warn',
      OTEL_EXPORTER_OTLP_ENDPOINT: await endpoint(t),
      OTEL_BSP_SCHEDULE_DELAY: '50',
      OTEL_BSP_MAX_QUEUE_SIZE: '64',
      OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '16',
      OTEL_BSP_EXPORT_TIMEOUT: '500',
      OTEL_EXPORTER_OTLP_TIMEOUT: '500',
    }
    const started = await startProcess('all-in-one/main.ts', env)
    const base = started.ready.split(' ')[0]
    const begunMs = performance.now()
    for (let n = 0; n < 300; n += 1) t.is((await fetch(`${base}/v1/tenants`)).status, 401)
    t.true(performance.now() - begunMs < 10_000)
    await eventually(async () => started.stderr().includes('spans may be missing'))
    const stopMs = performance.now()
    t.is(await started.stop(), 0)
    t.true(performance.now() - stopMs < 5_000)
    t.is(started.stderr().split('spans may be missing').length, 2, started.stderr())
  })
}
