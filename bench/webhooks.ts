/**
 * Outgoing webhooks: a thousand endpoints, of which one in twenty is slow and one in twenty is dead, and 200 events a second. Measured
 * is the time from a change to its arrival at a healthy endpoint, and the memory; beside it, in the same run, the time that a bare
 * POST of the same size takes from this process to the same receiver.
 *
 *   npm run bench:webhooks -- --seconds 30 --rate 200
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { systemClock } from '../common/clock.ts'
import { Secret } from '../common/secret.ts'
import { createTenant } from '../control-plane/catalog/tenants.ts'
import { startEventSender } from '../control-plane/events/sender.ts'
import { createWebhookSender } from '../control-plane/events/webhooks/send.ts'
import { keys } from '../control-plane/keys.ts'
import { createSqliteStorage } from '../control-plane/storage/sqlite.ts'
import { createBenchServices } from './billing/services.ts'

const TENANTS = 50
const ENDPOINTS = 20
const SLOW_MS = 10_000

/** In a process of its own, so that it does not share our event loop. */
const receive = (): void => {
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => {
      body += chunk
    })
    request.on('end', () => {
      const [, kind = '', sentMs = ''] = (request.url ?? '').split('/')
      if (kind === 'floor') process.send?.({ kind, ms: Date.now() - Number(sentMs) })
      else process.send?.({ kind, ms: Date.now() - Number(JSON.parse(body).data.name) })
      if (kind === 'slow') setTimeout(() => response.end(), SLOW_MS)
      else response.end()
    })
  })
  server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }))
}

const percentile = (values: number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN

const main = async (): Promise<void> => {
  const { values } = parseArgs({ options: { seconds: { type: 'string', default: '30' }, rate: { type: 'string', default: '200' } } })
  const [seconds, rate] = [Number(values.seconds), Number(values.rate)]
  const receiver = fork(fileURLToPath(import.meta.url), ['receive'], { execArgv: process.execArgv })
  const [{ port }] = (await once(receiver, 'message')) as [{ port: number }]
  const times: Record<string, number[]> = { ok: [], slow: [], floor: [] }
  receiver.on('message', ({ kind, ms }: { kind: string; ms: number }) => times[kind]?.push(ms))

  const folder = mkdtempSync(join(tmpdir(), 'bench-webhooks-'))
  const raw = createSqliteStorage({ path: join(folder, 'bench.sqlite'), clock: systemClock })
  const services = createBenchServices(raw, 0)
  const { storage, events, sealing } = services
  const secret = new Secret(`whsec_${Buffer.alloc(32, 7).toString('base64')}`)
  for (let t = 0; t < TENANTS; t += 1) {
    const tenantId = `t${t}`
    await createTenant(services, { id: tenantId, name: tenantId, mode: 'live', storefronts: [] }, `key_${t}`)
    for (let e = 0; e < ENDPOINTS; e += 1) {
      const n = t * ENDPOINTS + e
      const kind = n % 20 === 0 ? 'slow' : n % 20 === 10 ? 'dead' : 'ok'
      const _id = keys.webhookEndpoint(tenantId, `e${e}`)
      await storage.webhookEndpoints.insert({
        _id,
        tenantId,
        id: `e${e}`,
        url: kind === 'dead' ? 'http://127.0.0.1:9/' : `http://127.0.0.1:${port}/${kind}`,
        types: ['*'],
        storefrontIds: [`s${e}`],
        ordered: n % 2 === 0,
        enabled: true,
        fromPosition: 0,
        secrets: [{ id: 's', secret: sealing.seal(secret, _id), createdAt: new Date() }],
        createdAt: new Date(),
      })
    }
    await events.logs.nudge(tenantId)
  }
  const sender = startEventSender({ services, webhooks: createWebhookSender({ clock: systemClock, allowPrivate: true }), stream: undefined })
  const pricing = { amountMinor: 1, currency: 'USD', interval: 'month' as const, intervalCount: 1 }
  let made = 0
  /** A change whose name is its own time. */
  const change = async (n: number): Promise<void> => {
    const [tenantId, storefrontId] = [`t${n % TENANTS}`, `s${Math.floor(n / TENANTS) % ENDPOINTS}`]
    const _id = keys.bundle(tenantId, storefrontId, `b${n}`)
    const createdAt = new Date()
    const offer = { version: 1, name: String(createdAt.getTime()), pricing, entitlements: [], refundEndsAccess: false, trialDays: 0 }
    await storage.bundles.insert({ _id, tenantId, storefrontId, id: `b${n}`, ...offer, createdAt })
  }
  const memory = (): number => Math.round(process.memoryUsage().rss / 1024 / 1024)
  const before = memory()
  const beganMs = performance.now()
  let most = 0
  const floor = async (): Promise<void> => {
    await fetch(`http://127.0.0.1:${port}/floor/${Date.now()}`, { method: 'POST', body: JSON.stringify({ data: 'x'.repeat(600) }) })
  }
  const running = new Set<Promise<unknown>>()
  const start = (work: Promise<unknown>): void => {
    const one: Promise<unknown> = work.finally(() => running.delete(one))
    running.add(one)
  }
  while (performance.now() - beganMs < seconds * 1_000) {
    const due = Math.floor(((performance.now() - beganMs) / 1_000) * rate)
    for (; made < due; made += 1) {
      start(change(made))
      if (made % 10 === 0) start(floor())
    }
    most = Math.max(most, memory())
    await sleep(5)
  }
  await Promise.all(running)
  const wanted = Array.from({ length: made }, (_, n) => (n % TENANTS) * ENDPOINTS + (Math.floor(n / TENANTS) % ENDPOINTS)).filter((n) => n % 10 !== 0).length
  for (let waited = 0; (times.ok ?? []).length < wanted && waited < 30_000; waited += 100) await sleep(100)
  const { ok = [], floor: bare = [] } = times
  process.stdout.write(`${made} events in ${seconds} s to ${TENANTS * ENDPOINTS} endpoints, one in ten of them slow or dead\n`)
  process.stdout.write(
    `healthy endpoints: ${ok.length} of ${wanted} arrived; from change to arrival p50 ${percentile(ok, 0.5)} ms, p99 ${percentile(ok, 0.99)} ms, most ${percentile(ok, 1)} ms\n`,
  )
  process.stdout.write(`a bare POST meanwhile: p50 ${percentile(bare, 0.5)} ms, p99 ${percentile(bare, 0.99)} ms\n`)
  process.stdout.write(`memory: ${before} MiB before, ${most} MiB at most; attempts: ${JSON.stringify(Object.fromEntries(sender.stats().attempts))}\n`)
  receiver.kill()
  await Promise.race([sender.stop(), sleep(1_000)])
  rmSync(folder, { recursive: true, force: true })
  process.exit(0)
}

if (process.argv[2] === 'receive') receive()
else await main()
