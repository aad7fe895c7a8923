/**
 * `npm run bench:attacks [-- --root CHECKOUT]`: what peers that mean harm make one process hold, and others wait for. Each attack meets a
 * process of its own; beside it a well-behaved caller asks one thing after another. `--root` is another checkout (with its
 * packages installed), to compare with: the figures of both then come from the same machine.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { FrameType, frame, windowUpdateFrame } from '../sidecar/transport/fast/frames.ts'
import { freePort } from '../test/support/free-port.ts'
import { grpcClient } from '../test/support/grpc-client.ts'
import { httpClient } from '../test/support/http-client.ts'
import { bundleDocument, tenantDocument } from '../test/support/platform-model.ts'
import { connectRaw, headersFrame, lastData, requestHeaders } from '../test/support/raw-http2.ts'

const { values } = parseArgs({ options: { root: { type: 'string', default: '.' } } })
const root = resolve(values.root)
const PLATFORM_KEY = 'platform-key-of-the-benchmark-0123456789'
const SECRET = `whsec_${Buffer.alloc(32, 'bank').toString('base64')}`
const MiB = 1024 * 1024
const CHECK = '/entitlement.v1.EntitlementService/CheckEntitlement'
const WATCH = '/entitlement.v1.EntitlementService/WatchEntitlements'

interface Target {
  pid: number
  http: string
  grpcPort: number
  stop(): Promise<void>
}

const start = async (): Promise<Target> => {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-attack-'))
  const [httpPort, grpcPort] = [await freePort(), await freePort()]
  const env = {
    ...process.env,
    HTTP_PORT: String(httpPort),
    GRPC_PORT: String(grpcPort),
    DATA_DIR: folder,
    PLATFORM_API_KEY: PLATFORM_KEY,
    LOCAL_PSP_PRIVATE_URLS: 'true',
    LOG_LEVEL: 'error',
  }
  const child = spawn(join(root, 'node_modules/.bin/node'), ['all-in-one/main.ts'], { cwd: root, env, stdio: ['ignore', 'pipe', 'ignore'] })
  await new Promise<void>((ready, reject) => {
    child.stdout?.on('data', (data) => String(data).includes('ready') && ready())
    child.once('exit', (code) => reject(new Error(`it ended with ${code}`)))
  })
  return {
    pid: child.pid ?? 0,
    http: `http://127.0.0.1:${httpPort}`,
    grpcPort,
    stop: async () => {
      child.kill('SIGKILL')
      await once(child, 'exit')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

const rssMiB = (pid: number): number => Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)]).toString()) / 1024

const percentile = (times: number[], p: number): string =>
  (times.toSorted((a, b) => a - b)[Math.min(times.length - 1, Math.floor(p * times.length))] ?? Number.NaN).toFixed(1)

/** @param attack resolves with what lets go of it. */
const measure = async (name: string, attack: (target: Target) => Promise<() => void>): Promise<void> => {
  const target = await start()
  try {
    const platform = httpClient(target.http, { key: PLATFORM_KEY, unchecked: true })
    const { apiKey } = (await platform.post('/tenants', { ...tenantDocument, id: 'good', mode: 'sandbox' })).body
    const api = httpClient(target.http, { key: apiKey, unchecked: true })
    await api.post('/bundles', bundleDocument)
    await api.post('/subscriptions', { customerId: 'c', bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod: 'pm_card' })
    const grpc = grpcClient(`127.0.0.1:${target.grpcPort}`)
    const question = { tenantId: 'good', storefrontId: 'us-store', customerId: 'c', entitlement: 'analytics_dashboard' }
    let running = true
    const [checks, reads]: [number[], number[]] = [[], []]
    let failed = 0
    const time = async (times: number[], call: () => Promise<unknown>) => {
      const from = performance.now()
      await call().catch(() => {
        failed += 1
      })
      times.push(performance.now() - from)
    }
    const before = rssMiB(target.pid)
    let peak = before
    const sampler = setInterval(() => {
      peak = Math.max(peak, rssMiB(target.pid))
    }, 100)
    const good = (async () => {
      while (running) {
        await time(checks, () => grpc.check(question, 30_000))
        await time(reads, () => api.get('/storefronts/us-store'))
      }
    })()
    const letGo = await attack(target)
    await sleep(3_000)
    running = false
    await good
    clearInterval(sampler)
    letGo()
    grpc.close()
    process.stdout.write(
      `${name}: ${before.toFixed(0)} MiB, at most ${peak.toFixed(0)}; a check takes ${percentile(checks, 0.5)} ms, at most ${percentile(checks, 1)}; a read ${percentile(reads, 0.5)}, at most ${percentile(reads, 1)}; ${failed} of ${checks.length + reads.length} failed\n`,
    )
  } finally {
    await target.stop()
  }
}

const closeAll = (clients: { close(): void }[]) => () => {
  for (const client of clients) client.close()
}

await measure('240 connections with 3 unfinished messages of 1 MB each', async ({ grpcPort }) => {
  const clients = await Promise.all(Array.from({ length: 240 }, () => connectRaw(grpcPort)))
  const prefix = Buffer.alloc(5)
  prefix.writeUInt32BE(1_000_000, 1)
  for (const client of clients)
    for (const id of [1, 3, 5]) {
      client.send(Buffer.concat([headersFrame(id, requestHeaders(CHECK)), frame(FrameType.DATA, 0, id, prefix)]))
      for (let sent = 0; sent < 990_000; sent += 16_000) client.send(frame(FrameType.DATA, 0, id, Buffer.alloc(16_000)))
    }
  return closeAll(clients)
})

await measure('8 connections that take none of 300 answers each', async ({ grpcPort }) => {
  const clients = await Promise.all(Array.from({ length: 8 }, () => connectRaw(grpcPort)))
  // A batch of many checks of a long name: its answer is large.
  const batch = Buffer.concat(
    Array.from({ length: 900 }, () => {
      const check = Buffer.concat([
        Buffer.from([10, 4]),
        Buffer.from('good'),
        Buffer.from([18, 8]),
        Buffer.from('us-store'),
        Buffer.from([26, 1]),
        Buffer.from('c'),
        Buffer.from([34, 1]),
        Buffer.from('x'),
      ])
      return Buffer.concat([Buffer.from([10, check.length]), check])
    }),
  )
  for (const client of clients) {
    // SETTINGS_INITIAL_WINDOW_SIZE 0: nothing may be sent to us.
    client.send(frame(FrameType.SETTINGS, 0, 0, Buffer.from([0, 4, 0, 0, 0, 0])))
    for (let n = 0; n < 300; n += 1) {
      const id = 2 * n + 1
      client.send(Buffer.concat([headersFrame(id, requestHeaders('/entitlement.v1.EntitlementService/BatchCheckEntitlements'))]))
      const prefix = Buffer.alloc(5)
      prefix.writeUInt32BE(batch.length, 1)
      const whole = Buffer.concat([prefix, batch])
      for (let at = 0; at < whole.length; at += 16_000)
        client.send(frame(FrameType.DATA, at + 16_000 >= whole.length ? 1 : 0, id, whole.subarray(at, at + 16_000)))
    }
  }
  return closeAll(clients)
})

await measure('1,000 watches and 40,000 frames of WINDOW_UPDATE', async ({ grpcPort }) => {
  const client = await connectRaw(grpcPort)
  const ask = Buffer.concat([Buffer.from([10, 4]), Buffer.from('good'), Buffer.from([18, 8]), Buffer.from('us-store'), Buffer.from([26, 1]), Buffer.from('c')])
  for (let n = 0; n < 1_000; n += 1) client.send(Buffer.concat([headersFrame(2 * n + 1, requestHeaders(WATCH)), lastData(2 * n + 1, ask)]))
  await sleep(500)
  client.send(Buffer.concat(Array.from({ length: 40_000 }, () => windowUpdateFrame(0, 1))))
  return () => client.close()
})

await measure('700 silent connections to the HTTP API, and 700 to the sidecar', async ({ http, grpcPort }) => {
  const ports = [Number(new URL(http).port), grpcPort]
  const sockets = ports.flatMap((port) => Array.from({ length: 700 }, () => connect(port, '127.0.0.1').on('error', () => undefined)))
  return () => {
    for (const socket of sockets) socket.destroy()
  }
})

await measure('a bank that answers a gigabyte', async ({ http }) => {
  const megabyte = Buffer.alloc(MiB, ' ')
  const bank = createServer(async (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    for (let n = 0; n < 1_024 && !response.destroyed; n += 1)
      if (!response.write(megabyte)) await Promise.race([once(response, 'drain'), once(response, 'close')])
    response.end('{}')
  })
  bank.listen(0, '127.0.0.1')
  await once(bank, 'listening')
  const platform = httpClient(http, { key: PLATFORM_KEY, unchecked: true })
  const { apiKey } = (
    await platform.post('/tenants', { ...tenantDocument, id: 'bad', storefronts: [{ id: 's', currency: 'USD', paymentProviders: ['bank'] }] })
  ).body
  const bad = httpClient(http, { key: apiKey, unchecked: true })
  await bad.post('/psp-accounts', {
    id: 'bank',
    provider: 'local',
    credentials: { url: `http://127.0.0.1:${(bank.address() as AddressInfo).port}/`, secret: SECRET },
    webhookSecret: SECRET,
  })
  await bad.post('/customers', { id: 'c', storefrontId: 's', paymentMethods: [{ id: 'm', type: 'card', tokens: { bank: 'tok' } }] })
  const { status, body } = await bad.post('/payments', { storefrontId: 's', customerId: 'c', amount: 100, currency: 'USD', paymentMethod: 'm' })
  if (status !== 201) throw new Error(`the payment was not tried: ${JSON.stringify(body)}`)
  return () => {
    bank.closeAllConnections()
    bank.close()
  }
})
process.exit(0)
