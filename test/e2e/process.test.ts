/** Starting, stopping and being told wrong things: what an operator sees. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { type ServiceError, status as Status } from '@grpc/grpc-js'
import test from 'ava'
import { makeCertificates } from '../support/certificates.ts'
import { spawnOwned } from '../support/child-processes.ts'
import { freePort } from '../support/free-port.ts'
import { grpcClient } from '../support/grpc-client.ts'
import { httpClient } from '../support/http-client.ts'
import { openShop } from '../support/shop.ts'
import { embedded, runCommand, startProcess } from '../support/tollgate.ts'

const folder = async () => mkdtemp(join(tmpdir(), 'tollgate-'))
const anyPorts = { HTTP_PORT: '0', GRPC_PORT: '0' }

test('the process prints one ready line with both addresses, makes a platform key once, and keeps what it knows', async (t) => {
  const DATA_DIR = await folder()
  const first = await startProcess('all-in-one/main.ts', { ...anyPorts, DATA_DIR })
  t.regex(first.ready, /^http:\/\/127\.0\.0\.1:\d+ grpc:\/\/127\.0\.0\.1:\d+$/)
  const key = /tgp_\S+/.exec(first.stdout())?.[0] ?? ''
  t.false(first.stderr().includes(key))
  const api = (ready: string, tenant?: string) => httpClient(ready.split(' ')[0] ?? '', { key, ...(tenant ? { tenant } : {}) })
  t.is((await api(first.ready).post('/tenants', { id: 'kept', name: 'Kept' })).status, 201)
  t.is(await first.stop(), 0)

  const second = await startProcess('all-in-one/main.ts', { ...anyPorts, DATA_DIR })
  t.false(second.stdout().includes('tgp_'), 'the key is shown once')
  t.is((await api(second.ready).get('/tenants/kept')).status, 200)
  t.is(await second.stop(), 0)

  const third = await startProcess('all-in-one/main.ts', { ...anyPorts, DATA_DIR, PLATFORM_API_KEY: 'one-of-my-own-choice' })
  t.is((await api(third.ready).get('/tenants/kept')).status, 401, 'a configured key replaces the generated one')
  t.is(await third.stop('SIGINT'), 0)
  await rm(DATA_DIR, { recursive: true })
})

test('a mistake that the owner of the environment can correct is reported in a sentence', async (t) => {
  const DATA_DIR = await folder()
  const first = await startProcess('all-in-one/main.ts', { ...anyPorts, DATA_DIR })
  t.teardown(() => first.stop('SIGKILL'))
  const [http = '', grpc = ''] = first.ready.split(' ').map((address) => address.split(':').at(-1) ?? '')
  const refused = async (env: Record<string, string>): Promise<string> => (await t.throwsAsync(startProcess('all-in-one/main.ts', env))).message
  t.regex(await refused({ ...anyPorts, DATA_DIR }), /DATA_DIR .* is in use by another Tollgate/)
  const plane = { HTTP_PORT: '0', NATS_URL: 'nats://127.0.0.1:9', DATA_DIR }
  const planeRefused = await t.throwsAsync(startProcess('control-plane/main.ts', plane))
  t.regex(planeRefused.message, /DATA_DIR .* is in use by another Tollgate\. It is npm start without NATS_URL/)
  t.regex(await refused({ HTTP_PORT: http, GRPC_PORT: '0', DATA_DIR: await folder() }), /HTTP_PORT: port \d+ is in use/)
  t.regex(await refused({ HTTP_PORT: '0', GRPC_PORT: '0', METRICS_PORT: http, DATA_DIR: await folder() }), /METRICS_PORT: port \d+ is in use/)
  t.regex(await refused({ HTTP_PORT: '0', GRPC_PORT: grpc, DATA_DIR: await folder() }), /GRPC_PORT: port \d+ is in use/)
  t.notRegex(await refused({ HTTP_PORT: 'x', GRPC_PORT: '0', DATA_DIR }), / at /)
  await first.stop('SIGKILL')
  const second = await startProcess('all-in-one/main.ts', { ...anyPorts, DATA_DIR })
  t.is(await second.stop(), 0, 'a lock does not outlive its process')
})

test('SIGTERM lets running calls finish, ends watches with a reason, and exits 0', async (t) => {
  const tollgate = await embedded.start()
  t.teardown(tollgate.close)
  const shop = await openShop(t, tollgate)
  const grpc = grpcClient(tollgate.grpc)
  t.teardown(grpc.close)
  const watch = grpc.raw.watchEntitlements({ tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', minRevision: 0n })
  await new Promise((resolve) => watch.once('data', resolve))
  const ended = new Promise<ServiceError>((resolve) => watch.once('error', (error) => resolve(error as ServiceError)))
  // The provider keeps this one waiting for two seconds.
  const slow = shop.subscribe('slow', 'pm_timeout')
  await new Promise((resolve) => setTimeout(resolve, 300))
  const startedMs = Date.now()
  t.is(await tollgate.controlPlane.stop(), 0)
  t.true(Date.now() - startedMs < 10_000)
  t.is((await slow).status, 201)
  t.is((await ended).code, Status.UNAVAILABLE)
})

test('a bad environment is told in full before anything starts', async (t) => {
  const error = await t.throwsAsync(startProcess('all-in-one/main.ts', { HTTP_PORT: 'x', GRPC_PORT: '70000', SIDECAR_KYES: '{}' }))
  t.regex(error?.message ?? '', /does not read the variable SIDECAR_KYES; did you mean SIDECAR_KEYS\?[\s\S]*HTTP_PORT[\s\S]*GRPC_PORT/)
  for (const script of ['sidecar/main.ts', 'control-plane/main.ts', 'control-plane/republish.ts']) {
    const alone = await t.throwsAsync(runCommand(script, [], {}))
    t.regex(alone?.message ?? '', /NATS_URL must be set/)
  }
})

test('a process that waits for others to start ends on SIGTERM like one that serves', async (t) => {
  const child = spawnOwned(process.execPath, ['sidecar/main.ts'], {
    env: { ...process.env, NATS_URL: `nats://127.0.0.1:${await freePort()}`, GRPC_PORT: '0', LOG_LEVEL: 'warn' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const said = (await once(child.stderr as Readable, 'data')).join('')
  t.regex(said, /no NATS server can be reached/)
  child.kill('SIGTERM')
  t.deepEqual(await once(child, 'exit'), [0, null])
})

test('a demo that ended half way is gone on with; a sidecar that wants a key is asked with CALLER_KEY', async (t) => {
  const tollgate = await embedded.start({ SIDECAR_KEYS: '{"a key for everything": ["*"]}' })
  t.teardown(tollgate.close)
  const refused = await t.throwsAsync<Error & { stderr: string }>(
    promisify(execFile)(process.execPath, ['cli/demo.ts'], { env: { ...process.env, ...tollgate.env, CALLER_KEY: 'another key' } }),
  )
  t.regex(refused?.stderr ?? '', /^the sidecar at \S+ did not answer: .*\n$/)
  const said = await runCommand('cli/demo.ts', [], { ...tollgate.env, CALLER_KEY: 'a key for everything' })
  t.is(said.match(/is active; next payment/g)?.length, 3, 'the first was subscribed already')
})

test('a sidecar that serves TLS, and one that asks who calls, is asked with the files of the CALLER_TLS_ variables', async (t) => {
  const { caFile, certFile, keyFile } = makeCertificates()
  const tollgate = await embedded.start({ TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile, TLS_CLIENT_CA_FILE: caFile })
  t.teardown(tollgate.close)
  const ask = (env: Record<string, string>) =>
    promisify(execFile)(process.execPath, ['cli/check.ts', 'acme', 'us', 'anna', 'sso'], { env: { ...process.env, ...tollgate.env, ...env } }).then(
      ({ stdout }) => stdout,
      ({ stdout, stderr }: { stdout: string; stderr: string }) => stdout + stderr,
    )
  const [ca, own] = [{ CALLER_TLS_CA_FILE: caFile }, { CALLER_TLS_CERT_FILE: certFile, CALLER_TLS_KEY_FILE: keyFile }]
  t.regex(await ask({ ...ca, ...own }), /^DENIED: /)
  for (const env of [{}, ca]) t.regex(await ask(env), /^the sidecar at \S+ did not answer: [^\n]*\n$/m)
  t.is(await ask({ CALLER_TLS_CA_FILE: '/nowhere' }), 'CALLER_TLS_CA_FILE: /nowhere cannot be read (ENOENT)\n')
  t.regex(await ask({ ...ca, CALLER_TLS_CERT_FILE: certFile }), /must be set together/)
  t.regex(await ask(own), /CALLER_TLS_CERT_FILE needs CALLER_TLS_CA_FILE/)
  t.regex(await ask({ ...ca, CALLER_TLS_CERT_FILE: certFile, CALLER_TLS_KEY_FILE: certFile }), /^the files named by CALLER_TLS_… cannot be used: [^\n]*\n$/)
})

test('npm run demo sets the three businesses up, and npm run check reads the answers', async (t) => {
  const tollgate = await embedded.start()
  t.teardown(tollgate.close)
  const said = await runCommand('cli/demo.ts', [], tollgate.env)
  for (const name of ['GlobalCorp', 'ConglomCorp', 'SaaS Corp']) t.true(said.includes(`=== ${name} ===`))
  t.false(said.includes('scheduled'))
  t.is(said.match(/is active; next payment/g)?.length, 4)
  t.regex(said, /john@example.com is active; next payment 29\.00 USD on 2024-04-15/)
  t.regex(said, /DENIED: the limit is reached\n {4}used {7}5 of 5, 0 left/)
  t.regex(await runCommand('cli/demo.ts', [], tollgate.env), /already exists/)

  t.regex(
    await runCommand('cli/check.ts', ['globalcorp', 'us-store', 'john@example.com', 'email_support'], tollgate.env),
    /^ALLOWED: granted\n {2}value {6}business hours/,
  )
  const check = (...args: string[]) =>
    promisify(execFile)(process.execPath, ['cli/check.ts', ...args], { env: { ...process.env, ...tollgate.env } }).then(
      () => 0,
      (error: { code: number }) => error.code,
    )
  t.is(await check('globalcorp', 'us-store', 'stranger', 'email_support'), 1)
  t.regex(
    await runCommand('cli/check.ts', ['--explain', 'globalcorp', 'us-store', 'john@example.com', 'email_support'], tollgate.env),
    /held {7}sub_\w+ of pro-plan, active, 2024-03-15 to 2024-04-15, payment pay_\w+, succeeded\n[\s\S]* offered {4}enterprise/,
  )
  t.regex(said, /counted: \d+ of \d+ used/)
  const counted = await runCommand('cli/check.ts', ['--consume', 'globalcorp', 'us-store', 'john@example.com', 'api_access', '2'], tollgate.env)
  t.regex(counted, /^ALLOWED: granted\n[\s\S]* counted {4}yes\n/)
  t.is(await check('globalcorp'), 2)
})
