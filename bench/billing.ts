/**
 * `npm run bench:billing`: renewals a second, and how that grows with the number of subscriptions that are stored.
 *
 * One worker renews subscriptions that are due, over a provider in memory that answers at once, so that what is
 * measured is ours. The floor is the same store doing the same number of bare writes, of documents of the same size, by
 * key, with nothing around them, in the same run. On SQLite, or on the server that MONGODB_URL names.
 *
 *   npm run bench:billing -- --due 1000 --stored 1000,10000,100000,1000000 --rounds 3
 *   npm run bench:billing -- --due 2000 --stored 1000 --latency 500        (a provider that takes half a second)
 *   npm run bench:billing -- --due 500 --stored 1000 --customers 1         (all of one customer)
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import mongoose from 'mongoose'
import pMap from 'p-map'
import { systemClock } from '../common/clock.ts'
import { createInProcessFeed } from '../common/feed/in-process.ts'
import { createLog } from '../common/log.ts'
import { withDatabase } from '../common/mongodb-url.ts'
import { createSealing } from '../control-plane/access/sealing.ts'
import { createBundle } from '../control-plane/catalog/bundles.ts'
import { createTenant } from '../control-plane/catalog/tenants.ts'
import { keys } from '../control-plane/keys.ts'
import type { Psp } from '../control-plane/payments/psp/psp.ts'
import type { Services } from '../control-plane/services.ts'
import { collectionNames } from '../control-plane/storage/documents.ts'
import type { Storage } from '../control-plane/storage/storage.ts'
import { createSubscription } from '../control-plane/subscriptions/create-subscription.ts'
import { startWorker } from '../control-plane/worker/worker.ts'
import { createBank } from '../test/simulation/bank.ts'
import { copyOf, openStorageOf } from '../test/support/due-subscriptions.ts'

const { values } = parseArgs({
  options: {
    due: { type: 'string', default: '1000' },
    stored: { type: 'string', default: '1000,10000,100000,1000000' },
    rounds: { type: 'string', default: '3' },
    latency: { type: 'string', default: '0' },
    customers: { type: 'string' },
  },
})
const due = Number(values.due)
const rounds = Number(values.rounds)
const sizes = values.stored.split(',').map(Number)
/** Of the provider, in milliseconds. */
const latencyMs = Number(values.latency)
/** Among so many customers what is due is spread; without, each has one. */
const customers = values.customers === undefined ? undefined : Number(values.customers)
const HOUR_MS = 3_600_000
/** As many at once as the worker has. */
const AT_ONCE = 16

const url = process.env.MONGODB_URL && withDatabase(process.env.MONGODB_URL, `bench_billing_${process.pid}`)
const folder = mkdtempSync(join(tmpdir(), 'tollgate-bench-'))
const env: Record<string, string> = url ? { MONGODB_URL: url } : { DATA_DIR: folder }

/** Counts what is written. */
const counting = (storage: Storage) => {
  const writes = { count: 0 }
  const collections = collectionNames.map((name) => {
    const collection = storage[name]
    const counted = (method: 'insert' | 'replace') => (document: never) => {
      writes.count += 1
      return collection[method](document)
    }
    return [name, { ...collection, insert: counted('insert'), replace: counted('replace') }]
  })
  return { writes, storage: { ...storage, ...Object.fromEntries(collections) } as Storage }
}

const openFloor = async (): Promise<{ write(id: string, text: string): unknown; close(): unknown }> => {
  if (url) {
    const connection = await mongoose.createConnection(url, { dbName: 'floor' }).asPromise()
    const collection = connection.collection<{ _id: string }>('floor')
    return { write: (id, text) => collection.replaceOne({ _id: id }, { text } as never, { upsert: true }), close: () => connection.close() }
  }
  const database = new DatabaseSync(join(folder, 'floor.sqlite'))
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE floor (id TEXT PRIMARY KEY, document TEXT) WITHOUT ROWID')
  const statement = database.prepare('INSERT OR REPLACE INTO floor VALUES (?, ?)')
  return { write: (id, text) => statement.run(id, text), close: () => database.close() }
}

const opened = await openStorageOf(env)
const { writes, storage } = counting(opened)
const bank = createBank(() => Date.now())
const slow = (psp: Psp): Psp => (latencyMs === 0 ? psp : { ...psp, charge: (request) => sleep(latencyMs).then(() => psp.charge(request)) })
const services: Services = {
  storage,
  feed: createInProcessFeed({ clock: systemClock }),
  psps: { open: (_, account) => ({ psp: slow(bank.open(account)), capture: 'automatic', webhookProblem: undefined, timeoutMs: 1_000, circuit: undefined }) },
  sealing: createSealing(undefined),
  webhooksInHand: { count: 0 },
  clock: systemClock,
  log: createLog('error'),
}
const floor = await openFloor()
const worker = startWorker(services, { pollMs: 2 ** 30 })
try {
  const storefront = {
    id: 'shop',
    name: 'shop',
    currency: 'USD',
    timeZone: 'UTC',
    routing: { split: [{ account: 'bank', weight: 1 }], fallback: [], rules: [] },
    billing: { graceHours: 72, retryHours: [24], firstPaymentHours: 23, proration: 'day' as const, maxAttempts: 15, maxAttemptsDays: 30 },
  }
  const { tenant } = await createTenant(services, { id: 'bench', name: 'bench', mode: 'live', storefronts: [storefront] }, 'key')
  await createBundle(services, tenant, 'shop', 'daily', {
    name: 'daily',
    pricing: { amountMinor: 100, currency: 'USD', interval: 'day', intervalCount: 1 },
    entitlements: Array.from({ length: 5 }, (_, n) => ({ key: `feature-${n}`, kind: 'flag' as const, enabled: true })),
    trialDays: 0,
    refundEndsAccess: false,
  })
  const { subscription } = await createSubscription(services, tenant, 'template', {
    customerId: 'template',
    bundleId: 'daily',
    storefrontId: 'shop',
    paymentMethod: 'good',
  })
  const customer = await storage.customers.get(keys.customer('bench', 'shop', 'template'))
  const template = { subscription, customer: { ...customer, repairAt: undefined } }
  const documentText = JSON.stringify(subscription)

  /** Documents that are stored and not due, in bulk where the store has a way. */
  const fill = async (from: number, to: number): Promise<void> => {
    const later = new Date(Date.now() + 24 * 365 * HOUR_MS)
    const ids = Array.from({ length: to - from }, (_, n) => `stored-${from + n}`)
    if (url) {
      await pMap(ids, (id) => opened.subscriptions.insert(copyOf(template, id, later).subscription), { concurrency: AT_ONCE })
      return
    }
    const database = new DatabaseSync(join(folder, 'tollgate.sqlite'), { timeout: 5_000 })
    const insert = database.prepare('INSERT INTO subscriptions (id, revision, document) VALUES (?, 1, ?)')
    database.exec('BEGIN')
    for (const id of ids) {
      const copy = copyOf(template, id, later).subscription
      insert.run(copy._id, JSON.stringify({ ...copy, revision: 1, updatedAt: copy.createdAt }))
    }
    database.exec('COMMIT')
    database.close()
  }

  process.stdout.write(`${url ? 'MONGODB_URL' : 'SQLite'}; ${due} due; ${documentText.length} bytes a subscription; median of ${rounds}\n`)
  process.stdout.write('stored     renewals/s   writes each   floor, renewals/s   of the floor\n')
  await worker.runOnce()
  let stored = 0
  let serial = 0
  for (const size of sizes) {
    await fill(stored, size)
    stored = size
    const results: { rate: number; floorRate: number; each: number }[] = []
    for (let round = 0; round < rounds; round += 1) {
      const dueAt = new Date(Date.now() - HOUR_MS)
      const ids = Array.from({ length: due }, () => `due-${serial++}`)
      await pMap(
        ids,
        async (id, n) => {
          const owner = customers === undefined ? id : `owner-${serial}-${n % customers}`
          const { customer: whose } = copyOf(template, owner, dueAt)
          if (n < (customers ?? due)) await opened.customers.insert(whose)
          await opened.subscriptions.insert({ ...copyOf(template, id, dueAt).subscription, customerId: owner })
        },
        { concurrency: AT_ONCE },
      )
      writes.count = 0
      const startedMs = performance.now()
      await worker.runOnce()
      const elapsedS = (performance.now() - startedMs) / 1000
      const each = writes.count / due
      const active = await opened.payments.page({ where: { tenantId: 'bench', subscriptionId: ids.at(-1) ?? '' }, limit: 2 })
      if (active.data.filter(({ status }) => status === 'succeeded').length !== 1) throw new Error('the last one was not renewed')

      const floorStartedMs = performance.now()
      await pMap(
        Array.from({ length: writes.count }, (_, n) => `${round}-${n % due}`),
        async (id) => floor.write(id, documentText),
        { concurrency: AT_ONCE },
      )
      const floorS = (performance.now() - floorStartedMs) / 1000
      results.push({ rate: due / elapsedS, floorRate: due / floorS, each })
    }
    const median = (pick: (result: (typeof results)[number]) => number): number =>
      results.map(pick).sort((a, b) => a - b)[Math.floor(results.length / 2)] ?? Number.NaN
    const [rate, floorRate] = [median((one) => one.rate), median((one) => one.floorRate)]
    const cells = [
      rate.toFixed(0).padStart(10),
      median((one) => one.each)
        .toFixed(1)
        .padStart(11),
      floorRate.toFixed(0).padStart(17),
      (rate / floorRate).toFixed(2).padStart(12),
    ]
    process.stdout.write(`${String(size).padEnd(8)} ${cells.join('   ')}\n`)
  }
} finally {
  await worker.stop()
  await floor.close()
  await opened.close()
  rmSync(folder, { recursive: true, force: true })
}
