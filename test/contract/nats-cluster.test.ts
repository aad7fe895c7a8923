/** The feed on three nats-servers that hold the bucket together, while servers die. */

import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { createLog } from '../../common/log.ts'
import { putLatest, toEntitlementSet } from '../../control-plane/entitlements/publish-entitlements.ts'
import { removeSet } from '../../control-plane/entitlements/remove-set.ts'
import { keys } from '../../control-plane/keys.ts'
import type { Services } from '../../control-plane/ports.ts'
import type { Tenant } from '../../control-plane/schemas/tenant.ts'
import { createSqliteStorage } from '../../control-plane/storage/sqlite.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { eventually } from '../support/eventually.ts'
import { openKept, openReader } from '../support/nats-feeds.ts'
import { type NatsCluster, natsMissing, newerNats, newerNatsMissing, startNatsCluster, startNatsServer } from '../support/nats-server.ts'

const onNats = natsMissing ? test.skip : test.serial
const why = natsMissing ? ` (${natsMissing})` : ''
const customer = (n: number | string) => ({ tenantId: 't', storefrontId: 's', customerId: `c${n}` })
const setOf = (n: number | string, revision: number) => ({ ...customer(n), revision, sandbox: false, grants: [], usage: [] })
const nothing = { onSet: () => {}, onMissing: () => {}, onClock: () => {}, onReset: () => {} }

/** A cluster takes a while to agree on who leads. */
const openOn = async (cluster: NatsCluster, at: number, options: Partial<Parameters<typeof openKept>[0]> = { keeps: { replicas: 3 } }) => {
  const url = cluster.servers[at]?.url ?? ''
  let opened: Awaited<ReturnType<typeof openKept>> | undefined
  await eventually(async () => {
    opened = await openKept({ ...options, url }).catch(() => undefined)
    return opened !== undefined
  }, 30_000)
  return opened as NonNullable<typeof opened>
}

const managerOf = async (url: string) => {
  const connection = await connect({ servers: new URL(url).host })
  return { manager: await jetstreamManager(connection), close: () => connection.close() }
}

onNats(`no read goes back behind what the watch has shown, whichever server answers it${why}`, async (t) => {
  t.timeout(120_000)
  const cluster = await startNatsCluster()
  const publisher = await openOn(cluster, 0)
  const readers = await Promise.all([1, 2].map((at) => openReader({ url: cluster.servers[at]?.url ?? '' })))
  let [reads, behind] = [0, 0]
  const pending: Promise<void>[] = []
  let newest = 0
  for (const reader of readers)
    await reader.watch({
      ...nothing,
      // As a sidecar does it: nobody held the customer when the change came, and somebody asks in the next moment.
      onSet: ({ customerId, revision, ...of }) => {
        if (revision === 40) newest += 1
        pending.push(
          reader.getSet({ ...of, customerId }).then((set) => {
            reads += 1
            if ((set?.revision ?? 0) < revision) behind += 1
          }),
        )
      },
    })
  for (let revision = 1; revision <= 40; revision += 1) await Promise.all(Array.from({ length: 50 }, (_, n) => publisher.putSet(setOf(n, revision))))
  // The newest of each comes to both, whatever of the older ones was left out: what is asked after that nobody would wait for.
  await eventually(() => newest === 2 * 50)
  await Promise.all(pending)
  t.true(reads >= 100)
  t.is(behind, 0, `${behind} of ${reads} reads went back`)
  await Promise.all([publisher, ...readers].map((feed) => feed.close()))
  await cluster.stop()
})

onNats(`of many control planes that publish one customer at once the newest set stays, on a server that may take an older one too${why}`, async (t) => {
  t.timeout(120_000)
  const cluster = await startNatsCluster()
  const feeds = [await openOn(cluster, 0), await openReader({ url: cluster.servers[1]?.url ?? '' })] as const
  const stored = new Map<string, number>()
  const entitlementSets = {
    find: async (id: string) => {
      const [tenantId = '', storefrontId = '', customerId = ''] = id.split('/')
      return { tenantId, storefrontId, customerId, sandbox: false, grants: [], usage: [], revision: stored.get(customerId) }
    },
  }
  const storage = { entitlementSets } as unknown as Parameters<typeof putLatest>[0]['storage']
  const log = createLog('silent')
  for (let n = 0; n < 60; n += 1) {
    await Promise.all(
      Array.from({ length: 10 }, async (_, at) => {
        // Stored first, as every publication is, and in the order of its revisions.
        const revision = (stored.get(`c${n}`) ?? 0) + 1
        stored.set(`c${n}`, revision)
        await new Promise((resolve) => setTimeout(resolve, at % 3))
        await putLatest({ storage, feed: feeds[at % 2 === 0 ? 0 : 1], log }, setOf(n, revision))
      }),
    )
    t.is((await feeds[1].getSet(customer(n)))?.revision, 10)
  }
  await Promise.all(feeds.map((feed) => feed.close()))
  await cluster.stop()
})

onNats(`a customer that is removed while others publish it stays removed, on a server that may take an older set too${why}`, async (t) => {
  t.timeout(120_000)
  const cluster = await startNatsCluster()
  const feeds = [await openOn(cluster, 0), await openReader({ url: cluster.servers[1]?.url ?? '' })] as const
  t.true(feeds[0].mayReorder())
  const storage = createSqliteStorage({ path: ':memory:', clock: systemClock })
  const log = createLog('silent')
  const tenant = { tenantId: 't', mode: 'live' } as Tenant
  for (let n = 0; n < 40; n += 1) {
    const of = customer(n)
    const _id = keys.customer('t', 's', of.customerId)
    let stored = await storage.entitlementSets.insert({ _id, ...of, sandbox: false, grants: [], usage: [], createdAt: new Date() })
    const publications: Promise<unknown>[] = []
    for (let at = 0; at < 6; at += 1) {
      publications.push(putLatest({ storage, feed: feeds[at % 2 === 0 ? 0 : 1], log }, toEntitlementSet(stored)))
      stored = await storage.entitlementSets.replace(stored)
    }
    const services = { storage, feed: feeds[n % 2 === 0 ? 0 : 1], clock: systemClock, log, psps: {} } as Services
    publications.push(removeSet(tenantScope(services, tenant), of))
    await Promise.all(publications)
    t.is(await feeds[1].getSet(of), undefined, `customer ${n}`)
  }
  await Promise.all(feeds.map((feed) => feed.close()))
  await storage.close()
  await cluster.stop()
})

onNats(`as_of is never later than what has come, also when the server dies that holds the watch's consumer${why}`, async (t) => {
  t.timeout(180_000)
  const cluster = await startNatsCluster()
  const publisher = await openOn(cluster, 0)
  const names = ['n1', 'n2', 'n3']
  const { manager, close } = await managerOf(cluster.servers[0]?.url ?? '')
  const reader = await openReader({ url: cluster.servers[0]?.url ?? '' })
  const seen = new Map<string, number>()
  // The consumer is put somewhere by the servers: begun again until it is on one that nobody here is connected to.
  let watch = await reader.watch({ ...nothing, onSet: ({ customerId, revision }) => seen.set(customerId, revision) })
  /** Of the consumer that was made last: one that is stopped stays for a while. */
  const holder = async () => {
    const all = await manager.consumers.list('KV_test').next()
    return all.toSorted((one, other) => one.created.localeCompare(other.created)).at(-1)?.cluster?.leader ?? ''
  }
  for (let tries = 0; tries < 20 && (await holder()) === 'n1'; tries += 1) {
    await watch.stop()
    watch = await reader.watch({ ...nothing, onSet: ({ customerId, revision }) => seen.set(customerId, revision) })
  }
  const held = await holder()
  t.true(names.includes(held) && held !== 'n1', `the consumer is at ${held}`)
  let asOfWhenIdle = 0
  await eventually(() => watch.isLive() && watch.currentAsOfMs() > 0)
  asOfWhenIdle = watch.currentAsOfMs()
  await cluster.servers[names.indexOf(held)]?.kill()

  const stored: { revision: number; atMs: number }[] = []
  const wrong: string[] = []
  const look = setInterval(() => {
    const asOfMs = watch.currentAsOfMs()
    const last = stored.findLast(({ atMs }) => atMs < asOfMs)
    if (last && (seen.get('cx') ?? 0) < last.revision) wrong.push(`as of ${asOfMs}, and revision ${last.revision} of ${last.atMs} has not come`)
  }, 5)
  for (let revision = 1; revision <= 60; revision += 1) {
    const put = await publisher.putSet(setOf('x', revision)).then(
      () => true,
      () => false,
    )
    if (put) stored.push({ revision, atMs: Date.now() })
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  await eventually(() => seen.get('cx') === stored.at(-1)?.revision, 30_000)
  await eventually(() => watch.currentAsOfMs() > (stored.at(-1)?.atMs ?? 0), 30_000)
  clearInterval(look)
  t.deepEqual(wrong, [])
  t.true(stored.length > 0 && watch.currentAsOfMs() > asOfWhenIdle)
  await close()
  await Promise.all([publisher.close(), reader.close()])
  await cluster.stop()
})

onNats(`a bucket on one server of a cluster is warned of, and is spread when NATS_REPLICAS says so${why}`, async (t) => {
  t.timeout(120_000)
  const cluster = await startNatsCluster()
  const told: string[] = []
  const log = { ...createLog('silent'), warn: (_: unknown, message: string) => void told.push(message), info: () => {} } as unknown as ReturnType<
    typeof createLog
  >
  const url = cluster.servers[0]?.url ?? ''
  const single = await openOn(cluster, 0, { log })
  t.true(told.some((message) => message.includes('on only one server of the cluster')))
  const reader = await openReader({ url: cluster.servers[1]?.url ?? '' })
  await single.putSet(setOf(1, 1))
  t.is((await reader.getSet(customer(1)))?.revision, 1)
  const { manager, close } = await managerOf(url)
  t.like((await manager.streams.info('KV_test')).config, { num_replicas: 1, allow_direct: true })
  const spread = await openOn(cluster, 0)
  t.like((await manager.streams.info('KV_test')).config, { num_replicas: 3, allow_direct: true })
  await eventually(async () => ((await manager.streams.info('KV_test')).cluster?.replicas ?? []).filter(({ current }) => current).length === 2, 30_000)
  await spread.putSet(setOf(1, 2))
  // Who was there before reads from the server that leads from now on.
  await eventually(async () => (await reader.getSet(customer(1)).catch(() => undefined))?.revision === 2)
  await Promise.all([single, reader, spread].map((feed) => feed.close()))
  await close()
  await cluster.stop()
})

const onNewer = natsMissing || newerNatsMissing ? test.skip : test.serial
for (const [name, run, path, note] of [
  ['of 2.9', onNats, undefined, why],
  ['of 2.10 and later', onNewer, newerNats, newerNatsMissing ? ` (${newerNatsMissing})` : ''],
] as const)
  run(`a sidecar of some tenants hears of no other, not even its bytes: ${name}${note}`, async (t) => {
    const server = await startNatsServer(path ? { path } : {})
    const publisher = await openKept({ url: server.url })
    const reader = await openReader({ url: server.url, tenants: ['t', 'u v'] })
    const heard: string[] = []
    const watch = await reader.watch({ ...nothing, onSet: ({ tenantId }) => heard.push(tenantId), onClock: ({ tenantId }) => heard.push(`clock ${tenantId}`) })
    for (const tenantId of ['t', 'other', 'u v', 't2']) {
      await publisher.putSet({ ...setOf(1, 1), tenantId })
      await publisher.putClock({ tenantId, revision: 1, nowMs: 1 })
    }
    await eventually(() => heard.length === 4)
    const beforeMs = watch.currentAsOfMs()
    await eventually(() => watch.currentAsOfMs() > beforeMs)
    t.deepEqual(heard.toSorted(), ['clock t', 'clock u v', 't', 'u v'])
    t.true(watch.isLive())
    const { manager, close } = await managerOf(server.url)
    const consumers = await manager.consumers.list('KV_test').next()
    const filters = consumers.filter(({ config }) => config.deliver_subject).map(({ config }) => config.filter_subject)
    const keys = ['beat', 'clock.dA', 'clock.dSB2', 'forgotten', 'set.dA.>', 'set.dSB2.>', 'state']
    t.deepEqual(
      filters.toSorted(),
      keys.map((key) => `$KV.test.${key}`),
    )
    await close()
    await server.kill()
    await eventually(() => !watch.isLive())
    await server.start()
    await eventually(() => watch.isLive(), 30_000)
    await Promise.all([publisher.close(), reader.close()])
    await server.stop()
  })
