/** What docker-compose.yml says, without containers: its commands, with its environment, on servers in the same shape. */
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { parse } from 'yaml'
import { readConfig } from '../../common/config.ts'
import { parseMongodbUrl } from '../../common/mongodb-url.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { grpcClient } from '../support/grpc-client.ts'
import { httpClient } from '../support/http-client.ts'
import { mongodbMissing, mongodbUrl } from '../support/mongodb.ts'
import { natsMissing, newerNats, startNatsCluster } from '../support/nats-server.ts'
import { bundleDocument, tenantDocument } from '../support/platform-model.ts'
import { startProcess } from '../support/tollgate.ts'

interface Service {
  image?: string
  command?: string[]
  environment?: Record<string, string>
  ports?: string[]
  depends_on?: Record<string, { condition?: string }>
  healthcheck?: { test: string[] }
  read_only?: boolean
  cap_drop?: string[]
  security_opt?: string[]
  mem_limit?: string
}

const compose = parse(readFileSync('docker-compose.yml', 'utf8'), { merge: true }) as { services: Record<string, Service>; volumes: Record<string, unknown> }
const { services } = compose
const feed = generateKeyPairSync('ed25519')
const secrets = {
  FEED_SIGNING_KEY: feed.privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64'),
  FEED_VERIFY_KEYS: feed.publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
  PLATFORM_API_KEY: 'a-platform-key-of-the-test-0123456789',
  SIDECAR_KEYS: '{"a-key-of-an-application": ["*"]}',
  SIMULATOR_WEBHOOK_SECRET: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
  CREDENTIALS_KEY: Buffer.alloc(32, 'seals').toString('base64'),
}

/** As compose does: `${NAME:?why}` and `${NAME:-}`. */
const environmentOf = (name: string): Record<string, string> =>
  Object.fromEntries(
    Object.entries(services[name]?.environment ?? {}).map(([key, value]) => [
      key,
      String(value).replace(/\$\{(\w+)(:[?-][^}]*)?\}/g, (_, variable: string) => secrets[variable as keyof typeof secrets] ?? ''),
    ]),
  )

const ours = Object.keys(services).filter((name) => services[name]?.image === 'tollgate:local')

test('every environment of docker-compose.yml is one that a process takes, and what it names is there', (t) => {
  t.deepEqual(ours.toSorted(), ['control-plane-1', 'control-plane-2', 'psp-simulator', 'sidecar'])
  for (const name of ours) {
    const config = readConfig(environmentOf(name))
    for (const url of (config.NATS_URL ?? '').split(',').filter(Boolean)) t.truthy(services[new URL(url).hostname], url)
    if (config.MONGODB_URL) {
      const { url, database, ignored } = parseMongodbUrl(config.MONGODB_URL)
      t.is(database, 'tollgate')
      t.deepEqual(ignored, [])
      for (const host of url.replace('mongodb://', '').split('/')[0]?.split(',') ?? []) t.truthy(services[host.split(':')[0] ?? ''], host)
      t.is(new Set(url.match(/mongo-\d/g)).size, 3)
    }
    for (const dependency of Object.keys(services[name]?.depends_on ?? {})) t.truthy(services[dependency], dependency)
  }
  t.like(readConfig(environmentOf('control-plane-1')), { NATS_REPLICAS: 3 })
  t.is(Object.keys(services).filter((name) => /^nats-\d$/.test(name)).length, 3)
  for (const n of [1, 2, 3]) t.regex(services[`nats-${n}`]?.command?.join(' ') ?? '', /--routes nats:\/\/nats-1:6222,nats:\/\/nats-2:6222,nats:\/\/nats-3:6222/)
})

test('what is not needed is taken away, every part says whether it is well, and none is reached from other machines', (t) => {
  for (const name of ours) {
    t.like(services[name], { read_only: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] }, name)
    t.truthy(services[name]?.mem_limit, name)
  }
  for (const [name, { healthcheck, ports = [], depends_on = {}, environment = {} }] of Object.entries(services)) {
    if (name !== 'mongo-init') t.truthy(healthcheck?.test.length, name)
    for (const port of ports) t.regex(port, /^127\.0\.0\.1:/, name)
    for (const { condition } of Object.values(depends_on)) t.regex(condition ?? '', /^service_(healthy|completed_successfully)$/, name)
    // No secret has a default, and none stands in the file.
    for (const [key, value] of Object.entries(environment)) if (/KEY|SECRET|PASSWORD/.test(key)) t.regex(String(value), /^\$\{\w+:\?[^}]+\}$/, `${name} ${key}`)
  }
})

const missing = natsMissing ?? mongodbMissing
const run = missing ? test.skip : test
run(`its two control planes, simulator and sidecar sell, and answer for what was sold${missing ? ` (${missing})` : ''}`, async (t) => {
  t.timeout(180_000)
  const nats = await startNatsCluster({ path: newerNats })
  t.teardown(nats.stop)
  const MONGODB_URL = mongodbUrl()
  const ports = Object.fromEntries(await Promise.all(ours.map(async (name) => [name, await freePort()] as const)))
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-compose-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const start = async (name: string) => {
    // Hosts become ports of this machine; nothing else is changed.
    const env = Object.fromEntries(
      Object.entries(environmentOf(name)).map(([key, value]) => [
        key,
        value.replace(/http:\/\/([\w-]+):\d+/g, (whole, host: string) => (ports[host] ? `http://127.0.0.1:${ports[host]}` : whole)),
      ]),
    )
    const [command, ...args] = services[name]?.command ?? []
    t.is(command, 'node')
    const script = args.at(-1) ?? ''
    const port = { 'psp-simulator': 'SIMULATOR_PORT', sidecar: 'GRPC_PORT' }[name] ?? 'HTTP_PORT'
    const own = { [port]: String(ports[name]), ...(name === 'sidecar' ? { SIDECAR_HTTP_PORT: '0' } : {}), DATA_DIR: join(folder, name), NODE_ENV: 'production' }
    const process = await startProcess(script, {
      ...env,
      ...(env.NATS_URL ? { NATS_URL: nats.url } : {}),
      ...(env.MONGODB_URL ? { MONGODB_URL } : {}),
      ...own,
    })
    t.teardown(() => process.stop('SIGKILL'))
    return process
  }
  await start('psp-simulator')
  const planes = await Promise.all(['control-plane-1', 'control-plane-2'].map(start))
  const sidecar = await start('sidecar')
  const [one, other] = planes.map(({ ready }) => ready.split(' ')[0] ?? '') as [string, string]
  for (const url of [one, other]) await eventually(async () => (await fetch(`${url}/readyz`)).ok, 30_000)
  const platform = httpClient(one, { key: secrets.PLATFORM_API_KEY })
  const created = await platform.post('/tenants', { ...tenantDocument, id: 'composed', mode: 'sandbox' })
  t.is(created.status, 201, JSON.stringify(created.body))
  const api = httpClient(other, { key: created.body.apiKey })
  t.is((await api.post('/bundles', bundleDocument)).status, 201)
  const bought = await api.post('/subscriptions', { customerId: 'c', bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod: 'pm_card' })
  t.is(bought.body.status, 'active', JSON.stringify(bought.body))
  const grpc = grpcClient(sidecar.ready.split(' ')[0]?.replace('grpc://', '') ?? '', 'a-key-of-an-application')
  t.teardown(grpc.close)
  const question = { tenantId: 'composed', storefrontId: 'us-store', customerId: 'c', entitlement: 'analytics_dashboard' }
  t.like(await grpc.check({ ...question, minRevision: bought.body.entitlementRevision }), { allowed: true, stale: false })
  // One of each may go.
  await planes[0]?.stop('SIGKILL')
  await nats.servers[0]?.kill()
  const later = await api.post('/subscriptions', { customerId: 'd', bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod: 'pm_card' })
  t.is(later.status, 201, JSON.stringify(later.body))
  // Another server has to take the lead first.
  await eventually(async () => (await grpc.check({ ...question, customerId: 'd' }, 3_000).catch(() => undefined))?.allowed === true, 60_000)
})
