/** What a sidecar was lent is found again after a crash, and all threads of a sidecar share it. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { eventually } from '../support/eventually.ts'
import { grpcClient } from '../support/grpc-client.ts'
import { httpClient } from '../support/http-client.ts'
import { openShop } from '../support/shop.ts'
import { embedded, startProcess, worlds } from '../support/tollgate.ts'

const addressIn = (ready: string): string => /grpc:\/\/(\S+)/.exec(ready)?.[1] ?? ready
const bundle = {
  entitlements: [
    { key: 'calls', kind: 'quota', limit: 1_000, per: 'month' },
    { key: 'seats', kind: 'capacity', limit: 5 },
  ],
}

test('npm start that is killed finds again what its sidecar was lent', async (t) => {
  t.timeout(60_000)
  const tollgate = await embedded.start()
  t.teardown(tollgate.close)
  const shop = await openShop(t, tollgate, { bundle })
  const { body } = await shop.subscribe('c')
  const use = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', minRevision: body.entitlementRevision }
  for (const how of ['SIGKILL', 'SIGTERM'] as const) {
    const grpc = grpcClient(tollgate.grpc)
    await Promise.all(Array.from({ length: 100 }, () => grpc.consume(use)))
    grpc.close()
    await tollgate.controlPlane.stop(how)
    await tollgate.restartControlPlane()
  }
  const api = httpClient(tollgate.http, { key: shop.apiKey })
  const ledger = async () => (await api.get('/storefronts/us-store/customers/c/entitlements/calls/ledger')).body
  await eventually(async () => (await ledger()).outstanding === 0)
  const { used, free } = await ledger()
  t.log(`200 used, ${used} counted`)
  t.true(used >= 200 && used <= 200 + 1_000 / 16)
  t.is(free, 1_000 - used)
})

for (const world of worlds.filter(({ name }) => name.includes('NATS'))) {
  const run = world.missing === undefined ? test : test.skip
  const why = world.missing === undefined ? '' : ` (${world.missing})`

  run(`${world.name}: a sidecar that is killed reports after its restart what it has spent, and the rest comes back${why}`, async (t) => {
    t.timeout(120_000)
    const tollgate = await world.start()
    t.teardown(tollgate.close)
    const dir = await mkdtemp(join(tmpdir(), 'tollgate-journal-'))
    t.teardown(() => rm(dir, { recursive: true, force: true }))
    const env = { ...tollgate.env, GRPC_PORT: '0', SIDECAR_HTTP_PORT: '0', JOURNAL_FILE: join(dir, 'journal') }
    const shop = await openShop(t, tollgate, { bundle })
    const { body } = await shop.subscribe('c')
    const use = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', minRevision: body.entitlementRevision }
    const ledger = async () => (await shop.api.get('/storefronts/us-store/customers/c/entitlements/calls/ledger')).body

    const first = await startProcess('sidecar/main.ts', env)
    t.teardown(() => first.stop('SIGKILL'))
    const before = grpcClient(addressIn(first.ready))
    t.teardown(() => before.close())
    // Many at once, so that much is lent.
    const counted = await Promise.all(Array.from({ length: 300 }, () => before.consume(use)))
    t.true(counted.every((one) => one.counted))
    const kept = await before.reserve({ ...use, amount: 40 })
    await first.stop('SIGKILL')
    t.true((await ledger()).outstanding > 0, 'something was lent and not spent')

    const second = await startProcess('sidecar/main.ts', env)
    t.teardown(() => second.stop('SIGKILL'))
    const after = grpcClient(addressIn(second.ready))
    t.teardown(() => after.close())
    // The reservation is found again, and is committed once.
    t.like(await after.commit(kept.reservationId, 30), { used: 30n, overLimit: false })
    await eventually(async () => {
      const { used, outstanding } = await ledger()
      return outstanding === 0 && used >= 330 && used <= 330 + 1_000 / 16
    }, 15_000)
    const { used } = await ledger()
    t.log(`330 used, ${used} counted`)
    t.like(await after.consume({ ...use, amount: 1_000 - used }), { counted: true })
    t.like(await after.consume(use), { counted: false })
  })

  run(`${world.name}: threads of a sidecar share what is lent, what is known of repeats, and reservations${why}`, async (t) => {
    t.timeout(120_000)
    const tollgate = await world.start()
    t.teardown(tollgate.close)
    const sidecar = await startProcess('sidecar/main.ts', { ...tollgate.env, GRPC_PORT: '0', SIDECAR_HTTP_PORT: '0', SIDECAR_WORKERS: '3' })
    t.teardown(() => sidecar.stop('SIGKILL'))
    // A connection ends at one thread.
    const clients = Array.from({ length: 12 }, () => grpcClient(addressIn(sidecar.ready)))
    t.teardown(() => {
      for (const client of clients) client.close()
    })
    const shop = await openShop(t, tollgate, { bundle })
    const { body } = await shop.subscribe('c')
    const use = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'calls', minRevision: body.entitlementRevision }
    const same = await Promise.all(clients.map((client) => client.consume({ ...use, amount: 10, idempotencyKey: 'one' })))
    t.true(same.every(({ counted, decision }) => counted && decision?.used === 10n))
    for (const client of clients) t.is((await client.consume(use)).decision?.used, (await client.check(use)).used, 'its check shows it at once')
    const reserved = await (clients[0] as (typeof clients)[number]).reserve({ ...use, amount: 5 })
    const committed = await Promise.all(clients.map((client) => client.commit(reserved.reservationId)))
    t.true(committed.every(({ used }) => used === 5n))
    await eventually(async () => (await Promise.all(clients.map((client) => client.check(use)))).every(({ used }) => used === 27n))
    let counted = 0
    await Promise.all(
      clients.map(async (client) => {
        while ((await client.consume(use)).counted) counted += 1
      }),
    )
    t.is(counted, 1_000 - 27)
    const seats = await Promise.all(clients.map((client, n) => client.consume({ ...use, entitlement: 'seats', holder: `seat-${n}` })))
    t.is(seats.filter((one) => one.counted).length, 5)
  })
}
