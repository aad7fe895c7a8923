/**
 * The TypeScript client beside what else decides in an application's own process, in one run: `npm run bench:client`. Printed
 * are the time of a check (median and least over rounds in which all take turns), and the ratio to each peer; then the memory of a
 * customer that is watched.
 *
 *   npm run bench:client -- --rounds 9 --checks 200000 --customers 100000 --only checks,memory
 *
 * The client checks as an application does: it awaits the answer about one of many customers, with ten entitlements each, that a sidecar
 * keeps current. Peers know flags alone, and no customers: a flag that is on, and one that is on for a plan that the caller names.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { FlagdProvider } from '@openfeature/flagd-provider'
import { type Client, InMemoryProvider, OpenFeature } from '@openfeature/server-sdk'
import { createTollgate, type Tollgate } from '../../client/index.ts'
import { eventually } from '../../test/support/eventually.ts'
import { customerId, STOREFRONT, TENANT } from '../sidecar/population.ts'
import { startNode } from '../sidecar/servers.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '9' },
    checks: { type: 'string', default: '200000' },
    customers: { type: 'string', default: '100000' },
    only: { type: 'string', default: 'checks,memory' },
  },
})
const [rounds, checks, customers] = [Number(values.rounds), Number(values.checks), Number(values.customers)]
const parts = new Set(values.only.split(','))
/** Customers of the checks: so many are in an application's memory without a setting. */
const CHECKED = Math.min(10_000, customers)
const say = (line = '') => process.stdout.write(`${line}\n`)
const median = (numbers: number[]): number => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN

const tollgateAt = (port: number): Tollgate =>
  createTollgate({ address: `127.0.0.1:${port}`, tenant: TENANT, storefront: STOREFRONT, timeoutMs: 30_000, cache: { maxCustomers: customers } })

/** On a busy machine a hundred thousand sets take a while. */
const ALL_WITHIN_MS = 120_000

/** Until all of them are answered from memory. */
const warm = async (tollgate: Tollgate, count: number): Promise<void> => {
  const AT_ONCE = 1_000
  for (let from = 0; from < count; from += AT_ONCE)
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - from) }, (_, n) => tollgate.check({ customer: customerId(from + n), entitlement: 'sso' })))
  for (let n = 0; n < count; n += 1) {
    const question = { customer: customerId(n), entitlement: 'sso' }
    const isHeld = async () => {
      const answer = await tollgate.check(question)
      return answer.reason === 'granted' && answer.from === 'memory'
    }
    if (!(await isHeld())) await eventually(isHeld, ALL_WITHIN_MS)
  }
}

interface Contender {
  name: string
  /** One check. @returns whether it was allowed. */
  check(customer: string): Promise<boolean>
}

const flag = { variants: { on: true, off: false }, disabled: false }
/** The same two flags for each peer: `on`, and `plan`, which is on for who has the plan. */
const openPeers = async (folder: string): Promise<Contender[]> => {
  const file = join(folder, 'flags.json')
  const ofPlan = { if: [{ in: [{ var: 'plan' }, ['pro', 'business']] }, 'on', 'off'] }
  const definition = { state: 'ENABLED', variants: flag.variants }
  writeFileSync(
    file,
    JSON.stringify({ flags: { on: { ...definition, defaultVariant: 'on' }, plan: { ...definition, defaultVariant: 'off', targeting: ofPlan } } }),
  )
  const inMemory = new InMemoryProvider({
    on: { ...flag, defaultVariant: 'on' },
    plan: { ...flag, defaultVariant: 'off', contextEvaluator: ({ plan }) => (plan === 'pro' || plan === 'business' ? 'on' : 'off') },
  })
  await OpenFeature.setProviderAndWait('memory', inMemory)
  await OpenFeature.setProviderAndWait('flagd', new FlagdProvider({ resolverType: 'in-process', offlineFlagSourcePath: file }))
  const asks =
    (client: Client, key: string): Contender['check'] =>
    (customer) =>
      client.getBooleanValue(key, false, { targetingKey: customer, plan: 'pro' })
  return [
    ['OpenFeature SDK, in-memory provider', 'memory'],
    ['OpenFeature SDK, flagd in process', 'flagd'],
  ].flatMap(([name, domain]) => {
    const client = OpenFeature.getClient(domain ?? '')
    return [
      { name: `${name}: a flag`, check: asks(client, 'on') },
      { name: `${name}: by plan`, check: asks(client, 'plan') },
    ]
  })
}

const ownContenders = (tollgate: Tollgate): Contender[] =>
  [
    ['a flag', 'sso'],
    ['a quota', 'api_limit'],
    ['a value', 'support_hours'],
  ].map(([what, entitlement = '']) => ({
    name: `@tollgate/client: ${what}`,
    check: async (customer) => (await tollgate.check({ customer, entitlement })).allowed,
  }))

/** Far apart, and the same for all. */
const STRIDE = 7_919
const asked = Array.from({ length: CHECKED }, (_, n) => customerId((n * STRIDE) % CHECKED))

const measureOnce = async ({ name, check }: Contender): Promise<number> => {
  const from = performance.now()
  for (let n = 0; n < checks; n += 1) if (!(await check(asked[n % CHECKED] as string))) throw new Error(`${name}: refused`)
  return ((performance.now() - from) * 1e6) / checks
}

const measureChecks = async (port: number): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-bench-'))
  const tollgate = tollgateAt(port)
  try {
    await warm(tollgate, CHECKED)
    const own = ownContenders(tollgate)
    const all = [...own, ...(await openPeers(folder))]
    const took = new Map(all.map(({ name }) => [name, [] as number[]]))
    for (let round = 0; round <= rounds; round += 1)
      for (const contender of all) {
        const ns = await measureOnce(contender)
        // The first round warms up.
        if (round > 0) took.get(contender.name)?.push(ns)
      }
    const ns = new Map([...took].map(([name, times]) => [name, median(times)]))
    const least = (name: string) => Math.min(...(took.get(name) ?? []))
    const slowest = Math.max(...own.map(({ name }) => ns.get(name) ?? Number.NaN))
    say(`${''.padEnd(48)} ${'ns'.padStart(8)} ${'least'.padStart(8)} ${'checks/s'.padStart(12)}   to the client's slowest`)
    for (const [name, time] of ns)
      say(
        `${name.padEnd(48)} ${time.toFixed(0).padStart(8)} ${least(name).toFixed(0).padStart(8)} ${Math.round(1e9 / time)
          .toLocaleString('en')
          .padStart(12)}   ${(time / slowest).toFixed(2)}×`,
      )
  } finally {
    await OpenFeature.close()
    tollgate.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

const measureMemory = async (port: number): Promise<void> => {
  if (!globalThis.gc) throw new Error('memory: run it with --expose-gc')
  const collect = globalThis.gc
  const held = () => {
    collect()
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }
  const tollgate = tollgateAt(port)
  // The connection, and what is compiled, is not a customer's.
  await warm(tollgate, 1_000)
  const before = held()
  await warm(tollgate, customers)
  say(`memory of a watched customer with ten entitlements: ${Math.round((held() - before) / (customers - 1_000))} bytes (${customers} customers)`)
  tollgate.close()
}

const sidecar = await startNode('fast', customers)
try {
  if (parts.has('checks')) await measureChecks(sidecar.port)
  if (parts.has('memory')) await measureMemory(sidecar.port)
} finally {
  await sidecar.stop()
}
