/** `GET /v1/sidecars`: what sidecars tell of themselves, at whichever control plane one asks. */
import test from 'ava'
import { eventually } from '../support/eventually.ts'
import { httpClient } from '../support/http-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'
import { startProcess } from '../support/tollgate.ts'

/** The first status comes a second after the start, and then one every ten. */
const HEARD_WITHIN_MS = 40_000

inWorlds(test, (story, world) => {
  story('a sidecar tells of itself, to the platform alone', async ({ t, tollgate, grpc }) => {
    t.timeout(180_000)
    const platform = httpClient(tollgate.http)
    const shop = await openShop(t, tollgate)
    t.is((await shop.api.get('/sidecars')).status, 403)
    await shop.subscribe('c')
    await grpc.check({ tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement: 'analytics_dashboard' })
    const first = async () => (await platform.get('/sidecars')).body.data[0]
    await eventually(async () => (await first())?.sets.held > 0, HEARD_WITHIN_MS)
    const sidecar = await first()
    t.like(sidecar, { status: 'live', tenant: null, tenants: null, tenantCount: null, transport: 'fast', threads: 1, ready: true })
    t.like(sidecar.feed, { live: true, complete: true, reconnects: 0 })
    t.true(sidecar.feed.lagMs < 10_000)
    t.regex(sidecar.version, /^\d+\.\d+\.\d+/)
    t.true(sidecar.connections >= 1)
    t.true(Date.parse(sidecar.startedAt) < Date.parse(sidecar.heardAt))
    t.false(JSON.stringify(sidecar).includes('us-store'))
  })

  if (!world.name.includes('NATS')) return

  story('two control planes know the same sidecars, page by page, until these leave', async ({ t, tollgate }) => {
    t.timeout(180_000)
    const second = await startProcess('control-plane/main.ts', { ...tollgate.env, HTTP_PORT: '0' })
    t.teardown(() => second.stop('SIGKILL'))
    const narrow = await startProcess('sidecar/main.ts', { ...tollgate.env, GRPC_PORT: '0', SIDECAR_HTTP_PORT: '0', SIDECAR_TENANTS: 'acme, globex' })
    t.teardown(() => narrow.stop('SIGKILL'))
    const planes = [tollgate.http, second.ready].map((url) => httpClient(url))
    const known = (query = '') => Promise.all(planes.map(async (plane) => (await plane.get(`/sidecars${query}`)).body))
    const ids = async () => (await known()).map(({ data }) => data.map(({ id }: { id: string }) => id).join())
    await eventually(async () => (await known()).every(({ data }) => data.length === 2), HEARD_WITHIN_MS)
    const [here, there] = await ids()
    t.is(here, there)
    for (const { data } of await known()) {
      const limited = data.find(({ tenant }: { tenant: string | null }) => tenant !== null)
      t.like(limited, { tenant: 'acme', tenants: ['acme', 'globex'], tenantCount: 2 })
    }
    for (const plane of planes) {
      const { data, nextCursor } = (await plane.get('/sidecars?limit=1')).body
      const rest = (await plane.get(`/sidecars?limit=1&cursor=${nextCursor}`)).body
      t.is([...data, ...rest.data].map(({ id }) => id).join(), here)
      t.is(rest.nextCursor, undefined)
    }
    t.is(await narrow.stop(), 0)
    await eventually(async () => (await known()).every(({ data }) => data.length === 1), 5_000)
  })
})
