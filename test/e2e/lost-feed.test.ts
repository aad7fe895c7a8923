/**
 * An operator's worst week with the feed: its store is lost, a backup is restored under it, its name is misspelt. Nobody
 * who has paid is denied meanwhile, and nobody has to run a command.
 */
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { status as Status } from '@grpc/grpc-js'
import test, { type ExecutionContext } from 'ava'
import mongoose from 'mongoose'
import { parseMongodbUrl } from '../../common/mongodb-url.ts'
import { eventually } from '../support/eventually.ts'
import { codeOf, type GrpcClient, grpcClient } from '../support/grpc-client.ts'
import { natsMissing, startNatsServer } from '../support/nats-server.ts'
import { openShop, type Shop } from '../support/shop.ts'
import { mongodbAndNats, runCommand, sqliteAndNats, startProcess, type Tollgate, type World } from '../support/tollgate.ts'

const ask = (grpc: GrpcClient, shop: Shop, customerId: string) =>
  grpc.check({ tenantId: shop.tenantId, storefrontId: 'us-store', customerId, entitlement: 'analytics_dashboard' }, 3_000)

/** Asks all the time. @returns what was ever said of the customers that is not "allowed", and what ends it. */
const watchAnswers = (clients: GrpcClient[], shop: Shop, customers: string[]) => {
  const denied: string[] = []
  const counts = { allowed: 0, stale: 0, unavailable: 0 }
  let stopping = false
  const loop = async (grpc: GrpcClient) => {
    while (!stopping) {
      for (const customerId of customers) {
        try {
          const answer = await ask(grpc, shop, customerId)
          if (answer.allowed) counts.allowed += 1
          else denied.push(`${customerId}: reason ${answer.reason}, stale ${answer.stale}`)
          if (answer.stale) counts.stale += 1
        } catch (error) {
          const { code } = error as { code?: number }
          if (code === Status.UNAVAILABLE || code === Status.DEADLINE_EXCEEDED) counts.unavailable += 1
          else denied.push(`${customerId}: ${error}`)
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
  const loops = clients.map(loop)
  return {
    denied,
    counts,
    stop: async () => {
      stopping = true
      await Promise.all(loops)
    },
  }
}

const openSecondSidecar = async (t: ExecutionContext, tollgate: Tollgate, env: Record<string, string> = {}) => {
  const { GRPC_PORT: _, SIDECAR_HTTP_PORT: __, ...rest } = tollgate.env
  const sidecar = await startProcess('sidecar/main.ts', { ...rest, GRPC_PORT: '0', SIDECAR_HTTP_PORT: '0', ...env })
  t.teardown(() => sidecar.stop('SIGKILL'))
  const grpc = grpcClient(sidecar.ready.split(' ')[0]?.replace('grpc://', '') ?? '')
  t.teardown(grpc.close)
  return { sidecar, grpc }
}

/** A backup of all that a world's storage has, and its way back. */
const backUp = async (t: ExecutionContext, tollgate: Tollgate): Promise<() => Promise<void>> => {
  const url = tollgate.env.MONGODB_URL
  if (!url) {
    const [from, to] = [tollgate.env.DATA_DIR ?? '', await mkdtemp(join(tmpdir(), 'tollgate-backup-'))]
    t.teardown(() => rm(to, { recursive: true, force: true }))
    const files = ['tollgate.sqlite', 'tollgate.sqlite-wal', 'tollgate.sqlite-shm']
    const copy = async (a: string, b: string) => {
      for (const file of files) {
        await rm(join(b, file), { force: true })
        await cp(join(a, file), join(b, file)).catch(() => undefined)
      }
    }
    await copy(from, to)
    return () => copy(to, from)
  }
  const connection = await mongoose.createConnection(url, { dbName: parseMongodbUrl(url).database }).asPromise()
  t.teardown(() => connection.close())
  const database = connection.db
  if (!database) throw new Error('not connected')
  const names = (await database.listCollections().toArray()).map(({ name }) => name)
  const kept = new Map(await Promise.all(names.map(async (name) => [name, await database.collection(name).find().toArray()] as const)))
  return async () => {
    for (const [name, documents] of kept) {
      await database.collection(name).deleteMany({})
      if (documents.length > 0) await database.collection(name).insertMany(documents)
    }
  }
}

const start = async (t: ExecutionContext, world: World, env: Record<string, string> = {}) => {
  const nats = await startNatsServer()
  t.teardown(nats.stop)
  const tollgate = await world.start({ NATS_URL: nats.url, LOG_LEVEL: 'warn', ...env })
  t.teardown(tollgate.close)
  const grpc = grpcClient(tollgate.grpc)
  t.teardown(grpc.close)
  return { nats, tollgate, grpc, shop: await openShop(t, tollgate) }
}

for (const world of [sqliteAndNats, mongodbAndNats]) {
  const run = world.missing === undefined ? test : test.skip
  const why = world.missing === undefined ? '' : ` (${world.missing})`

  run(`${world.name}: a lost bucket denies nobody, sidecars that start meanwhile included, and is filled by itself${why}`, async (t) => {
    t.timeout(180_000)
    const { nats, tollgate, grpc, shop } = await start(t, world)
    const customers = ['warm-1', 'warm-2', 'cold-1', 'cold-2']
    for (const customerId of customers) await shop.subscribe(customerId)
    for (const customerId of ['warm-1', 'warm-2']) await eventually(async () => (await ask(grpc, shop, customerId)).allowed)
    // Nobody is there to fill it for a while, as when everything is restarted together.
    await tollgate.controlPlane.stop('SIGKILL')
    const held = watchAnswers([grpc], shop, ['warm-1', 'warm-2'])
    const cold = watchAnswers([grpc], shop, ['cold-1', 'cold-2'])
    await nats.kill()
    await nats.lose()
    await nats.start()
    const second = openSecondSidecar(t, tollgate)
    await eventually(async () => (await ask(grpc, shop, 'warm-1')).stale, 30_000)
    t.is((await codeOf(ask(grpc, shop, 'cold-1'))).code, Status.UNAVAILABLE)
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    await tollgate.restartControlPlane()
    const { grpc: other } = await second
    const all = watchAnswers([other, grpc], shop, customers)
    for (const client of [grpc, other])
      for (const customerId of customers)
        await eventually(async () => (await codeOf(ask(client, shop, customerId))).code === Status.OK && !(await ask(client, shop, customerId)).stale, 30_000)
    // What is sold now comes to both.
    await shop.subscribe('later')
    for (const client of [grpc, other])
      await eventually(async () => (await codeOf(ask(client, shop, 'later'))).code === Status.OK && (await ask(client, shop, 'later')).allowed)
    await Promise.all([held.stop(), cold.stop(), all.stop()])
    t.deepEqual([...held.denied, ...cold.denied, ...all.denied], [])
    t.true(held.counts.stale > 0 && held.counts.unavailable === 0, JSON.stringify(held.counts))
    t.true(cold.counts.unavailable > 0, JSON.stringify(cold.counts))
    t.regex(tollgate.controlPlane.stderr(), /the bucket is being filled from storage/)
  })

  run(`${world.name}: after a restored backup access is what storage says, for everybody, at once${why}`, async (t) => {
    t.timeout(240_000)
    const { tollgate, grpc, shop } = await start(t, world, { WORKER_POLL_MS: '200' })
    const steady = ['steady-1', 'steady-2']
    const bought = new Map<string, string>()
    for (const customerId of [...steady, 'canceled-later', 'canceled-twice']) bought.set(customerId, (await shop.subscribe(customerId)).body.id)
    for (const customerId of bought.keys()) await eventually(async () => (await ask(grpc, shop, customerId)).allowed)
    // Until the feed has heard of a storage that is younger than the backup.
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    await tollgate.controlPlane.stop('SIGTERM')
    const restore = await backUp(t, tollgate)
    await tollgate.restartControlPlane()

    // Business goes on after the backup: revisions grow, customers come.
    for (let n = 0; n < 3; n += 1) {
      const { body } = await shop.api.post('/subscriptions', {
        customerId: 'canceled-twice',
        bundleId: 'pro-plan',
        storefrontId: 'us-store',
        paymentMethod: 'pm_card',
      })
      await shop.api.post(`/subscriptions/${body.id}/cancel`, { at: 'now' })
    }
    await shop.api.post(`/subscriptions/${bought.get('canceled-later')}/cancel`, { at: 'now' })
    await shop.subscribe('came-later')
    await eventually(async () => !(await ask(grpc, shop, 'canceled-later')).allowed)
    await eventually(async () => (await ask(grpc, shop, 'came-later')).allowed)
    await new Promise((resolve) => setTimeout(resolve, 7_000))
    let stopping = false
    const load = (async () => {
      for (let n = 0; !stopping; n += 1) await shop.subscribe(`load-${n}`).catch(() => undefined)
    })()
    const held = watchAnswers([grpc], shop, steady)
    await new Promise((resolve) => setTimeout(resolve, 500))
    await tollgate.controlPlane.stop('SIGKILL')
    await restore()
    await tollgate.restartControlPlane()

    const known = async (customerId: string) => {
      const answer = await ask(grpc, shop, customerId).catch(() => undefined)
      return answer && !answer.stale ? answer.allowed : undefined
    }
    // As the backup has it: this one is active again, that one was never there.
    await eventually(async () => (await known('canceled-later')) === true, 30_000)
    await eventually(async () => (await known('came-later')) === false, 30_000)
    // And what happens from now on counts, though its revisions are lower than those that were.
    const { status } = await shop.api.post(`/subscriptions/${bought.get('canceled-twice')}/cancel`, { at: 'now' })
    t.is(status, 200)
    await eventually(async () => (await known('canceled-twice')) === false, 15_000)
    stopping = true
    await load
    await held.stop()
    t.deepEqual(held.denied, [])
    t.regex(tollgate.controlPlane.stderr(), /a backup was restored/)
    const { grpc: other } = await openSecondSidecar(t, tollgate)
    t.false((await ask(other, shop, 'canceled-twice')).allowed)
    t.true((await ask(other, shop, 'canceled-later')).allowed)

    // The same by hand, for whoever wants to be sure: harmless.
    t.regex(await runCommand('control-plane/republish.ts', ['--after-restore'], tollgate.env), /republished \d+ entitlement sets/)
    for (const client of [grpc, other])
      await eventually(async () => (await codeOf(ask(client, shop, 'steady-1'))).code === Status.OK && !(await ask(client, shop, 'steady-1')).stale, 15_000)
    t.true((await ask(other, shop, 'canceled-later')).allowed)
  })
}

const onNats = natsMissing ? test.skip : test
onNats(
  `a sidecar whose NATS_BUCKET is misspelt says so, and makes nothing; a control plane of another storage says so too${natsMissing ? ` (${natsMissing})` : ''}`,
  async (t) => {
    const { nats, tollgate } = await start(t, sqliteAndNats)
    const { connect } = await import('@nats-io/transport-node')
    const { jetstreamManager } = await import('@nats-io/jetstream')
    const connection = await connect({ servers: new URL(nats.url).host })
    const manager = await jetstreamManager(connection)
    const { spawn } = await import('node:child_process')
    const sidecar = spawn(process.execPath, ['sidecar/main.ts'], {
      env: { ...process.env, ...tollgate.env, NATS_BUCKET: 'tollgaet', GRPC_PORT: '0', SIDECAR_HTTP_PORT: '0', LOG_LEVEL: 'warn' },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    t.teardown(() => void sidecar.kill('SIGKILL'))
    let said = ''
    sidecar.stderr.on('data', (data) => {
      said += data
    })
    await eventually(() => /NATS_BUCKET: this NATS server has no bucket/.test(said))
    const names = (await manager.streams.list().next()).map(({ config }) => config.name)
    t.deepEqual(
      names.filter((name) => name.startsWith('KV_')),
      ['KV_tollgate'],
    )
    sidecar.kill('SIGKILL')

    const DATA_DIR = await mkdtemp(join(tmpdir(), 'tollgate-other-'))
    t.teardown(() => rm(DATA_DIR, { recursive: true, force: true }))
    const { MONGODB_URL: _, ...env } = tollgate.env
    const stranger = await startProcess('control-plane/main.ts', { ...env, DATA_DIR, HTTP_PORT: '0', LOG_LEVEL: 'error' })
    t.teardown(() => stranger.stop('SIGKILL'))
    await eventually(() => /NATS_BUCKET: the bucket belongs to another installation/.test(stranger.stderr()))
    await connection.close()
  },
)
