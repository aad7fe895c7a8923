/**
 * Everything dies, in an order that a seed says, under a load of buying, renewing, using and checking: PostgreSQL under
 * the MongoDB-compatible server, nats-servers of a cluster, the stores of nats-servers, control planes, sidecars; and what does not
 * die stands still for a while. At no moment is anybody allowed who has never paid, or denied who has paid and is known to have,
 * but for what `stale` and UNAVAILABLE admit; and afterwards the books agree.
 *
 *   CHAOS_SECONDS=600 CHAOS_SEED=1 npx ava test/chaos/chaos.test.ts
 *
 * On the server that DOCUMENTDB names, the folder of `test/support/documentdb.sh`, with MONGODB_URL; else on SQLite.
 */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { status as Status } from '@grpc/grpc-js'
import test from 'ava'
import { openAttempt } from '../../control-plane/payments/machine/state.ts'
import { all } from '../../control-plane/storage/every.ts'
import type { Storage } from '../../control-plane/storage/storage.ts'
import { openStorageOf } from '../support/due-subscriptions.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { type GrpcClient, grpcClient } from '../support/grpc-client.ts'
import { httpClient } from '../support/http-client.ts'
import { ledgerOf } from '../support/ledger.ts'
import { mongodbUrl } from '../support/mongodb.ts'
import { natsMissing, newerNats, startNatsCluster } from '../support/nats-server.ts'
import { bundleDocument } from '../support/platform-model.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { type Process, startProcess } from '../support/tollgate.ts'

const SECONDS = Number(process.env.CHAOS_SECONDS ?? 0)
/** It takes minutes more than that, and kills what other tests stand on: `.ci/run` runs it by itself. */
const missing = natsMissing ?? (SECONDS > 0 ? undefined : 'CHAOS_SECONDS is not set')
const SEED = Number(process.env.CHAOS_SEED ?? Date.now() % 100_000)
const documentdb = process.env.DOCUMENTDB && process.env.MONGODB_URL ? process.env.DOCUMENTDB : undefined
const tenantId = 'chaos'
const PLATFORM_API_KEY = 'a-platform-key-of-the-test-0123456789'
const BUYERS = 3

/** What the caller has been told of a customer, and so knows. */
interface Truth {
  id: string
  /** `never`: refused by the provider. `unclear`: a call was cut off. */
  is: 'paid' | 'canceled' | 'never' | 'unclear'
  /** That shows it. */
  revision: number
  subscriptionId: string
  /** Sidecars that have shown it, by name and life: from then on they know. */
  knownBy: Set<string>
}

/** A process that is killed and started again; each start is another life. */
const mortal = async (name: string, start: () => Promise<Process>) => {
  let process = await start()
  let lives = 1
  let busy: Promise<unknown> = Promise.resolve()
  const next = <T>(work: () => Promise<T>): Promise<T> => {
    const done = busy.then(work, work)
    busy = done.catch(() => undefined)
    return done
  }
  return {
    name,
    life: () => `${name}-${lives}`,
    get process() {
      return process
    },
    kill: () =>
      next(async () => {
        lives += 1
        await process.stop('SIGKILL')
        // A start that meets a store which is away ends, as an orchestrator would see it, and is tried again.
        for (;;) {
          try {
            process = await start()
            return
          } catch {
            await sleep(500)
          }
        }
      }),
    freeze: (ms: number) =>
      next(async () => {
        globalThis.process.kill(process.pid, 'SIGSTOP')
        await sleep(ms)
        globalThis.process.kill(process.pid, 'SIGCONT')
      }),
    stop: () => process.stop('SIGKILL'),
  }
}

const run = missing ? test.skip : test
run(`${SECONDS} s of chaos on ${documentdb ? 'DocumentDB' : 'SQLite'}: no wrong access, and the books agree${missing ? ` (${missing})` : ''}`, async (t) => {
  t.timeout(SECONDS * 1000 + 700_000)
  t.log(`CHAOS_SECONDS=${SECONDS} CHAOS_SEED=${SEED}`)
  const random = seededRandom(SEED)
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-chaos-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const nats = await startNatsCluster({ path: newerNats })
  t.teardown(nats.stop)
  const secret = `whsec_${randomBytes(32).toString('base64')}`
  const simulator = await startProcess('psp-simulator/main.ts', {
    SIMULATOR_PORT: '0',
    SIMULATOR_WEBHOOK_SECRET: secret,
    DATA_DIR: join(folder, 'simulator'),
  })
  t.teardown(() => simulator.stop('SIGKILL'))
  const env: Record<string, string> = {
    DATA_DIR: folder,
    NATS_URL: nats.url,
    NATS_REPLICAS: '3',
    PLATFORM_API_KEY,
    WORKER_POLL_MS: '200',
    SIMULATOR_URL: simulator.ready,
    SIMULATOR_WEBHOOK_SECRET: secret,
    ...(documentdb ? { MONGODB_URL: mongodbUrl(), CREDENTIALS_KEY: Buffer.alloc(32, 'chaos').toString('base64') } : {}),
  }
  const ports = { planes: [await freePort(), await freePort()], sidecars: [await freePort(), await freePort()] }
  const startPlane = (port: number) => () => startProcess('control-plane/main.ts', { ...env, HTTP_PORT: String(port) })
  const startSidecar = (port: number) => () => startProcess('sidecar/main.ts', { NATS_URL: nats.url, GRPC_PORT: String(port), MAX_STALENESS_MS: '5000' })
  const firstPlane = await mortal('plane-0', async () => {
    let started: Process | undefined
    await eventually(async () => {
      started = await startPlane(ports.planes[0] ?? 0)().catch(() => undefined)
      return started !== undefined
    }, 60_000)
    return started as Process
  })
  const planes = [firstPlane, await mortal('plane-1', startPlane(ports.planes[1] ?? 0))]
  const sidecars = await Promise.all(ports.sidecars.map((port, n) => mortal(`sidecar-${n}`, startSidecar(port))))
  for (const one of [...planes, ...sidecars]) t.teardown(one.stop)
  const clients: GrpcClient[] = ports.sidecars.map((port) => grpcClient(`127.0.0.1:${port}`))
  for (const client of clients) t.teardown(client.close)
  const apis = ports.planes.map((port) => httpClient(`http://127.0.0.1:${port}`, { key: PLATFORM_API_KEY, tenant: tenantId }))
  const storefronts = [{ id: 'us-store', currency: 'USD', paymentProviders: ['sim'], billing: { graceHours: 72 } }]
  t.is(
    (await httpClient(`http://127.0.0.1:${ports.planes[0]}`, { key: PLATFORM_API_KEY }).post('/tenants', { id: tenantId, name: 'Chaos', storefronts })).status,
    201,
  )
  const [api] = apis
  t.is((await api?.post('/psp-accounts', { id: 'sim', provider: 'simulator' }))?.status, 201)
  t.is((await api?.post('/bundles', { ...bundleDocument, pricing: { amount: 100, currency: 'USD', interval: 'day' } }))?.status, 201)

  let [stopping, sold, used, renewed] = [false, 0, 0, 0]
  const truths: Truth[] = []
  const cutOff: { path: string; body: object; key: string; truth: Truth }[] = []
  const wrong: string[] = []
  const answers = { allowed: 0, denied: 0, stale: 0, unavailable: 0 }

  const post = async (path: string, body: object, key: string) => {
    const at = apis[random() < 0.5 ? 0 : 1]
    try {
      const answer = await at?.post(path, body, { 'idempotency-key': key })
      return answer && answer.status < 500 && answer.body.code !== 'idempotency_in_progress' ? answer : undefined
    } catch {
      return undefined
    }
  }
  const take = (truth: Truth, is: Truth['is'], revision: number) => {
    truth.knownBy.clear()
    truth.revision = revision
    truth.is = is
  }
  const buyer = async (name: number) => {
    for (let n = 0; !stopping; n += 1) {
      const token = random() < 0.75 ? 'pm_ok' : 'pm_decline_hard'
      const truth: Truth = { id: `c${name}-${n}`, is: 'unclear', revision: 0, subscriptionId: '', knownBy: new Set() }
      const order = { customerId: truth.id, bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod: token }
      truths.push(truth)
      const bought = await post('/subscriptions', order, `buy-${truth.id}`)
      if (!bought) {
        cutOff.push({ path: '/subscriptions', body: order, key: `buy-${truth.id}`, truth })
        await sleep(500)
        continue
      }
      truth.subscriptionId = bought.body.id
      sold += 1
      if (bought.body.status === 'active') take(truth, 'paid', bought.body.entitlementRevision)
      else if (token === 'pm_decline_hard') take(truth, 'never', bought.body.entitlementRevision ?? 0)
      if (truth.is !== 'paid') continue
      if (random() < 0.3) {
        const report = { customerId: truth.id, storefrontId: 'us-store', entitlement: 'api_limit', amount: 1 }
        if (await post('/usage', report, `use-${truth.id}`)) used += 1
      }
      if (random() < 0.3) {
        await sleep(200)
        // Nobody knows of it while it is under way.
        truth.is = 'unclear'
        const canceled = await post(`/subscriptions/${truth.subscriptionId}/cancel`, { at: 'now' }, `cancel-${truth.id}`)
        if (canceled?.status === 200) take(truth, 'canceled', canceled.body.entitlementRevision)
      }
      await sleep(20)
    }
  }

  const checker = async (at: number) => {
    const client = clients[at] as GrpcClient
    while (!stopping) {
      const truth = truths[Math.floor(random() * truths.length)]
      if (!truth || truth.is === 'unclear') {
        await sleep(5)
        continue
      }
      const { is, revision } = truth
      const life = sidecars[at]?.life() ?? ''
      const isKnown = truth.knownBy.has(life)
      const question = { tenantId, storefrontId: 'us-store', customerId: truth.id, entitlement: 'analytics_dashboard', minRevision: isKnown ? 0 : revision }
      try {
        const { allowed, stale, reason, revision: answered } = await client.check(question, 3_000)
        if (allowed) answers.allowed += 1
        else answers.denied += 1
        if (stale) answers.stale += 1
        // What has changed while it was asked is no fault.
        if (truth.is === is && truth.revision === revision && sidecars[at]?.life() === life) {
          const right = is === 'paid'
          if (allowed !== right && !(stale && is === 'canceled'))
            wrong.push(`${truth.id} is ${is} (revision ${revision}), and ${life} says allowed=${allowed} reason=${reason} revision=${answered} stale=${stale}`)
          else if (Number(answered) >= revision) truth.knownBy.add(life)
        }
      } catch (error) {
        const { code } = error as { code?: number }
        if ([Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.FAILED_PRECONDITION, Status.CANCELLED].includes(code ?? -1)) answers.unavailable += 1
        else wrong.push(`${truth.id}: ${error}`)
      }
      await sleep(2)
    }
  }

  /** Subscriptions fall due, as if a day had gone by since they were bought. */
  const storage = async (): Promise<Storage | undefined> => openStorageOf(env).catch(() => undefined)
  const renewer = async () => {
    while (!stopping) {
      await sleep(4_000)
      const store = await storage()
      if (!store) continue
      try {
        const { data } = await store.subscriptions.page({ where: { tenantId, status: 'active' }, limit: 200 })
        for (const one of data.filter((_, n) => n % 5 === 0).slice(0, 20)) {
          if (!one.dueAt || one.dueAt.getTime() < Date.now() || one.repairAt) continue
          const back = 86_400_000
          const { currentPeriod } = one
          const moved = (at: Date) => new Date(at.getTime() - back)
          const period = {
            ...currentPeriod,
            start: moved(currentPeriod.start),
            end: moved(currentPeriod.end),
            wholeStart: moved(currentPeriod.wholeStart),
            wholeEnd: moved(currentPeriod.wholeEnd),
          }
          // Its set changes with it, under a revision that nobody is told of; it stays allowed.
          await store.subscriptions.replace({ ...one, anchor: moved(one.anchor), currentPeriod: period, dueAt: moved(one.dueAt) }).then(
            () => {
              renewed += 1
            },
            () => undefined,
          )
        }
      } catch {
        // The store is away just now.
      } finally {
        await store.close().catch(() => undefined)
      }
    }
  }

  const postgres = async () => {
    const pid = Number(readFileSync(join(documentdb ?? '', 'postgres.pid'), 'utf8'))
    globalThis.process.kill(pid, 'SIGKILL')
    await sleep(200 + random() * 1_500)
    await promisify(execFile)(join(documentdb ?? '', 'start-postgres'))
  }
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T
  const server = async (lose: boolean) => {
    const one = pick(nats.servers)
    await one.kill()
    if (lose) await one.lose()
    await sleep(300 + random() * 3_000)
    await one.start()
    // Two at a time would be without a majority; the next one dies when this one is there again.
    await sleep(4_000)
  }
  const faults: [name: string, weight: number, run: () => Promise<unknown>][] = [
    ['control plane killed', 4, () => pick(planes).kill()],
    ['sidecar killed', 2, () => pick(sidecars).kill()],
    ['control plane stands still', 2, () => pick(planes).freeze(500 + random() * 3_000)],
    ['sidecar stands still', 1, () => pick(sidecars).freeze(500 + random() * 3_000)],
    ['nats-server killed', 3, () => server(false)],
    ['nats-server killed, its store lost', 1, () => server(true)],
    ...(documentdb ? [['PostgreSQL killed', 3, postgres] as [string, number, () => Promise<unknown>]] : []),
  ]
  const total = faults.reduce((sum, [, weight]) => sum + weight, 0)
  const done = new Map<string, number>()

  const working = [...Array.from({ length: BUYERS }, (_, name) => buyer(name)), checker(0), checker(1), renewer()]
  const until = Date.now() + SECONDS * 1000
  await sleep(2_000)
  while (Date.now() < until) {
    let at = random() * total
    const fault = faults.find(([, weight]) => {
      at -= weight
      return at < 0
    })
    if (!fault) continue
    const [name, , strike] = fault
    await strike()
    done.set(name, (done.get(name) ?? 0) + 1)
    await sleep(300 + random() * 1_500)
  }
  // Two seconds of peace, so that calls under way end.
  await sleep(2_000)
  stopping = true
  await Promise.all(working)
  t.log(`${[...done].map(([name, times]) => `${times} × ${name}`).join(', ')}`)
  t.log(`${truths.length} customers, ${sold} answered, ${cutOff.length} cut off, ${used} reports, ${renewed} due for renewal; ${JSON.stringify(answers)}`)
  t.deepEqual(wrong.slice(0, 10), [], `${wrong.length} wrong answers, CHAOS_SEED=${SEED}`)
  t.true(answers.allowed > 50 && answers.denied > 10)

  // A careful client repeats what was cut off.
  for (const { path, body, key } of cutOff.filter((_, n) => n % 2 === 0)) await eventually(async () => (await post(path, body, key)) !== undefined, 90_000, 300)
  const store = await storage()
  if (!store) throw new Error('no storage')
  t.teardown(() => store.close())
  const halfDone = async () => {
    const [subscriptions, payments] = [await all(store.subscriptions, { tenantId }), await all(store.payments, { tenantId })]
    return [
      ...subscriptions
        .filter((one) => one.repairAt || (one.dueAt && one.dueAt.getTime() < Date.now()))
        .map(({ id, status, dueAt, repairAt }) => ({ id, status, dueAt, repairAt })),
      ...payments.filter((one) => one.repairAt || one.effectsDue || openAttempt(one)).map(({ id, status, repairAt }) => ({ id, status, repairAt })),
    ]
  }
  // An inquiry about what may have arrived comes after five minutes; a minute is what all else takes.
  await eventually(async () => (await halfDone()).length === 0, 420_000, 1_000).catch(async () => t.deepEqual(await halfDone(), []))
  const payments = await all(store.payments, { tenantId })
  const { charges, refunds } = await ledgerOf({ simulator: simulator.ready }, tenantId)
  const charged = charges.filter(({ status }) => status === 'succeeded').map(({ reference }) => reference)
  const succeeded = payments.flatMap((payment) => payment.attempts.filter(({ status }) => status === 'succeeded').map(({ id }) => id))
  t.deepEqual(charged.toSorted(), succeeded.toSorted(), 'the ledger holds exactly the charges that our books hold')
  t.deepEqual(refunds.map(({ reference }) => reference).toSorted(), payments.flatMap((payment) => payment.refunds.map(({ id }) => id)).toSorted())
  const bills = payments.map(({ subscriptionId, seq }) => `${subscriptionId} ${seq}`)
  t.is(new Set(bills).size, bills.length, 'no bill is charged twice')

  // Everybody is what storage says, at both sidecars, and nothing is stale.
  const subscriptions = await all(store.subscriptions, { tenantId })
  for (const client of clients)
    for (const { customerId, status } of subscriptions) {
      const ask = () => client.check({ tenantId, storefrontId: 'us-store', customerId, entitlement: 'analytics_dashboard' }, 3_000).catch(() => undefined)
      await eventually(async () => {
        const answer = await ask()
        return answer !== undefined && !answer.stale && answer.allowed === (status === 'active')
      }, 60_000)
    }
  t.log(`${charged.length} charges, ${subscriptions.length} subscriptions compared at both sidecars`)
})
