/** Whole processes with the users that `npm run nats:config` makes: a sidecar that was added for one tenant serves it, and nobody else. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { status as Status } from '@grpc/grpc-js'
import { jetstreamManager } from '@nats-io/jetstream'
import test from 'ava'
import { Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { codeOf, grpcClient } from '../support/grpc-client.ts'
import { httpClient } from '../support/http-client.ts'
import { makeNatsAccounts } from '../support/nats-accounts.ts'
import { natsMissing, startNatsServer } from '../support/nats-server.ts'
import { openShop } from '../support/shop.ts'
import { runCommand, sqliteAndNats, startProcess } from '../support/tollgate.ts'

const run = natsMissing ? test.skip : test
run(
  `a sidecar of one tenant answers, explains and starts from its snapshot; of another tenant it knows nothing${natsMissing ? ` (${natsMissing})` : ''}`,
  async (t) => {
    t.timeout(180_000)
    const accounts = await makeNatsAccounts()
    const nats = await startNatsServer({ configFile: accounts.configFile })
    t.teardown(nats.stop)
    // Its control plane, and a sidecar as the same user: `npm start` is both.
    const tollgate = await sqliteAndNats.start({ NATS_URL: nats.url, ...accounts.variablesOf('control-plane') })
    t.teardown(tollgate.close)
    const [own, other] = [await openShop(t, tollgate), await openShop(t, tollgate)]
    for (const shop of [own, other]) t.is((await shop.subscribe('c')).body.status, 'active')
    t.regex(await runCommand('control-plane/republish.ts', [], tollgate.env), /republished 2 entitlement sets/)

    // Its user may make the stream of events, and put them there.
    const asControlPlane = await accounts.connectAs('control-plane', nats.url, {})
    const manager = await jetstreamManager(asControlPlane, { checkAPI: false })
    await eventually(async () => ((await manager.streams.info('tollgate-events').catch(() => undefined))?.state.messages ?? 0) > 5, 20_000)
    await asControlPlane.close()

    await accounts.run('--sidecar', `shop=${own.tenantId}`)
    nats.reload()
    await (await accounts.connectAs('sidecar-shop', nats.url, { maxReconnectAttempts: 100, waitOnFirstConnect: true })).close()
    nats.reload()
    const snapshot = join(mkdtempSync(join(tmpdir(), 'tollgate-snapshot-')), 'snapshot')
    const env = {
      NATS_URL: nats.url,
      ...accounts.variablesOf('sidecar-shop'),
      GRPC_PORT: String(await freePort()),
      SIDECAR_HTTP_PORT: String(await freePort()),
      SNAPSHOT_FILE: snapshot,
      LOG_LEVEL: 'warn',
    }
    let sidecar = await startProcess('sidecar/main.ts', env)
    t.teardown(() => sidecar.stop('SIGKILL'))
    const grpc = grpcClient(`127.0.0.1:${env.GRPC_PORT}`)
    t.teardown(grpc.close)
    const ask = (shop: typeof own, customerId = 'c') =>
      grpc.check({ tenantId: shop.tenantId, storefrontId: 'us-store', customerId, entitlement: 'analytics_dashboard' })
    const explain = (shop: typeof own) =>
      codeOf(
        new Promise((resolve, reject) => {
          const request = {
            tenantId: shop.tenantId,
            storefrontId: 'us-store',
            customerId: 'c',
            entitlement: 'analytics_dashboard',
            amount: 0n,
            minRevision: 0n,
          }
          grpc.raw.explainEntitlement(request, (error, answer) => (error ? reject(error) : resolve(answer)))
        }),
      )
    t.like(await ask(own), { allowed: true, stale: false })
    t.is((await ask(own, 'stranger')).reason, Reason.REASON_CUSTOMER_UNKNOWN)
    t.is((await explain(own)).code, Status.OK)
    for (const refused of [codeOf(ask(other)), explain(other)]) t.not((await refused).code, Status.OK)

    // It speaks at its tenant's subject; the one of `npm start` may ask about all.
    const listed = async () => (await httpClient(tollgate.http).get('/sidecars')).body.data as { tenant: string | null; tenants: string[] | null }[]
    await eventually(async () => (await listed()).some(({ tenant }) => tenant === own.tenantId), 30_000)
    t.deepEqual(
      (await listed()).map(({ tenant, tenants }) => [tenant, tenants]).toSorted(),
      [
        [null, null],
        [own.tenantId, [own.tenantId]],
      ].toSorted(),
    )

    // What changes is heard, the test clock too: the period ends, and with it a subscription that nobody pays.
    const { body: sold } = await own.subscribe('later')
    const { allowed } = await grpc.check({
      tenantId: own.tenantId,
      storefrontId: 'us-store',
      customerId: 'later',
      entitlement: 'analytics_dashboard',
      minRevision: sold.entitlementRevision,
    })
    t.true(allowed)

    t.is(await sidecar.stop(), 0)
    await nats.kill()
    sidecar = await startProcess('sidecar/main.ts', env)
    t.true((await ask(own)).allowed, 'from the snapshot')
    await nats.start()
    await eventually(async () => (await codeOf(ask(own, 'stranger'))).code === Status.OK, 30_000)
    await eventually(async () => !(await ask(own)).stale, 30_000)
  },
)

run(`a credential that cannot be used ends the start with its variable${natsMissing ? ` (${natsMissing})` : ''}`, async (t) => {
  for (const script of ['sidecar/main.ts', 'control-plane/main.ts', 'control-plane/republish.ts']) {
    const env = { NATS_URL: 'nats://127.0.0.1:1', NATS_CREDS: '/nowhere', DATA_DIR: mkdtempSync(join(tmpdir(), 'tollgate-')) }
    const error = await t.throwsAsync(runCommand(script, [], env))
    t.regex(error?.message ?? '', /NATS_CREDS: \/nowhere cannot be read \(ENOENT\)/)
  }
})
