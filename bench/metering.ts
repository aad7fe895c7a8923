/**
 * `npm run bench:metering`: what counting costs beside checking, on one sidecar in one run. Control plane, nats-server and the load
 * share a core; the sidecar has another where the machine lets us.
 *
 *   npm run bench:metering -- --rounds 3 --seconds 3 --customers 1000
 *
 * What counts are the ratios within the run: a consume beside a check of the same customers, checks beside consumes and alone, reports by HTTP
 * beside consumes.
 */
import { execFileSync, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import pMap from 'p-map'
import { grpcClient } from '../test/support/grpc-client.ts'
import { httpClient } from '../test/support/http-client.ts'
import { sqliteAndNats, startProcess } from '../test/support/tollgate.ts'
import { customerId, STOREFRONT, TENANT } from './sidecar/population.ts'

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '3' }, seconds: { type: 'string', default: '3' }, customers: { type: 'string', default: '1000' } },
})
const [rounds, seconds, customers] = [Number(values.rounds), Number(values.seconds), Number(values.customers)]
const KEY = 'calls'
const CALLS = 5_000
const ONE = customerId(0)

const say = (line = '') => process.stdout.write(`${line}\n`)
const thousand = (n: number) => Math.round(n).toLocaleString('en')
const ms = (us: number) => `${(us / 1_000).toFixed(2)} ms`
const median = (numbers: number[]): number => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN

const pin = (core: number, pid: number | undefined): boolean => {
  try {
    execFileSync('taskset', ['-a', '-c', '-p', String(core), String(pid)], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
const cpuSecondsOf = (pid: number | undefined): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}

interface Measured {
  perSecond: number
  p99: number
  consumesPerSecond: number
  consumeP50: number
  consumeP99: number
}

if (sqliteAndNats.missing !== undefined) throw new Error(sqliteAndNats.missing)
const tollgate = await sqliteAndNats.start()
const sidecar = await startProcess('sidecar/main.ts', { ...tollgate.env, GRPC_PORT: '0', SIDECAR_HTTP_PORT: '0' })
const address = /grpc:\/\/(\S+)/.exec(sidecar.ready)?.[1] ?? sidecar.ready
const port = address.split(':').at(-1) ?? ''
const isPinned = pin(0, sidecar.pid)
const grpc = grpcClient(address)

const http = /http:\/\/\S+/.exec(sidecar.ready)?.[0] ?? ''
const questions = async (): Promise<number> => Number(/^tollgate_ledger_questions_total (\d+)/m.exec(await (await fetch(`${http}/metrics`)).text())?.[1] ?? 0)

const load = async (settings: object): Promise<Measured & { sidecarCpu: number }> => {
  const options = JSON.stringify({ seconds, customers, entitlement: KEY, ...settings })
  const args = [join(import.meta.dirname, 'sidecar/load.ts'), port, options]
  const before = cpuSecondsOf(sidecar.pid)
  const child = isPinned ? spawn('taskset', ['-c', '1', process.execPath, ...args]) : spawn(process.execPath, args)
  let said = ''
  child.stdout.on('data', (data) => {
    said += data
  })
  child.stderr.pipe(process.stderr)
  await new Promise((resolve) => child.once('close', resolve))
  const { errors, ...measured } = JSON.parse(said)
  if (errors > 0) throw new Error(`${errors} calls failed`)
  return { ...measured, sidecarCpu: cpuSecondsOf(sidecar.pid) - before }
}

try {
  const { body: tenant } = await httpClient(tollgate.http).post('/tenants', { id: TENANT, name: 'Bench', mode: 'live' })
  const api = httpClient(tollgate.http, { key: tenant.apiKey, unchecked: true })
  await api.post('/storefronts', { id: STOREFRONT, currency: 'USD' })
  const entitlements = [
    { key: KEY, kind: 'quota', limit: 1_000_000_000, per: 'month' },
    { key: 'seats', kind: 'capacity', limit: 1_000_000 },
  ]
  await pMap(
    Array.from({ length: customers }, (_, n) => customerId(n)),
    async (id) => {
      await api.post('/customers', { id, storefrontId: STOREFRONT })
      const { status, body } = await api.post(`/storefronts/${STOREFRONT}/customers/${encodeURIComponent(id)}/grants`, { entitlements, reason: 'a benchmark' })
      if (status !== 201) throw new Error(JSON.stringify(body))
      await grpc.check({ tenantId: TENANT, storefrontId: STOREFRONT, customerId: id, entitlement: KEY })
    },
    { concurrency: 8 },
  )
  say(`${customers} customers, ${rounds} rounds of ${seconds} s; sidecar ${isPinned ? 'on a core of its own' : 'not pinned to a core'}\n`)

  const shapes = [
    { name: 'random customers, 8 × 16', connections: 8, streams: 16 },
    { name: 'random customers, 64 × 1', connections: 64, streams: 1 },
    { name: 'one customer, 8 × 16', connections: 8, streams: 16, customer: ONE },
    { name: 'one customer, 64 × 1', connections: 64, streams: 1, customer: ONE },
  ]
  say(
    '| connections × calls under way | checks/s | consumes/s | consume ÷ check | consume p50 | consume p99 | check p99 | checks beside as many consumers ÷ half of them alone | ledger calls per 1,000 consumes |',
  )
  say('| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |')
  for (const { name, ...shape } of shapes) {
    const all: { checks: Measured; consumes: Measured; both: Measured; perThousand: number }[] = []
    for (let round = 0; round < rounds; round += 1) {
      const checks = await load({ ...shape, consuming: 0 })
      const asked = await questions()
      const consumes = await load({ ...shape, consuming: 1 })
      // The load warms up for a second.
      const perThousand = ((await questions()) - asked) / ((consumes.consumesPerSecond * (seconds + 1)) / 1_000)
      const both = await load({ ...shape, consuming: 0.5 })
      all.push({ checks, consumes, both, perThousand })
    }
    const of = (pick: (one: (typeof all)[number]) => number) => median(all.map(pick))
    say(
      `| ${name} | ${thousand(of(({ checks }) => checks.perSecond))} | ${thousand(of(({ consumes }) => consumes.consumesPerSecond))} | ${of(
        ({ checks, consumes }) => consumes.consumesPerSecond / checks.perSecond,
      ).toFixed(2)} | ${ms(of(({ consumes }) => consumes.consumeP50))} | ${ms(of(({ consumes }) => consumes.consumeP99))} | ${ms(
        of(({ checks }) => checks.p99),
      )} | ${of(({ checks, both }) => (2 * both.perSecond) / checks.perSecond).toFixed(2)} | ${of(({ perThousand }) => perThousand).toFixed(1)} |`,
    )
  }

  // By grpc-js, which itself takes a good part of it: a bare check through the same client stands beside.
  const question = { tenantId: TENANT, storefrontId: STOREFRONT, customerId: ONE, entitlement: KEY }
  const timesOf = async (work: () => Promise<unknown>): Promise<number[]> => {
    const times: number[] = []
    await pMap(
      Array.from({ length: CALLS }),
      async () => {
        const from = performance.now()
        await work()
        times.push((performance.now() - from) * 1_000)
      },
      { concurrency: 16 },
    )
    return times.slice(CALLS / 5).toSorted((a, b) => a - b)
  }
  const at = (sorted: number[], share: number) => ms(sorted[Math.floor(sorted.length * share)] ?? Number.NaN)
  say('\n| one customer, 16 callers of grpc-js | p50 | p99 |\n| --- | ---: | ---: |')
  const report = { storefrontId: STOREFRONT, customerId: ONE, entitlement: KEY, amount: 1 }
  const rows: [string, () => Promise<unknown>][] = [
    ['check', () => grpc.check(question)],
    ['consume', () => grpc.consume(question)],
    ['reserve + commit', async () => grpc.commit((await grpc.reserve(question)).reservationId)],
    ['POST /v1/usage', () => api.post('/usage', report)],
  ]
  for (const [name, work] of rows) {
    const times = await timesOf(work)
    say(`| ${name} | ${at(times, 0.5)} | ${at(times, 0.99)} |`)
  }
} finally {
  grpc.close()
  await sidecar.stop('SIGKILL')
  await tollgate.close()
}
