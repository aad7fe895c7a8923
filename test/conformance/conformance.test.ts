/**
 * Every case of `conformance/`, by every client: the sidecar on both transports, the TypeScript client, which decides in its own
 * process, and those of docs/clients.md. A case has a sandbox of its own, whose time it moves, and one customer per client.
 */
import { execFile } from 'node:child_process'
import { rmSync } from 'node:fs'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { systemClock } from '../../common/clock.ts'
import { eventually } from '../support/eventually.ts'
import { type HttpAnswer, httpClient } from '../support/http-client.ts'
import { asLive, type InProcessTollgate, openInProcessTollgate } from '../support/in-process-tollgate.ts'
import { openSidecar, type TestSidecar } from '../support/sidecar.ts'
import { type Case, calls, readCases, type Said, type Source, type Step } from './cases.ts'
import { clientDriver } from './client-driver.ts'
import { type BuiltClient, documentedClients } from './documented-clients.ts'
import type { Driver, Known } from './driver.ts'
import { grpcDriver } from './grpc-driver.ts'
import { processDriver } from './process-driver.ts'

const STOREFRONT = 'us'

let tollgate: InProcessTollgate
let sidecars: { fast: TestSidecar; library: TestSidecar }
/** Those that can be built here. */
const built = new Map<string, BuiltClient>()
const processes: Driver[] = []
test.before(async (t) => {
  // Go compiles all of gRPC.
  t.timeout(600_000)
  tollgate = await openInProcessTollgate()
  const open = (transport: string) => openSidecar({ SIDECAR_TRANSPORT: transport }, { feed: tollgate.feed })
  sidecars = { fast: await open('fast'), library: await open('grpc-js') }
  for (const { name, missing, build } of documentedClients) {
    if (missing !== undefined) continue
    const client = await build()
    built.set(name, client)
    processes.push(processDriver(name, client.adapter, sidecars.fast.address))
  }
})
test.after.always(async () => {
  for (const driver of processes) await driver.close()
  for (const { folder } of built.values()) rmSync(folder, { recursive: true, force: true })
  await sidecars?.fast.close()
  await sidecars?.library.close()
  await tollgate?.[Symbol.asyncDispose]()
})

const answered = (t: ExecutionContext, answer: HttpAnswer, status: number): HttpAnswer => {
  t.is(answer.status, status, JSON.stringify(answer.body))
  return answer
}

/** A sandbox with customers who are given, and lose, the sources of a case. */
const openSandbox = async (t: ExecutionContext, tenantId: string, customers: string[], nowAtFirst: string) => {
  const storefronts = [{ id: STOREFRONT, region: 'US', currency: 'USD', paymentProviders: ['stripe'] }]
  const created = await httpClient(tollgate.http).post('/tenants', { id: tenantId, name: 'Conformance', mode: 'sandbox', storefronts })
  const api = httpClient(tollgate.http, { key: answered(t, created, 201).body.apiKey })
  const setTime = async (now: string) => void answered(t, await api.put('/test-clock', { now }), 200)
  const grantsOf = (customer: string) => `/storefronts/${STOREFRONT}/customers/${customer}/grants`
  /** By source and customer: what takes it away. */
  const taking = new Map<string, () => Promise<HttpAnswer>>()
  const give = async ({ id, by, entitlements, ...more }: Source): Promise<void> => {
    if (by === 'subscription') {
      const pricing = { amount: 900, currency: 'USD', interval: 'month' }
      answered(t, await api.post('/bundles', { id, name: id, storefrontId: STOREFRONT, pricing, entitlements }), 201)
    }
    for (const customer of customers) {
      const given =
        by === 'subscription'
          ? await api.post('/subscriptions', { customerId: customer, bundleId: id, storefrontId: STOREFRONT, paymentMethod: 'pm_card' })
          : await api.post(grantsOf(customer), { entitlements, reason: id, ...more })
      const { id: given_ } = answered(t, given, 201).body
      taking.set(`${id} ${customer}`, () =>
        by === 'subscription' ? api.post(`/subscriptions/${given_}/cancel`, { at: 'now' }) : api.call('DELETE', `${grantsOf(customer)}/${given_}`),
      )
    }
  }
  const take = async (id: string): Promise<void> => {
    for (const customer of customers) t.true(((await taking.get(`${id} ${customer}`)?.())?.status ?? 500) < 300, id)
  }
  const revisionOf = async (customer: string): Promise<number> => (await api.get(`/storefronts/${STOREFRONT}/customers/${customer}/entitlements`)).body.revision
  await setTime(nowAtFirst)
  for (const customer of customers) answered(t, await api.post('/customers', { id: customer, storefrontId: STOREFRONT }), 201)
  return { setTime, give, take, revisionOf }
}

const isInstant = (value: unknown): value is string => typeof value === 'string' && /^\d{4}-\d\d-\d\dT/.test(value)
/** Whether everything that is expected was said. */
const isSaid = (said: Said, expected: Said): boolean =>
  Object.entries(expected).every(([field, value]) => (isInstant(value) ? Date.parse(String(said[field])) === Date.parse(value) : said[field] === value))

const run = async (t: ExecutionContext, { name, now, sources, steps }: Case, tenant: string): Promise<void> => {
  let [timeMs, setAtMs] = [Date.parse(now), performance.now()]
  const clock = { nowMs: () => Math.floor(timeMs + performance.now() - setAtMs), now: () => new Date(clock.nowMs()) }
  const live = await openSidecar({}, { feed: asLive(tollgate.feed, clock), clock })
  const drivers: Driver[] = [
    grpcDriver('own-transport', sidecars.fast.address),
    grpcDriver('grpc-js', sidecars.library.address),
    clientDriver(live.address, tenant, STOREFRONT),
  ]
  const all = [...drivers, ...processes]
  t.teardown(async () => {
    for (const driver of drivers) await driver.close()
    await live.close()
  })
  const customerOf = (driver: Driver) => driver.name.toLowerCase().replaceAll(/[^a-z]/g, '')
  const { setTime, give, take, revisionOf } = await openSandbox(t, tenant, all.map(customerOf), now)
  for (const source of sources) await give(source)

  const counted = new Set<Driver>()
  const call = async (driver: Driver, step: Step, nth: number): Promise<void> => {
    const what = calls.find((one) => step[one])
    if (!what) return
    const { customer = customerOf(driver), ...fields } = { ...step[what] }
    const known: Known = { nowMs: timeMs, revision: await revisionOf(customerOf(driver)), counted: counted.has(driver) }
    const ask = () => driver.ask({ call: what, tenant, storefront: STOREFRONT, customer, ...fields }, known)
    const expected = step.expect ?? {}
    let said = await ask()
    if (what === 'check' && !isSaid(said, expected)) {
      // A sidecar hears of the time within a moment.
      await eventually(async () => {
        said = await ask()
        return isSaid(said, expected)
      }).catch(() => undefined)
    }
    if (what !== 'check') counted.add(driver)
    const shown = Object.fromEntries(
      Object.keys(expected).map((field) => [
        field,
        isInstant(expected[field]) && isInstant(said[field]) ? String(said[field]).replace('.000Z', 'Z') : said[field],
      ]),
    )
    t.deepEqual(shown, expected, `${name}: ${driver.name}: step ${nth} (${JSON.stringify(step[what])}): ${JSON.stringify(said)}`)
  }

  for (const [nth, step] of steps.entries()) {
    if (step.time !== undefined) {
      await setTime(step.time)
      ;[timeMs, setAtMs] = [Date.parse(step.time), performance.now()]
    } else if (step.add) await give(step.add)
    else if (step.remove !== undefined) await take(step.remove)
    else for (const driver of all) await call(driver, step, nth)
  }
}

const cases = readCases()
test('each case has a name of its own, and there are cases of every call', (t) => {
  t.is(new Set(cases.map(({ name }) => name)).size, cases.length)
  t.true(cases.length >= 40)
})
for (const [nth, one] of cases.entries())
  test.serial(`${one.file}: ${one.name}`, (t) => run(t, one, `conformance-${process.pid}-${nth}-${systemClock.nowMs()}`))

for (const { name, missing } of documentedClients) {
  if (missing !== undefined) {
    test.skip(`the cases, and the program of docs/clients.md, in ${name} (${missing})`, () => {})
    continue
  }
  test.serial(`the program of docs/clients.md in ${name} checks and counts`, async (t) => {
    const tenant = `documented-${name.toLowerCase()}-${process.pid}`
    const { give } = await openSandbox(t, tenant, ['anna', 'ben'], '2024-03-15T00:00:00Z')
    const entitlements = [
      { key: 'reports', kind: 'flag', enabled: true },
      { key: 'calls', kind: 'quota', limit: 3, per: 'month' },
    ]
    await give({ id: 'a', entitlements })
    const [program = '', ...args] = built.get(name)?.main ?? []
    const says = async (customer: string, address = sidecars.fast.address) =>
      (await promisify(execFile)(program, [...args, address, tenant, STOREFRONT, customer])).stdout
    t.regex(await says('anna'), /^reports: true\ncalls: counted, 1 left\n$/i)
    t.regex(await says('anna'), /^reports: true\ncalls: denied, REASON_LIMIT_EXCEEDED\n$/i)
    t.regex(await says('nobody'), /^reports: false\ncalls: denied, REASON_CUSTOMER_UNKNOWN\n$/i)
    t.regex(await says('anna', '127.0.0.1:1'), /^unknown: /)
  })
}
