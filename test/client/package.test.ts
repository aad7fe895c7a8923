/**
 * The package as users get it: built, packed, and installed into an empty project; used there from TypeScript and JavaScript, by
 * this Node and by the oldest that it supports. The examples run there, too.
 */
import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { credentials, Metadata, makeGenericClientConstructor, type ServiceError, status as Status } from '@grpc/grpc-js'
import test, { type ExecutionContext } from 'ava'
import { systemClock } from '../../common/clock.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { spawnOwned } from '../support/child-processes.ts'
import { httpClient } from '../support/http-client.ts'
import { type InProcessTollgate, openInProcessTollgate } from '../support/in-process-tollgate.ts'
import { node22, node22Missing } from '../support/node-22.ts'
import { openSidecar, setOf, type TestSidecar } from '../support/sidecar.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const run = promisify(execFile)
const read = (path: string) => JSON.parse(readFileSync(path, 'utf8'))

const project = mkdtempSync(join(tmpdir(), 'tollgate-package-'))
test.after.always(() => rmSync(project, { recursive: true, force: true }))
let sidecar: TestSidecar
/** Uses are counted by a control plane. */
let tollgate: InProcessTollgate
let counting: TestSidecar
test.after.always(async () => {
  await counting?.close()
  await tollgate?.[Symbol.asyncDispose]()
})
let packed: string[] = []

test.before(async (t) => {
  t.timeout(300_000)
  await run('npm', ['run', 'build:client'], { cwd: root })
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', project], { cwd: join(root, 'client') })
  const output = JSON.parse(stdout)
  // npm 10 answers with a list, later ones by name.
  const [{ filename, files }] = (Array.isArray(output) ? output : Object.values(output)) as [{ filename: string; files: { path: string }[] }]
  packed = files.map(({ path }) => path)
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'empty', private: true, type: 'module' }))
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', `./${filename.replace('@tollgate/', 'tollgate-')}`], {
    cwd: project,
  })
  const feed = createInProcessFeed({ clock: systemClock })
  await feed.putSet(setOf('anna'))
  await feed.putSet(setOf('ben', 1, { usage: [{ key: 'calls', used: 1_000, untilMs: 32_503_680_000_000 }] }))
  sidecar = await openSidecar({}, { feed })
  tollgate = await openInProcessTollgate()
  counting = await openSidecar({}, { feed: tollgate.feed })
  const platform = httpClient(tollgate.http)
  const created = await platform.post('/tenants', { id: 'acme', name: 'Acme', mode: 'sandbox', storefronts: [{ id: 'us', region: 'US', currency: 'USD' }] })
  const api = httpClient(tollgate.http, { key: created.body.apiKey })
  await api.put('/test-clock', { now: '2024-03-15T00:00:00Z' })
  for (const [customer, used] of [
    ['anna', 7],
    ['ben', 1_000],
  ] as const) {
    await api.post('/customers', { id: customer, storefrontId: 'us' })
    const calls = { key: 'calls', kind: 'quota', limit: 1_000, per: 'month' }
    t.is((await api.post(`/storefronts/us/customers/${customer}/grants`, { entitlements: [calls], reason: 'a test' })).status, 201)
    t.is((await api.post('/usage', { storefrontId: 'us', customerId: customer, entitlement: 'calls', amount: used })).status, 201)
  }
})

test('it has what it needs, in the versions that the sidecar has, and nothing else', (t) => {
  const [own, whole] = [read(join(root, 'client/package.json')), read(join(root, 'package.json'))]
  t.is(own.version, whole.version)
  t.is(own.license, whole.license)
  for (const [name, version] of Object.entries(own.dependencies)) t.is(version, whole.dependencies[name], name)
  t.deepEqual(Object.keys(own.peerDependenciesMeta), Object.keys(own.peerDependencies), 'frameworks are for the application to have')
  t.true(packed.includes('LICENSE') && packed.includes('README.md'))
  t.deepEqual(
    packed.filter((path) => !/^dist\/(client|common|proto\/gen)\/.*\.(d\.ts|js)$/.test(path)),
    ['LICENSE', 'README.md', 'package.json'],
  )
  const installed = readdirSync(join(project, 'node_modules'))
  for (const name of ['koa', 'express', 'fastify', '@nestjs', 'zod', 'pino']) t.false(installed.includes(name), name)
})

const javaScript = `
import { createTollgate, TollgateError } from '@tollgate/client'
import { createFakeTollgate } from '@tollgate/client/testing'
const tollgate = createTollgate({ address: process.argv[2], tenant: 'acme', storefront: 'us', timeoutMs: 10_000 })
const asks = { customer: 'anna', entitlement: 'sso' }
const first = await tollgate.check(asks)
let answer = first
for (let tries = 0; answer.from !== 'memory' && tries < 500; tries += 1) {
  await new Promise((resolve) => setTimeout(resolve, 10))
  answer = await tollgate.check(asks)
}
const { entitlements } = await tollgate.list({ customer: 'anna' })
const error = await tollgate.check({ customer: '', entitlement: 'sso' }).catch((thrown) => thrown)
const fake = await createFakeTollgate({ grants: { anna: { calls: { limit: 5, per: 'month' } } } }).check({ customer: 'anna', entitlement: 'calls' })
tollgate.close()
console.log(JSON.stringify([first.from, answer.from, answer.allowed, [...entitlements.keys()], error instanceof TollgateError && error.code, fake.remaining]))
`
const expected = ['sidecar', 'memory', true, ['sso', 'seats', 'hours', 'calls'], 'invalid_request', 5]

const typeScript = `
import { type Answer, createTollgate, type Tollgate, TollgateError } from '@tollgate/client'
import { createFakeTollgate, type FakeTollgate } from '@tollgate/client/testing'

const tollgate: Tollgate = createTollgate({ address: process.argv[2], tenant: 'acme', storefront: 'us', timeoutMs: 10_000, tls: undefined, cache: { maxAgeMs: 1_000 } })
const describe = (answer: Answer): string => {
  // @ts-expect-error: only some answers have a limit
  answer.limit
  switch (answer.reason) {
    case 'granted':
      if (answer.kind === 'quota') return \`\${answer.remaining} until \${answer.resetsAt.toISOString()}\`
      return answer.kind === 'value' ? answer.value.toUpperCase() : answer.kind
    case 'limit_exceeded':
      return String(answer.limit)
    case 'unknown':
      return answer.error.code
    default:
      return answer.ageMs > 0 ? answer.reason : answer.from
  }
}
const consumed = await tollgate.consume({ customer: 'nobody', entitlement: 'calls', amount: 2 }, { batchMs: 5 })
const counted: boolean | undefined = consumed.counted
// @ts-expect-error: what was denied cannot be committed
const commits = async () => (await tollgate.reserve({ customer: 'anna', entitlement: 'calls' })).commit()
const fake: FakeTollgate = createFakeTollgate({ grants: { anna: { calls: { limit: 5, per: 'month' } } } })
// @ts-expect-error: a quota is not per minute
fake.grant('anna', { calls: { limit: 5, per: 'minute' } })
const said = [describe(await tollgate.check({ customer: 'anna', entitlement: 'hours' })), describe(await tollgate.check({ customer: 'anna', entitlement: 'calls' }))]
const error: unknown = await tollgate.check({ customer: '', entitlement: 'sso' }).catch((thrown: unknown) => thrown)
tollgate.close()
console.log(JSON.stringify([...said, counted, typeof commits, error instanceof TollgateError && error.code]))
`

/** `await using` is syntax that Node 22 does not have. */
const disposal = `
const settles = async (): Promise<number | string> => {
  await using reserved = await tollgate.reserve({ customer: 'anna', entitlement: 'calls', amount: 5 })
  return reserved.allowed ? (await reserved.commit(3)).used : reserved.reason
}
await settles()
`

const nodes: [version: string, path: string | undefined, missing: string | undefined][] = [
  ['this Node', process.execPath, undefined],
  ['Node 22', node22, node22Missing],
]
for (const [name, node, missing] of nodes) {
  if (!node || missing) {
    test.skip(`from JavaScript and TypeScript, by ${name} (${missing})`, () => {})
    continue
  }
  test(`from JavaScript and TypeScript, by ${name}`, async (t) => {
    const write = (file: string, text: string) => writeFileSync(join(project, file), text)
    write('use.js', javaScript)
    write('use.ts', typeScript)
    t.deepEqual(JSON.parse((await run(node, ['use.js', sidecar.address], { cwd: project })).stdout), expected)
    t.deepEqual(JSON.parse((await run(node, ['use.ts', sidecar.address], { cwd: project })).stdout), [
      '24/7',
      '993 until 3000-01-01T00:00:00.000Z',
      false,
      'function',
      'invalid_request',
    ])
  })
}

test('its declarations hold for a strict TypeScript', async (t) => {
  const folder = mkdtempSync(join(project, 'types-'))
  writeFileSync(join(folder, 'use.ts'), `${typeScript}${disposal}`)
  const options = {
    strict: true,
    exactOptionalPropertyTypes: true,
    module: 'nodenext',
    target: 'es2024',
    noEmit: true,
    types: ['node'],
    typeRoots: [join(root, 'node_modules/@types')],
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['use.ts'] }))
  await t.notThrowsAsync(
    run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', folder], { cwd: folder }).catch((error) => Promise.reject(error.stdout)),
  )
})

/** An example of the repository, run where the package is installed, with the frameworks of this repository. */
const startExample = async (t: ExecutionContext, name: string, frameworks: string[], address = sidecar.address): Promise<string> => {
  for (const framework of frameworks) {
    const link = join(project, 'node_modules', framework)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(realpathSync(join(root, 'node_modules', framework)), link)
  }
  const file = join(project, name, 'main.ts')
  cpSync(join(root, 'examples', name, 'main.ts'), file)
  const child = spawnOwned(process.execPath, [file], {
    env: { ...process.env, TOLLGATE_ADDRESS: address, PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill())
  let text = ''
  for await (const data of child.stdout ?? []) {
    text += data
    const address = /^ready (.*)$/m.exec(text)?.[1]
    if (address !== undefined) return address
  }
  throw new Error(`examples/${name} ended: ${text}`)
}

for (const [name, frameworks] of [
  ['koa', ['koa']],
  ['express', ['express']],
  ['fastify', ['fastify']],
  ['nest', ['@nestjs/common', '@nestjs/core', '@nestjs/platform-express', 'reflect-metadata', 'rxjs']],
] as const) {
  test(`the example of ${name} serves who has it, and refuses the others by a problem`, async (t) => {
    const consumes = name === 'express'
    const url = await startExample(t, name, [...frameworks], consumes ? counting.address : sidecar.address)
    const ask = (customer: string | undefined) => fetch(url, { headers: customer === undefined ? {} : { 'x-customer': customer } })
    const served = await ask('anna')
    t.is(served.status, 200)
    t.deepEqual(await served.json(), { reports: ['march', 'april'] })
    t.is(served.headers.get('RateLimit-Policy'), '"calls";q=1000')
    t.regex(served.headers.get('RateLimit') ?? '', consumes ? /^"calls";r=992;t=\d+$/ : /^"calls";r=993;t=\d+$/)
    if (consumes) t.regex((await ask('anna')).headers.get('RateLimit') ?? '', /^"calls";r=991;t=\d+$/)

    const spent = await ask('ben')
    t.is(spent.status, 402)
    t.regex(spent.headers.get('content-type') ?? '', /^application\/problem\+json/)
    t.regex(spent.headers.get('RateLimit') ?? '', /^"calls";r=0;t=\d+$/)
    t.deepEqual(await spent.json(), {
      type: 'urn:tollgate:denied:limit_exceeded',
      title: 'limit exceeded',
      status: 402,
      detail: 'more was asked for than is left',
      entitlement: 'calls',
      reason: 'limit_exceeded',
      resetsAt: consumes ? '2024-04-15T00:00:00.000Z' : '3000-01-01T00:00:00.000Z',
    })
    const unknown = await ask('nobody')
    t.is(unknown.status, 402)
    t.like(await unknown.json(), { reason: 'customer_unknown' })
    t.is((await ask(undefined)).status, 401)
    // A question that cannot be meant is a fault of the application's.
    const fault = await ask('x'.repeat(200))
    t.is(fault.status, 500)
    t.false((await fault.text()).includes('"reports":['))
  })
}

test('the example of gRPC serves who has it, and ends other calls with a status and the reason', async (t) => {
  const address = await startExample(t, 'grpc', [])
  const json = (path: string) => ({
    path,
    requestStream: false,
    responseStream: false,
    requestSerialize: (message: unknown) => Buffer.from(JSON.stringify(message)),
    requestDeserialize: (bytes: Buffer) => JSON.parse(bytes.toString()),
    responseSerialize: (message: unknown) => Buffer.from(JSON.stringify(message)),
    responseDeserialize: (bytes: Buffer) => JSON.parse(bytes.toString()),
  })
  const Reports = makeGenericClientConstructor({ list: json('/acme.Reports/List'), about: json('/acme.Reports/About') }, 'Reports')
  const client = new Reports(address, credentials.createInsecure())
  t.teardown(() => client.close())
  const call = (method: 'list' | 'about', customer?: string) =>
    new Promise<{ error: ServiceError | null; answer: unknown }>((resolve) => {
      const metadata = new Metadata()
      if (customer !== undefined) metadata.set('x-customer', customer)
      client[method]?.({}, metadata, { deadline: Date.now() + 10_000 }, (error: ServiceError | null, answer: unknown) => resolve({ error, answer }))
    })
  t.deepEqual((await call('list', 'anna')).answer, { reports: ['march', 'april'] })
  t.deepEqual((await call('about')).answer, { about: 'reports' }, 'not for sale')
  const spent = (await call('list', 'ben')).error
  t.is(spent?.code, Status.RESOURCE_EXHAUSTED)
  t.deepEqual(spent?.metadata.getMap(), {
    ...spent?.metadata.getMap(),
    'tollgate-reason': 'limit_exceeded',
    'tollgate-entitlement': 'calls',
    'tollgate-resets-at': '3000-01-01T00:00:00.000Z',
  })
  t.is((await call('list', 'nobody')).error?.code, Status.PERMISSION_DENIED)
  t.is((await call('list')).error?.code, Status.UNAUTHENTICATED)
  t.is((await call('list', 'x'.repeat(200))).error?.code, Status.INTERNAL)
})
