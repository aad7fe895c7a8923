/**
 * Limits under load, over the end of a window, and while no control plane answers, with real processes. CONSUME_LIMIT chooses how
 * many units there are, AWAY_SECONDS how long the control plane is away.
 */
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { grpcClient } from '../support/grpc-client.ts'
import { httpClient } from '../support/http-client.ts'
import { startProcess, type Tollgate, worlds } from '../support/tollgate.ts'

const LIMIT = Number(process.env.CONSUME_LIMIT ?? 3_000)
const AWAY_MS = Number(process.env.AWAY_SECONDS ?? 5) * 1_000

const addressIn = (ready: string): string => /grpc:\/\/(\S+)/.exec(ready)?.[1] ?? ready

/** A customer of a live tenant, whose time is this machine's. */
const openCustomer = async (t: ExecutionContext, tollgate: Tollgate) => {
  const tenantId = `live-${randomUUID()}`
  const { body: tenant } = await httpClient(tollgate.http).post('/tenants', { id: tenantId, name: 'Live', mode: 'live' })
  const api = httpClient(tollgate.http, { key: tenant.apiKey })
  t.is((await api.post('/storefronts', { id: 'us-store', currency: 'USD' })).status, 201)
  t.is((await api.post('/customers', { id: 'c', storefrontId: 'us-store' })).status, 201)
  const grant = async (entitlements: object[], more: object = {}) => {
    const { status, body } = await api.post('/storefronts/us-store/customers/c/grants', { entitlements, reason: 'a test', ...more })
    t.is(status, 201, JSON.stringify(body))
    return (entitlement: string) => ({ tenantId, storefrontId: 'us-store', customerId: 'c', entitlement, minRevision: body.entitlementRevision })
  }
  const ledger = async (key: string) =>
    (await httpClient(tollgate.http, { key: tenant.apiKey }).get(`/storefronts/us-store/customers/c/entitlements/${key}/ledger`)).body
  return { grant, ledger }
}

for (const world of worlds.filter(({ name }) => name.includes('NATS'))) {
  const run = world.missing === undefined ? test.serial : test.skip
  const why = world.missing === undefined ? '' : ` (${world.missing})`

  const startSidecars = async (t: ExecutionContext, tollgate: Tollgate, count: number, env: Record<string, string> = {}) => {
    const all = await Promise.all(
      Array.from({ length: count }, () => startProcess('sidecar/main.ts', { ...tollgate.env, GRPC_PORT: '0', SIDECAR_HTTP_PORT: '0', ...env })),
    )
    const clients = all.map(({ ready }) => grpcClient(addressIn(ready)))
    t.teardown(async () => {
      for (const client of clients) client.close()
      await Promise.all(all.map((one) => one.stop('SIGKILL')))
    })
    return { all, clients }
  }

  run(`${world.name}: over the end of a window at full load, each window has its own units and no more${why}`, async (t) => {
    t.timeout(300_000)
    const tollgate = await world.start()
    t.teardown(tollgate.close)
    const { clients } = await startSidecars(t, tollgate, 3)
    const { grant, ledger } = await openCustomer(t, tollgate)
    const endsAt = Date.now() + 8_000
    const use = (await grant([{ key: 'calls', kind: 'quota', limit: LIMIT, per: 'day' }], { from: new Date(endsAt - 86_400_000).toISOString() }))('calls')
    // As fast as spends about half of the units before the end.
    const counts = { before: 0, after: 0 }
    const call = async (n: number) => {
      for (let refusals = 0; refusals < 10; ) {
        const client = clients[n % clients.length] as (typeof clients)[number]
        const sentAt = Date.now()
        if (sentAt < endsAt - 20) await sleep((24 * 1_000 * 12) / LIMIT)
        const answer = await client.consume(use, 30_000)
        const resets = answer.decision?.resetsAt?.getTime() ?? 0
        if (answer.counted) counts[Date.now() < endsAt ? 'before' : resets > endsAt ? 'after' : 'before'] += 1
        else if (sentAt > endsAt) refusals += 1
      }
    }
    await Promise.all(Array.from({ length: 24 }, (_, n) => call(n)))
    t.log(`${counts.before} before the end, ${counts.after} after it, of ${LIMIT} each`)
    t.true(counts.before > 0 && counts.before <= LIMIT)
    t.true(counts.after > 0 && counts.after <= LIMIT)
    // Every unit of the new window was used, and none of it by who was allowed in the old one.
    await eventually(async () => (await ledger('calls')).outstanding === 0, 15_000)
    t.is((await ledger('calls')).used, LIMIT)
    t.true(counts.before + counts.after >= LIMIT, 'what was allowed about the end is counted in one of the two')
  })

  run(`${world.name}: with the control plane away checks go on, hard limits hold, and each policy is kept${why}`, async (t) => {
    t.timeout(120_000 + AWAY_MS)
    const tollgate = await world.start()
    t.teardown(tollgate.close)
    const dir = await mkdtemp(join(tmpdir(), 'tollgate-away-'))
    t.teardown(() => rm(dir, { recursive: true, force: true }))
    const AWAY_POLICY = JSON.stringify({ entitlements: { events: 'allow' } })
    const { all, clients } = await startSidecars(t, tollgate, 1, { AWAY_POLICY, JOURNAL_FILE: join(dir, 'journal') })
    const [client] = clients
    if (!client) return t.fail()
    const { grant, ledger } = await openCustomer(t, tollgate)
    const of = await grant([
      { key: 'calls', kind: 'quota', limit: 100, per: 'month' },
      { key: 'events', kind: 'quota', limit: 100, per: 'month' },
      { key: 'seats', kind: 'capacity', limit: 5 },
    ])
    for (let n = 0; n < 20; n += 1) for (const key of ['calls', 'events']) t.true((await client.consume(of(key))).counted)
    await tollgate.controlPlane.stop('SIGKILL')
    const until = Date.now() + AWAY_MS
    let [checks, calls, events] = [0, 20, 20]
    while (Date.now() < until) {
      const checked = await client.check(of('calls'))
      t.like(checked, { allowed: true, stale: false })
      checks += 1
      if ((await client.consume(of('events'), 2_000)).counted) events += 1
      const answer = await client.consume(of('calls'), 1_500)
      if (answer.counted) calls += 1
      else t.like(answer, { counted: false, decision: { allowed: false, reason: Reason.REASON_FALLBACK } })
      t.like(await client.consume({ ...of('seats'), holder: 'ann' }, 1_500), { counted: false, decision: { reason: Reason.REASON_FALLBACK } })
      await sleep(50)
    }
    t.true(calls <= 100)
    t.true(events > 20)
    t.is((await client.check(of('events'))).used, BigInt(events), 'shown at once')
    // Nothing that was allowed is forgotten: not by a crash either.
    for (const one of all) await one.stop('SIGKILL')
    const again = await startSidecars(t, tollgate, 1, { AWAY_POLICY, JOURNAL_FILE: join(dir, 'journal') })
    await tollgate.restartControlPlane()
    await eventually(async () => (await ledger('events')).used === events, 20_000)
    await eventually(async () => (await ledger('calls')).outstanding === 0, 20_000)
    t.true((await ledger('calls')).used >= calls)
    t.log(`${checks} checks; ${calls - 20} calls and ${events - 20} events allowed while the control plane was away for ${AWAY_MS / 1_000} s`)
    t.true((await (again.clients[0] ?? client).consume(of('events'))).decision !== undefined)
  })
}
