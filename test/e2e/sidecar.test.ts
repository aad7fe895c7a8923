/** The sidecar as its callers meet it: answers, errors, streams, health, and what it does without the others. */
import { createFileRegistry, fromBinary } from '@bufbuild/protobuf'
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'
import { type ClientReadableStream, credentials, loadPackageDefinition, status as Status } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import test from 'ava'
import { protoPath as healthProtoPath } from 'grpc-health-check'
import { type ExplainEntitlementResponse, Kind, Reason, type WatchEntitlementsResponse } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { codeOf, grpcClient } from '../support/grpc-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'
import { runCommand, worlds } from '../support/tollgate.ts'

inWorlds(test, (story) => {
  story('a bad request names its field; a decision is never an error', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const good = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'nobody', entitlement: 'analytics_dashboard' }
    t.is((await grpc.check(good)).reason, Reason.REASON_CUSTOMER_UNKNOWN)
    const bad: [change: object, field: string][] = [
      [{ tenantId: '' }, 'tenant_id'],
      [{ storefrontId: '' }, 'storefront_id'],
      [{ customerId: '' }, 'customer_id'],
      [{ customerId: 'x'.repeat(129) }, 'customer_id'],
      [{ customerId: '\u{20000}'.repeat(129) }, 'customer_id'],
      [{ entitlement: '' }, 'entitlement'],
      [{ amount: -1 }, 'amount'],
    ]
    for (const [change, field] of bad) {
      t.like(await codeOf(grpc.check({ ...good, ...change })), { code: Status.INVALID_ARGUMENT })
      t.regex((await codeOf(grpc.check({ ...good, ...change }))).details, new RegExp(`^${field}: `))
    }
    const batch = await codeOf(grpc.batch([good, { ...good, entitlement: '' }]))
    t.is(batch.code, Status.INVALID_ARGUMENT)
    t.regex(batch.details, /^checks\[1\]\.entitlement: /)
    t.is((await codeOf(grpc.batch(Array.from({ length: 1_001 }, () => good)))).code, Status.INVALID_ARGUMENT)
  })

  story('a customer whose id is as long as one may be, in letters of any script, is checked like any other', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const [customerId, other] = ['a', 'b'].map((end) => `${'\u{20000}'.repeat(127)}${end}`) as [string, string]
    const { body: bought } = await shop.subscribe(customerId)
    t.is(bought.status, 'active', JSON.stringify(bought))
    const question = {
      tenantId: shop.tenantId,
      storefrontId: 'us-store',
      customerId,
      entitlement: 'analytics_dashboard',
      minRevision: bought.entitlementRevision,
    }
    t.is((await grpc.check(question)).reason, Reason.REASON_GRANTED)
    t.is((await grpc.check({ ...question, customerId: other, minRevision: 0 })).reason, Reason.REASON_CUSTOMER_UNKNOWN)
  })

  story('known customer without the entitlement is told apart from an unknown customer', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    await shop.api.post('/customers', { id: 'known', storefrontId: 'us-store' })
    const question = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'known', entitlement: 'analytics_dashboard' }
    await eventually(async () => (await grpc.check(question)).reason === Reason.REASON_NOT_GRANTED)
    t.is((await grpc.check({ ...question, customerId: 'stranger' })).reason, Reason.REASON_CUSTOMER_UNKNOWN)
    t.is((await grpc.check({ ...question, tenantId: 'other-tenant' })).reason, Reason.REASON_CUSTOMER_UNKNOWN)
  })

  story('an explanation names the bundles that were bought and paid, and those that would have to be bought', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const { body: bought } = await shop.subscribe('c')
    await shop.api.post('/bundles', {
      id: 'team-plan',
      name: 'Team Plan',
      storefrontId: 'us-store',
      pricing: { amount: 9900, currency: 'USD', interval: 'month' },
      entitlements: [{ key: 'seats', kind: 'capacity', limit: 25 }],
    })
    const explain = (entitlement: string, customerId = 'c') =>
      new Promise<ExplainEntitlementResponse>((resolve, reject) => {
        const request = {
          tenantId: shop.tenantId,
          storefrontId: 'us-store',
          customerId,
          entitlement,
          amount: 0n,
          minRevision: BigInt(customerId === 'c' ? bought.entitlementRevision : 0),
        }
        grpc.raw.explainEntitlement(request, (error, answer) => (error ? reject(error) : resolve(answer)))
      })
    const allowed = await explain('analytics_dashboard')
    t.like(allowed.decision, { allowed: true, subscriptionId: bought.id })
    const { data: payments } = (await shop.api.get(`/payments?subscriptionId=${bought.id}`)).body
    t.deepEqual(allowed.holdings, [
      {
        subscriptionId: bought.id,
        bundleId: bought.bundleId,
        status: 'active',
        periodStart: new Date(bought.currentPeriod.start),
        periodEnd: new Date(bought.currentPeriod.end),
        paymentId: payments[0].id,
        paymentStatus: 'succeeded',
      },
    ])
    const denied = await explain('seats')
    t.like(denied.decision, { allowed: false, reason: Reason.REASON_NOT_GRANTED })
    t.deepEqual(denied.holdings, [])
    t.deepEqual(denied.offers, [{ bundleId: 'team-plan', name: 'Team Plan', kind: Kind.KIND_CAPACITY, limit: 25n, unlimited: false, value: '' }])
    t.like((await explain('seats', 'stranger')).decision, { reason: Reason.REASON_CUSTOMER_UNKNOWN })
    t.deepEqual((await explain('no such thing')).offers, [])
  })

  story('a batch is answered in its order', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const { body } = await shop.subscribe('c')
    const base = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c' }
    const results = await grpc.batch([
      { ...base, entitlement: 'api_limit', minRevision: body.entitlementRevision },
      { ...base, entitlement: 'nothing' },
      { ...base, customerId: 'stranger', entitlement: 'api_limit' },
      { ...base, entitlement: 'analytics_dashboard' },
    ])
    t.deepEqual(
      results.map(({ reason }) => reason),
      [Reason.REASON_GRANTED, Reason.REASON_NOT_GRANTED, Reason.REASON_CUSTOMER_UNKNOWN, Reason.REASON_GRANTED],
    )
    t.deepEqual(await grpc.batch([]), [])
  })

  story('a revision that does not come in time fails the precondition before the deadline', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const { body } = await shop.subscribe('c')
    const question = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'api_limit', minRevision: body.entitlementRevision + 5 }
    // The answer travels within what the sidecar leaves for it, except when the whole process stands still that long.
    await eventually(async () => (await codeOf(grpc.check(question, 1_000))).code === Status.FAILED_PRECONDITION)
    // A waiter is woken by the change it waits for.
    const waiting = grpc.check({ ...question, minRevision: body.entitlementRevision + 1 })
    await shop.api.post(`/subscriptions/${body.id}/cancel`, { at: 'now' })
    t.false((await waiting).allowed)
  })

  story('a watch brings the set now, then every change', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const seen: WatchEntitlementsResponse[] = []
    const stream: ClientReadableStream<WatchEntitlementsResponse> = grpc.raw.watchEntitlements({
      tenantId: shop.tenantId,
      storefrontId: 'us-store',
      customerId: 'watched',
      minRevision: 0n,
    })
    stream.on('data', (message) => seen.push(message))
    stream.on('error', () => {})
    await eventually(() => seen.length === 1)
    t.like(seen[0], { customerKnown: false, entitlements: [] })
    const { body } = await shop.subscribe('watched')
    await eventually(() => seen.at(-1)?.entitlements.some(({ key, decision }) => key === 'analytics_dashboard' && decision?.allowed) ?? false)
    await shop.api.post(`/subscriptions/${body.id}/cancel`, { at: 'now' })
    await eventually(() => seen.at(-1)?.entitlements.every(({ decision }) => !decision?.allowed) ?? false)
    const revisions = seen.map(({ revision }) => revision)
    t.deepEqual(
      revisions,
      revisions.toSorted((a, b) => Number(a - b)),
      'never backwards',
    )
    stream.cancel()
  })

  story('the sidecar says that it serves, and describes itself', async ({ t, tollgate }) => {
    // biome-ignore lint/suspicious/noExplicitAny: dynamic clients have no types; that is what is tested.
    const health = loadPackageDefinition(loadSync(healthProtoPath)) as any
    const client = new health.grpc.health.v1.Health(tollgate.grpc, credentials.createInsecure())
    const status = (service: string) =>
      new Promise((resolve) => client.check({ service }, (error: unknown, answer: { status: string }) => resolve(error ?? answer.status)))
    t.is(await status(''), 1 as never)
    t.is(await status('entitlement.v1.EntitlementService'), 1 as never)
    client.close()

    const path = new URL('../../node_modules/@grpc/reflection/build/proto/grpc/reflection/v1/reflection.proto', import.meta.url).pathname
    // biome-ignore lint/suspicious/noExplicitAny: as above.
    const reflection = loadPackageDefinition(loadSync(path)) as any
    const reflecting = new reflection.grpc.reflection.v1.ServerReflection(tollgate.grpc, credentials.createInsecure())
    const stream = reflecting.serverReflectionInfo()
    const listed = new Promise<{ listServicesResponse: { service: { name: string }[] } }>((resolve) => stream.once('data', resolve))
    stream.write({ listServices: '*' })
    const names = (await listed).listServicesResponse.service.map(({ name }) => name)
    t.true(names.includes('entitlement.v1.EntitlementService'))
    stream.end()

    // As grpcurl does: the file of each service with all that it imports, every type of which can be found.
    for (const service of ['entitlement.v1.EntitlementService', 'grpc.health.v1.Health']) {
      const asking = reflecting.serverReflectionInfo()
      const described = new Promise<{ fileDescriptorResponse: { fileDescriptorProto: Buffer[] } }>((resolve) => asking.once('data', resolve))
      asking.write({ fileContainingSymbol: service })
      const files = (await described).fileDescriptorResponse.fileDescriptorProto
      const byName = new Map(files.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes)).map((file) => [file.name, file]))
      const [own] = [...byName.values()].filter((file) => file.service.length > 0)
      if (!own) throw new Error(`no file has ${service}`)
      // Throws for a type that no file of the answer has.
      const registry = createFileRegistry(own, (name) => byName.get(name))
      t.truthy(registry.getService(service), service)
      asking.end()
    }
    reflecting.close()
  })
})

for (const world of worlds.filter(({ name }) => name.includes('NATS'))) {
  const run = world.missing === undefined ? test : test.skip
  const why = world.missing === undefined ? '' : ` (${world.missing})`

  run(`${world.name}: with the control plane stopped, everybody is still answered, cold misses included${why}`, async (t) => {
    const tollgate = await world.start()
    t.teardown(tollgate.close)
    const grpc = grpcClient(tollgate.grpc)
    t.teardown(grpc.close)
    const shop = await openShop(t, tollgate)
    const ask = (customerId: string) => grpc.check({ tenantId: shop.tenantId, storefrontId: 'us-store', customerId, entitlement: 'analytics_dashboard' })
    for (const customerId of ['warm', 'cold']) await shop.subscribe(customerId)
    await eventually(async () => (await ask('warm')).allowed)
    await tollgate.controlPlane.stop('SIGKILL')
    t.like(await ask('warm'), { allowed: true, stale: false })
    t.like(await ask('cold'), { allowed: true, stale: false })
    t.is((await ask('stranger')).reason, Reason.REASON_CUSTOMER_UNKNOWN)
  })

  run(`${world.name}: a bucket that is lost is rebuilt with one command${why}`, async (t) => {
    const { connect } = await import('@nats-io/transport-node')
    const { jetstreamManager } = await import('@nats-io/jetstream')
    const tollgate = await world.start()
    t.teardown(tollgate.close)
    const grpc = grpcClient(tollgate.grpc)
    t.teardown(grpc.close)
    const shop = await openShop(t, tollgate)
    const ask = (customerId: string) => grpc.check({ tenantId: shop.tenantId, storefrontId: 'us-store', customerId, entitlement: 'analytics_dashboard' })
    for (const customerId of ['a', 'b', 'c']) await shop.subscribe(customerId)
    t.true((await ask('a')).allowed)

    const nats = await connect({ servers: new URL(tollgate.env.NATS_URL ?? '').host })
    await (await jetstreamManager(nats)).streams.delete('KV_tollgate')
    await nats.close()
    const stdout = await runCommand('control-plane/republish.ts', [], tollgate.env)
    t.regex(stdout, /republished 3 entitlement sets and 1 test clocks/)
    for (const customerId of ['a', 'b', 'c'])
      await eventually(async () => (await codeOf(ask(customerId))).code === Status.OK && (await ask(customerId)).allowed)
    const { body } = await shop.subscribe('d')
    await eventually(async () => (await ask('d')).allowed)
    t.is(body.status, 'active')
  })

  run(`${world.name}: with the feed stopped, what is in memory is answered with its age, and what is not is not guessed at${why}`, async (t) => {
    const { startNatsServer } = await import('../support/nats-server.ts')
    const nats = await startNatsServer()
    t.teardown(nats.stop)
    const tollgate = await world.start({ NATS_URL: nats.url, MAX_STALENESS_MS: '500' })
    t.teardown(tollgate.close)
    const grpc = grpcClient(tollgate.grpc)
    t.teardown(grpc.close)
    const shop = await openShop(t, tollgate)
    const ask = (customerId: string) => grpc.check({ tenantId: shop.tenantId, storefrontId: 'us-store', customerId, entitlement: 'analytics_dashboard' })
    for (const customerId of ['warm', 'cold']) await shop.subscribe(customerId)
    await eventually(async () => (await ask('warm')).allowed)
    t.is((await ask('stranger')).reason, Reason.REASON_CUSTOMER_UNKNOWN)

    await nats.kill()
    await eventually(async () => (await ask('warm')).stale)
    t.like(await ask('warm'), { allowed: true, stale: true })
    t.is((await codeOf(ask('cold'))).code, Status.UNAVAILABLE)
    t.is((await codeOf(ask('stranger'))).code, Status.UNAVAILABLE)
    // A sale is a sale, whether or not it can be published now; it is when the feed is back.
    const sold = await shop.subscribe('during')
    t.is(sold.body.status, 'active')
    await nats.start()
    await eventually(async () => (await codeOf(ask('during'))).code === Status.OK && (await ask('during')).allowed)
    await eventually(async () => !(await ask('warm')).stale)
  })
}
