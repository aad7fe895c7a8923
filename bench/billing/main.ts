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
 *   npm run bench:billing -- --due 1000 --stored 1000 --control-planes 1,2,4
 *
 * The last runs so many workers on the one store, each a process of its own, and compares them with the first number of
 * them. What is due falls due at one moment, when all of them run.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import mongoose from 'mongoose'
import pMap from 'p-map'
import { withDatabase } from '../../common/mongodb-url.ts'
import { collectionNames } from '../../control-plane/storage/documents.ts'
import type { Storage } from '../../control-plane/storage/storage.ts'
import { startWorker } from '../../control-plane/worker/worker.ts'
import { copyOf, openStorageOf } from '../../test/support/due-subscriptions.ts'
import { createBenchServices } from './services.ts'
import { insertInBulk, makeTemplate } from './template.ts'
import { startWorkerProcess } from './worker-process.ts'

const { values } = parseArgs({
  options: {
    due: { type: 'string', default: '1000' },
    stored: { type: 'string', default: '1000,10000,100000,1000000' },
    rounds: { type: 'string', default: '3' },
    latency: { type: 'string', default: '0' },
    customers: { type: 'string' },
    'at-once': { type: 'string', default: '128' },
    'control-planes': { type: 'string' },
    lead: { type: 'string', default: '20' },
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
/** Of writes, as many at once as the worker has in hand. */
const AT_ONCE = 128
/** How many workers; without, one in this process, which is timed without their looks. */
const controlPlanes = values['control-planes']?.split(',').map(Number)
/** In seconds: within it what is due has to be stored. */
const leadMs = Number(values.lead) * 1_000

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
const services = createBenchServices(storage, latencyMs)
const floor = await openFloor()
const worker = startWorker(services, { pollMs: 2 ** 30, atOnce: Number(values['at-once']) })
try {
  const template = await makeTemplate(services, 'bench')
  const documentText = JSON.stringify(template.subscription)

  /** Documents that are stored and not due, in bulk where the store has a way. */
  const fill = async (from: number, to: number): Promise<void> => {
    const later = new Date(Date.now() + 24 * 365 * HOUR_MS)
    const ids = Array.from({ length: to - from }, (_, n) => `stored-${from + n}`)
    if (url) {
      await pMap(ids, (id) => opened.subscriptions.insert(copyOf(template, id, later).subscription), { concurrency: AT_ONCE })
      return
    }
    insertInBulk(
      folder,
      'subscriptions',
      ids.map((id) => copyOf(template, id, later).subscription),
    )
  }

  let serial = 0
  /** @returns the ids of what falls due then. */
  const makeDue = async (dueAt: Date): Promise<string[]> => {
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
    return ids
  }
  const checkRenewed = async (id: string | undefined): Promise<void> => {
    const { data } = await opened.payments.page({ where: { tenantId: 'bench', subscriptionId: id ?? '' }, limit: 2 })
    if (data.filter(({ status }) => status === 'succeeded').length !== 1) throw new Error(`${id} was not renewed once`)
  }
  const median = (numbers: number[]): number => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN

  /** @returns renewals a second of so many workers together. */
  const timeTogether = async (count: number): Promise<number> => {
    const dueAt = new Date(Date.now() + leadMs)
    const ids = await makeDue(dueAt)
    if (Date.now() > dueAt.getTime()) throw new Error('what is due was not stored in time: give it a longer --lead')
    const workers = await Promise.all(Array.from({ length: count }, () => startWorkerProcess(env, latencyMs)))
    if (Date.now() > dueAt.getTime()) throw new Error('the workers did not start in time: give them a longer --lead')
    await sleep(dueAt.getTime() - Date.now())
    for (;;) {
      const query = { until: new Date(Math.max(Date.now(), dueAt.getTime())), limit: 1 }
      const left = await opened.subscriptions.due({ ...query, by: 'dueAt', where: { clock: 'system' } })
      if (left.length === 0 && (await opened.subscriptions.due({ by: 'repairAt', until: new Date(Date.now() + HOUR_MS), limit: 1 })).length === 0) break
      await sleep(20)
    }
    const elapsedS = (Date.now() - dueAt.getTime()) / 1_000
    await Promise.all(workers.map((stop) => stop()))
    for (const id of ids) await checkRenewed(id)
    return due / elapsedS
  }

  process.stdout.write(`${url ? 'MONGODB_URL' : 'SQLite'}; ${due} due; ${documentText.length} bytes a subscription; median of ${rounds}\n`)
  if (controlPlanes) {
    process.stdout.write('control planes   renewals/s   of the first\n')
    const rates = new Map<number, number[]>(controlPlanes.map((count) => [count, []]))
    // In turn, so that a slower minute of the machine is everybody's.
    for (let round = 0; round < rounds; round += 1) for (const count of controlPlanes) rates.get(count)?.push(await timeTogether(count))
    const first = median(rates.get(controlPlanes[0] ?? 1) ?? [])
    for (const [count, all] of rates)
      process.stdout.write(`${String(count).padEnd(14)}   ${median(all).toFixed(0).padStart(10)}   ${(median(all) / first).toFixed(2).padStart(12)}\n`)
  } else {
    process.stdout.write('stored     renewals/s   writes each   floor, renewals/s   of the floor\n')
    await worker.runOnce()
    let stored = 0
    for (const size of sizes) {
      await fill(stored, size)
      stored = size
      const results: { rate: number; floorRate: number; each: number }[] = []
      for (let round = 0; round < rounds; round += 1) {
        const dueAt = new Date(Date.now() - HOUR_MS)
        const ids = await makeDue(dueAt)
        writes.count = 0
        const startedMs = performance.now()
        await worker.runOnce()
        const elapsedS = (performance.now() - startedMs) / 1000
        const each = writes.count / due
        await checkRenewed(ids.at(-1))

        const floorStartedMs = performance.now()
        await pMap(
          Array.from({ length: writes.count }, (_, n) => `${round}-${n % due}`),
          async (id) => floor.write(id, documentText),
          { concurrency: AT_ONCE },
        )
        const floorS = (performance.now() - floorStartedMs) / 1000
        results.push({ rate: due / elapsedS, floorRate: due / floorS, each })
      }
      const [rate, floorRate] = [median(results.map((one) => one.rate)), median(results.map((one) => one.floorRate))]
      const cells = [
        rate.toFixed(0).padStart(10),
        median(results.map((one) => one.each))
          .toFixed(1)
          .padStart(11),
        floorRate.toFixed(0).padStart(17),
        (rate / floorRate).toFixed(2).padStart(12),
      ]
      process.stdout.write(`${String(size).padEnd(8)} ${cells.join('   ')}\n`)
    }
  }
} finally {
  await worker.stop()
  await floor.close()
  await opened.close()
  rmSync(folder, { recursive: true, force: true })
}
