import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { isAppError } from '../../common/errors.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { createLog } from '../../common/log.ts'
import { eventually } from '../support/eventually.ts'
import { makeNatsAccounts } from '../support/nats-accounts.ts'
import { openKept, openReader } from '../support/nats-feeds.ts'
import { natsMissing, newerNats, newerNatsMissing, startNatsCluster, startNatsServer } from '../support/nats-server.ts'
import { bytesOf } from '../support/text.ts'
import { testFeed } from './feed.ts'

const clock = systemClock
const log = createLog('silent')

testFeed(test, {
  name: 'in-process',
  open: async () => {
    const feed = createInProcessFeed({ clock, log })
    return { publisher: feed, reader: feed, close: () => feed.close() }
  },
})

testFeed(
  test,
  natsMissing
    ? { name: 'NATS', missing: natsMissing }
    : {
        name: 'NATS',
        open: async () => {
          const server = await startNatsServer()
          const [publisher, reader] = [await openKept({ url: server.url }), await openReader({ url: server.url })]
          return {
            publisher,
            reader,
            close: async () => {
              await Promise.all([publisher.close(), reader.close()])
              await server.stop()
            },
          }
        },
      },
)

for (const [name, missing, path] of [
  ['NATS, as its own users', natsMissing, undefined],
  ['a newer NATS, as its own users', newerNatsMissing, newerNats],
] as const)
  testFeed(
    test,
    missing
      ? { name, missing }
      : {
          name,
          open: async () => {
            const accounts = await makeNatsAccounts()
            const server = await startNatsServer({ path, configFile: accounts.configFile })
            const controlPlane = { url: server.url, ...accounts.optionsOf('control-plane') }
            const [publisher, reader] = [await openKept(controlPlane), await openReader(controlPlane)]
            return {
              publisher,
              reader,
              close: async () => {
                await Promise.all([publisher.close(), reader.close()])
                await server.stop()
              },
            }
          },
        },
  )

/** A cluster is ready when its servers have agreed on who leads. */
const whenReady = async <T>(open: () => Promise<T>): Promise<T> => {
  let opened: T | undefined
  await eventually(async () => {
    opened = await open().catch(() => undefined)
    return opened !== undefined
  }, 30_000)
  return opened as T
}

const openCluster = async (path: string | undefined) => {
  const cluster = await startNatsCluster({ path })
  const [first, ...others] = cluster.servers.map(({ url }) => url)
  const publisher = await whenReady(() => openKept({ url: first ?? '', keeps: { replicas: 3 } }))
  const reader = await openReader({ url: others.join(',') })
  return {
    publisher,
    reader,
    close: async () => {
      await Promise.all([publisher.close(), reader.close()])
      await cluster.stop()
    },
  }
}

for (const [name, missing, path] of [
  ['NATS cluster of three', natsMissing, undefined],
  ['NATS cluster of three newer ones', newerNatsMissing, newerNats],
] as const)
  testFeed(test, missing ? { name, missing } : { name, open: () => openCluster(path) })

const customer = (n: number) => ({ tenantId: 't', storefrontId: 's', customerId: `c${n}` })
const setOf = (n: number, revision: number) => ({ ...customer(n), revision, sandbox: false, grants: [], usage: [] })
const testOnNats = natsMissing ? test.skip : test
const why = natsMissing ? ` (${natsMissing})` : ''

testOnNats(`NATS: whoever was away over a removal and its forgetting is told to forget everything, and is live again; nobody else is${why}`, async (t) => {
  const server = await startNatsServer()
  const { createProxy } = await import('../support/tcp-proxy.ts')
  const proxy = await createProxy(server.url)
  const [publisher, away, present] = [await openKept({ url: server.url }), await openReader({ url: proxy.url }), await openReader({ url: server.url })]
  const told = { away: 0, present: 0 }
  const heard = new Set<string>()
  const listener = { onMissing: () => {}, onClock: () => {} }
  const watch = await away.watch({ ...listener, onSet: () => {}, onReset: () => void told.away++ })
  await present.watch({ ...listener, onSet: (set) => heard.add(`${set.customerId}-${set.revision}`), onReset: () => void told.present++ })
  const interrupt = async (meanwhile: () => Promise<void>) => {
    proxy.cut()
    await eventually(() => !watch.isLive())
    await meanwhile()
    proxy.restore()
    await eventually(() => watch.isLive())
  }
  await publisher.putSet(setOf(1, 1))
  await publisher.putSet(setOf(2, 1))
  await interrupt(async () => {
    await publisher.putSet({ ...setOf(1, 2), removed: true })
    await eventually(() => heard.has('c1-2'))
    // The last message of the stream is what is taken out of it.
    await publisher.forgetSet(customer(1))
  })
  t.deepEqual(told, { away: 1, present: 0 })
  // The removal is heard, and forgotten while the watch is away.
  await publisher.putSet({ ...setOf(2, 2), removed: true })
  await eventually(() => heard.has('c2-2'))
  await interrupt(() => publisher.putSet(setOf(3, 1)))
  await interrupt(() => publisher.forgetSet(customer(2)))
  t.deepEqual(told, { away: 1, present: 0 }, 'there was nothing that it had not heard')
  for (const n of [1, 2]) t.is(await away.getSet(customer(n)), undefined)
  await Promise.all([publisher.close(), away.close(), present.close()])
  await proxy.close()
  await server.stop()
})

testOnNats(`NATS: a slow watch loses no change when a customer is forgotten${why}`, async (t) => {
  const server = await startNatsServer()
  const { createProxy } = await import('../support/tcp-proxy.ts')
  const proxy = await createProxy(server.url)
  const publisher = await openKept({ url: server.url })
  // One reader follows everything, the other some tenants alone.
  const readers = await Promise.all([undefined, ['t']].map((tenants) => openReader({ url: proxy.url, tenants })))
  const heard = readers.map(() => new Set<string>())
  const listener = { onMissing: () => {}, onClock: () => {}, onReset: () => {} }
  await Promise.all(readers.map((reader, at) => reader.watch({ ...listener, onSet: ({ customerId }) => heard[at]?.add(customerId) })))
  await publisher.putSet({ ...setOf(0, 1), removed: true })
  proxy.hold()
  // The server sends some two megabytes, and waits for the reader before it sends the rest (flow control).
  const terms = { kind: 'value' as const, value: 'x'.repeat(900_000) }
  const grants = [{ key: 'k', subscriptionId: 's', bundleId: 'b', fromMs: 0, inactive: false, terms }]
  for (let n = 1; n <= 8; n += 1) await publisher.putSet({ ...setOf(n, 1), grants })
  await publisher.forgetSet(customer(0))
  proxy.release()
  for (const one of heard) await eventually(() => one.has('c8'))
  for (const one of heard) for (let n = 1; n <= 8; n += 1) t.true(one.has(`c${n}`), `customer ${n}`)
  await Promise.all([publisher, ...readers].map((feed) => feed.close()))
  await proxy.close()
  await server.stop()
})

testOnNats(`NATS: while the server is away it says unavailable, never "none", and afterwards nothing was missed${why}`, async (t) => {
  const server = await startNatsServer()
  const [publisher, reader] = [await openKept({ url: server.url }), await openReader({ url: server.url })]
  const seen = new Map<string, number>()
  const watch = await reader.watch({ onSet: (set) => seen.set(set.customerId, set.revision), onMissing: () => {}, onClock: () => {}, onReset: () => {} })
  await publisher.putSet(setOf(1, 1))
  await eventually(() => seen.get('c1') === 1)

  await server.kill()
  await eventually(() => !watch.isLive())
  for (const work of [() => reader.getSet(customer(1)), () => reader.putSet(setOf(1, 2)), () => reader.ping()]) {
    const error = await t.throwsAsync(work())
    t.true(isAppError(error, 'unavailable'))
  }
  await server.start()
  await eventually(() => watch.isLive())
  // The other connection may be back a moment later.
  await eventually(() =>
    publisher.putSet(setOf(1, 3)).then(
      () => true,
      () => false,
    ),
  )
  await eventually(() => seen.get('c1') === 3)
  t.is((await reader.getSet(customer(1)))?.revision, 3)
  await Promise.all([publisher.close(), reader.close()])
  await server.stop()
})

testOnNats(`NATS: changes made while one reader was cut off reach it when it is back${why}`, async (t) => {
  const server = await startNatsServer()
  const { createProxy } = await import('../support/tcp-proxy.ts')
  const proxy = await createProxy(server.url)
  const [publisher, reader] = [await openKept({ url: server.url }), await openReader({ url: proxy.url })]
  const seen = new Map<string, number>()
  const watch = await reader.watch({ onSet: (set) => seen.set(set.customerId, set.revision), onMissing: () => {}, onClock: () => {}, onReset: () => {} })
  for (let round = 1; round <= 5; round += 1) {
    proxy.cut()
    for (let n = 0; n < 20; n += 1) await publisher.putSet(setOf(n, round))
    proxy.restore()
    await eventually(() => watch.isLive())
    // Live means: everything stored until then has been delivered.
    for (let n = 0; n < 20; n += 1) t.is(seen.get(`c${n}`), round, `customer ${n} after cut ${round}`)
  }
  await Promise.all([publisher.close(), reader.close()])
  await proxy.close()
  await server.stop()
})

testOnNats(`NATS: it is told when no server is reached, when one is lost, and when it is back${why}`, async (t) => {
  const told: string[] = []
  const note = (_: unknown, message: string) => void told.push(message)
  const aloud = { ...log, warn: note, info: note } as unknown as typeof log
  const server = await startNatsServer()
  await server.kill()
  const opening = openKept({ url: server.url, log: aloud })
  await eventually(() => told.some((message) => /no NATS server can be reached/.test(message)))
  await server.start()
  const feed = await opening
  await server.kill()
  await eventually(() => told.some((message) => /was lost/.test(message)))
  await server.start()
  await eventually(() => told.includes('feed: reconnected'))
  await t.throwsAsync(feed.ask('t', bytesOf('why?'), 1_000), { message: 'no control plane answers' })
  await feed.close()
  await server.stop()
  t.is(told.filter((message) => /was lost/.test(message)).length, 1)
})
