/** MongoDB in bad weather, through a proxy that answers in its place: what was refused is refused, what is unknown is unavailable. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { ConfigError } from '../../common/config.ts'
import { isAppError } from '../../common/errors.ts'
import { createLog } from '../../common/log.ts'
import { Secret } from '../../common/secret.ts'
import { keys } from '../../control-plane/keys.ts'
import { connectMongo, databaseOf } from '../../control-plane/storage/mongo/connect.ts'
import { createMongoStorage } from '../../control-plane/storage/mongo/storage.ts'
import type { Storage } from '../../control-plane/storage/storage.ts'
import { type Fault, type MongoFaultProxy, startMongoFaultProxy } from '../support/mongo-fault-proxy.ts'
import { mongodbMissing, mongodbUrl } from '../support/mongodb.ts'

const clock = systemClock
const log = createLog('silent')
const onMongo = mongodbMissing ? test.skip : test.serial
const why = mongodbMissing ? ` (${mongodbMissing})` : ''

const tenant = (id: string) => ({ _id: keys.tenant(id), tenantId: id, name: id, mode: 'live' as const, createdAt: clock.now() })

const withProxy = async (run: (storage: Storage, proxy: MongoFaultProxy) => Promise<void>, options = '') => {
  const proxy = await startMongoFaultProxy(mongodbUrl())
  const storage = await createMongoStorage({ url: new Secret(`${proxy.url}${options}`), clock, log })
  try {
    await run(storage, proxy)
  } finally {
    await storage.close()
    await proxy.close()
  }
}

const failed = (code: number): Fault => ({ kind: 'instead', reply: { ok: 0, code, codeName: `code ${code}`, errmsg: 'not now' } })

onMongo(`an election, a shutdown or a read without its majority is unavailable, on every method${why}`, async (t) => {
  await withProxy(async (storage, proxy) => {
    const stored = await storage.tenants.insert(tenant('t'))
    const methods: [name: string, run: () => Promise<unknown>][] = [
      ['find', () => storage.tenants.find('t')],
      ['find', () => storage.tenants.page({ where: {}, limit: 1 })],
      ['find', () => storage.tenants.due({ by: 'repairAt', until: clock.now(), limit: 1 })],
      ['insert', () => storage.tenants.insert(tenant('other'))],
      ['update', () => storage.tenants.replace(stored)],
      ['delete', () => storage.tenants.remove(stored)],
    ]
    for (const code of [10107, 13435, 13436, 189, 11600, 11602, 91, 262, 134, 50]) {
      proxy.onCommand((_, name) => (methods.some(([one]) => one === name) ? failed(code) : undefined))
      const results = await Promise.allSettled(methods.map(([, run]) => run()))
      for (const [n, result] of results.entries())
        t.true(result.status === 'rejected' && isAppError(result.reason, 'unavailable'), `${methods[n]?.[0]} ${code}: ${JSON.stringify(result)}`)
    }
    proxy.onCommand(() => undefined)
    t.deepEqual(await storage.tenants.get('t'), stored)
  })
})

onMongo(`an election that is over at once is not noticed: the driver asks again, once, and a write stands once${why}`, async (t) => {
  await withProxy(async (storage, proxy) => {
    const stored = await storage.tenants.insert(tenant('t'))
    const once = (wanted: string) => {
      let left = 1
      proxy.onCommand((_, name) => (name === wanted && left-- > 0 ? failed(10107) : undefined))
    }
    once('find')
    t.is((await storage.tenants.get('t')).revision, 1)
    proxy.onCommand(() => undefined)
    t.is((await storage.tenants.replace(stored)).revision, 2)
  })
})

onMongo(`a write whose majority is not reached in time is unavailable, and may stand${why}`, async (t) => {
  await withProxy(async (storage, proxy) => {
    const stored = await storage.tenants.insert(tenant('t'))
    const writeConcernError = { code: 64, codeName: 'WriteConcernFailed', errmsg: 'waiting for replication timed out', errInfo: { wtimeout: true } }
    proxy.onCommand((_, name) => (name === 'update' || name === 'insert' ? { kind: 'after', reply: { writeConcernError } } : undefined))
    for (const write of [() => storage.tenants.replace(stored), () => storage.tenants.insert(tenant('other'))]) {
      const error = await t.throwsAsync(write())
      t.true(isAppError(error, 'unavailable'), String(error))
    }
    proxy.onCommand(() => undefined)
    t.is((await storage.tenants.get('t')).revision, 2)
    t.truthy(await storage.tenants.find('other'))
    const writes = proxy.commands.filter((command) => 'update' in command || 'insert' in command)
    for (const { writeConcern } of writes) t.deepEqual({ ...(writeConcern as object) }, { w: 'majority', wtimeout: 10_000 })
  })
})

onMongo(`a server that takes a command and never answers is given up${why}`, async (t) => {
  t.timeout(90_000)
  await withProxy(async (storage, proxy) => {
    const stored = await storage.tenants.insert(tenant('t'))
    proxy.onCommand((_, name) => (name === 'update' || name === 'find' ? { kind: 'silence' } : undefined))
    const results = await Promise.allSettled([storage.tenants.replace(stored), storage.tenants.find('t')])
    for (const result of results) t.true(result.status === 'rejected' && isAppError(result.reason, 'unavailable'), JSON.stringify(result))
  })
})

onMongo(`what the URL says of reading and writing weakens nothing${why}`, async (t) => {
  const options = '?readConcernLevel=local&readPreference=secondaryPreferred&w=1&journal=false&wtimeoutMS=1&socketTimeoutMS=0'
  await withProxy(async (storage, proxy) => {
    const stored = await storage.tenants.insert(tenant('t'))
    await storage.tenants.replace(stored)
    await storage.tenants.get('t')
    const of = (name: string) => proxy.commands.filter((command) => name in command)
    for (const { readConcern, $readPreference: preference } of of('find')) {
      t.like(readConcern, { level: 'majority' })
      t.true(preference === undefined || (preference as { mode: string }).mode === 'primary' || (preference as { mode: string }).mode === 'primaryPreferred')
    }
    for (const { writeConcern } of [...of('insert'), ...of('update')]) t.like(writeConcern, { w: 'majority', wtimeout: 10_000 })
  }, options)
})

onMongo(`a start builds no index on documents that are there: it names what is missing, and npm run migrate builds it${why}`, async (t) => {
  const url = mongodbUrl()
  const storage = await createMongoStorage({ url: new Secret(url), clock, log })
  await storage.tenants.insert(tenant('t'))
  const connection = await connectMongo(new Secret(url), log)
  const tenants = databaseOf(connection).collection('tenants')
  await tenants.dropIndex('repairAt__id_only')
  await tenants.createIndex({ name: 1 }, { name: 'of_an_administrator' })
  const error = await t.throwsAsync(createMongoStorage({ url: new Secret(url), clock, log }), { instanceOf: ConfigError })
  t.regex(error.message, /npm run migrate/)
  t.regex(error.message, /tenants: repairAt__id_only/)
  const migrate = () => promisify(execFile)(process.execPath, ['control-plane/migrate.ts'], { env: { ...process.env, MONGODB_URL: url } })
  const { stdout } = await migrate()
  t.regex(stdout, /1 of 1: tenants, 1 indexes: repairAt__id_only/)
  t.regex(stdout, /not used by this version, and not changed: tenants: of_an_administrator/)
  await (await createMongoStorage({ url: new Secret(url), clock, log })).close()
  t.regex((await migrate()).stdout, /every index exists/)
  // One that serves under another name is as good.
  await tenants.dropIndex('repairAt__id_only')
  await tenants.createIndex({ repairAt: 1, _id: 1 }, { name: 'by_hand' })
  await (await createMongoStorage({ url: new Secret(url), clock, log })).close()
  await connection.close()
  await storage.close()
})

onMongo(`every command about one document names its tenant, which is its shard key${why}`, async (t) => {
  await withProxy(async (storage, proxy) => {
    const first = await storage.tenants.insert(tenant('a b'))
    await storage.tenants.find(first._id)
    await storage.tenants.remove(await storage.tenants.replace(await storage.tenants.get(first._id)))
    await storage.customers.find(keys.customer('a b', 's', 'c/d'))
    await storage.entitlementSets.page({ where: { tenantId: 'a b' }, limit: 1 })
    await storage.payments.due({ by: 'dueAt', where: { clock: 'system', tenantId: 'a b' }, until: clock.now(), limit: 1 })
    const filters = proxy.commands.flatMap((command): Record<string, unknown>[] => {
      if ('find' in command && command.limit !== undefined && Object.keys(command.filter as object).length > 0)
        return [command.filter as Record<string, unknown>]
      if ('update' in command) return (command.updates as { q: Record<string, unknown> }[]).map(({ q }) => q)
      if ('delete' in command) return (command.deletes as { q: Record<string, unknown> }[]).map(({ q }) => q)
      return []
    })
    t.true(filters.length >= 6)
    for (const filter of filters) t.is(filter.tenantId, 'a b', JSON.stringify(filter))
  })
})
