/** What docker-compose.yml says, without containers: its commands, with its environment, on servers in the same shape. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
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
  volumes?: string[]
}

const compose = parse(readFileSync('docker-compose.yml', 'utf8'), { merge: true }) as {
  services: Record<string, Service>
  volumes: Record<string, unknown>
  secrets: Record<string, { environment: string }>
}
const { services } = compose
/** As a user makes them. */
const made = mkdtempSync(join(tmpdir(), 'tollgate-keys-'))
execFileSync(process.execPath, ['cli/keys-init/main.ts', '--env', join(made, '.env'), '--secrets', join(made, 'secrets')])
const secrets = Object.fromEntries([...readFileSync(join(made, '.env'), 'utf8').matchAll(/^(\w+)='(.*)'$/gm)].map(([, name = '', value = '']) => [name, value]))
test.after.always(() => rmSync(made, { recursive: true, force: true }))

/** As compose does: `${NAME:?why}` and `${NAME:-}`. */
const environmentOf = (name: string): Record<string, string> =>
  Object.fromEntries(
    Object.entries(services[name]?.environment ?? {}).map(([key, value]) => [
      key,
      String(value).replace(
        /\$\{(\w+)(?::[?-]([^}]*))?\}/g,
        (whole, variable: string, otherwise = '') => secrets[variable] ?? (whole.includes(':-') ? otherwise : ''),
      ),
    ]),
  )

const ours = Object.keys(services).filter((name) => services[name]?.image === 'tollgate:local')

test('every environment of docker-compose.yml is one that a process takes, and the files that it names exist', (t) => {
  t.deepEqual(ours.toSorted(), ['control-plane-1', 'control-plane-2', 'psp-simulator', 'sidecar'])
  for (const name of ours) {
    const config = readConfig(environmentOf(name))
    for (const url of config.NATS_URL?.reveal().split(',') ?? []) t.truthy(services[new URL(url).hostname], url)
    if (config.MONGODB_URL) {
      const { url, database, ignored } = parseMongodbUrl(config.MONGODB_URL.reveal())
      t.is(database, 'tollgate')
      t.deepEqual(ignored, [])
      for (const host of url
        .replace(/^mongodb:\/\/[^@]+@/, '')
        .split('/')[0]
        ?.split(',') ?? [])
        t.truthy(services[host.split(':')[0] ?? ''], host)
      t.is(new Set(url.match(/mongo-\d/g)).size, 3)
    }
    for (const dependency of Object.keys(services[name]?.depends_on ?? {})) t.truthy(services[dependency], dependency)
  }
  t.like(readConfig(environmentOf('control-plane-1')), { NATS_REPLICAS: 3 })
  t.is(Object.keys(services).filter((name) => /^nats-\d$/.test(name)).length, 3)
  for (const n of [1, 2, 3]) t.regex(services[`nats-${n}`]?.command?.join(' ') ?? '', /--routes (nats:\/\/cluster:[^@]+@nats-[123]:6222,?){3}$/)
})

test('containers have no needless rights, report their health, and cannot be reached from other machines', (t) => {
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

test('MongoDB and NATS refuse clients without TLS and a user, and every mounted file is made or is here', (t) => {
  for (const n of [1, 2, 3]) {
    const mongod = services[`mongo-${n}`]?.command?.join(' ') ?? ''
    for (const flag of ['--keyFile', '--tlsMode requireTLS', '--tlsCertificateKeyFile', '--tlsCAFile']) t.true(mongod.includes(flag), flag)
  }
  const conf = readFileSync('deploy/nats.conf', 'utf8')
  for (const part of ['tls {', 'cluster {', 'authorization {', 'verify: true', 'include "nats-users.conf"']) t.true(conf.includes(part), part)
  t.regex(readFileSync(join(made, 'secrets/nats/nats-users.conf'), 'utf8'), /nkey: U/)
  for (const [name, { volumes = [] }] of Object.entries(services))
    for (const from of volumes.map((one) => one.split(':')[0] ?? '').filter((one) => one.startsWith('./')))
      t.truthy(statSync(from.replace('./deploy/secrets', join(made, 'secrets'))), `${name}: ${from}`)
  // What is made is for its owner alone, but for whom to trust; and stays as it is when it is made again.
  for (const name of ['ca.key', 'nats.key', 'mongo.pem', 'mongo.keyfile', 'nats/control-plane.nk'])
    t.is(statSync(join(made, 'secrets', name)).mode & 0o077, 0, name)
  const before = readFileSync(join(made, '.env'), 'utf8')
  execFileSync(process.execPath, ['cli/keys-init/main.ts', '--env', join(made, '.env'), '--secrets', join(made, 'secrets')])
  t.is(readFileSync(join(made, '.env'), 'utf8'), before)
})

/** deploy/nats.conf as it is, but for where this machine keeps what it names. */
const natsConfig = ({ name, port, routes }: { name: string; port: number; routes: number[] }): string =>
  [
    `server_name: ${name}`,
    readFileSync('deploy/nats.conf', 'utf8')
      .replace(/^listen: .*$/m, '')
      .replace(/^http: .*$/m, '')
      .replace('"/data"', '"./data"')
      .replaceAll('"/secrets/', `"${join(made, 'secrets')}/`)
      .replace('$NATS_CLUSTER_PASSWORD', `"${secrets.NATS_CLUSTER_PASSWORD}"`)
      .replace(
        'listen: "0.0.0.0:6222"',
        `listen: "127.0.0.1:${port}", routes: [${routes.map((to) => `"nats://cluster:${secrets.NATS_CLUSTER_PASSWORD}@127.0.0.1:${to}"`).join(', ')}]`,
      )
      .replace('include "nats-users.conf"', readFileSync(join(made, 'secrets/nats/nats-users.conf'), 'utf8')),
  ].join('\n')

const missing = natsMissing ?? mongodbMissing
const run = missing ? test.skip : test
run(`its two control planes, simulator and sidecar sell, and answer for what was sold${missing ? ` (${missing})` : ''}`, async (t) => {
  t.timeout(180_000)
  const nats = await startNatsCluster({ path: newerNats, configFor: natsConfig })
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
    const creds = env.NATS_CREDS?.split('/').at(-1) ?? ''
    const seed = secrets[compose.secrets[creds]?.environment ?? '']
    if (seed) writeFileSync(join(folder, creds), seed, { mode: 0o600 })
    const own = { [port]: String(ports[name]), ...(name === 'sidecar' ? { SIDECAR_HTTP_PORT: '0' } : {}), DATA_DIR: join(folder, name), NODE_ENV: 'production' }
    const process = await startProcess(script, {
      ...env,
      ...(env.NATS_URL ? { NATS_URL: nats.url.replaceAll('nats:', 'tls:'), NATS_CA_FILE: join(made, 'secrets/ca.pem'), NATS_CREDS: join(folder, creds) } : {}),
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
  const platform = httpClient(one, { key: secrets.PLATFORM_API_KEY ?? '' })
  const created = await platform.post('/tenants', { ...tenantDocument, id: 'composed', mode: 'sandbox' })
  t.is(created.status, 201, JSON.stringify(created.body))
  const api = httpClient(other, { key: created.body.apiKey })
  t.is((await api.post('/bundles', bundleDocument)).status, 201)
  const bought = await api.post('/subscriptions', { customerId: 'c', bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod: 'pm_card' })
  t.is(bought.body.status, 'active', JSON.stringify(bought.body))
  const grpc = grpcClient(sidecar.ready.split(' ')[0]?.replace('grpc://', '') ?? '', secrets.CALLER_KEY)
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
