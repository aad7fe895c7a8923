/**
 * The sidecar beside its peers, in one run: `npm run bench:sidecar`. Server on one core, load on another, several rounds
 * in turn, medians; what counts are the ratios within the run.
 *
 *   npm run bench:sidecar -- --rounds 3 --seconds 3 --customers 100000
 *   npm run bench:sidecar -- --only rates,memory
 *
 * Parts: peers, rates, socket, batch, cold, connections, memory.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { BinaryWriter } from '@bufbuild/protobuf/wire'
import { CheckEntitlementRequest } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { framed } from '../../sidecar/transport/fast/grpc-message.ts'
import { customerId, keys, STOREFRONT, TENANT } from './population.ts'
import { hasH2load, pinned, type Running, startCerbos, startNghttpd, startNode } from './servers.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '3' },
    customers: { type: 'string', default: '100000' },
    only: { type: 'string', default: 'peers,rates,socket,batch,cold,connections,memory' },
  },
})
const [rounds, seconds, customers] = [Number(values.rounds), Number(values.seconds), Number(values.customers)]
const parts = new Set(values.only.split(','))
const say = (line = '') => process.stdout.write(`${line}\n`)

interface Measured {
  calls: number
  errors: number
  perSecond: number
  checksPerSecond: number
  /** Microseconds. */
  p50: number
  p99: number
  p999: number
  max: number
  cpuUs: number
  /** Of the server, when the load ends. */
  memoryBytes: number
}

const load = async (server: Running, settings: object): Promise<Measured> => {
  const options = { seconds, customers, ...settings }
  // At a fixed rate the generator's own pauses would count as the server's: they are short with a small young generation.
  const flags = 'rate' in settings ? ['--expose-gc', '--max-semi-space-size=1'] : []
  const [command, args] = pinned(1, process.execPath, [...flags, join(import.meta.dirname, 'load.ts'), String(server.port), JSON.stringify(options)])
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
  let cpu = 0
  child.once('message', () => {
    cpu = server.cpuUs()
  })
  let said = ''
  child.stdout?.on('data', (data) => {
    said += data
  })
  await new Promise((resolve) => child.once('close', resolve))
  const measured = JSON.parse(said) as Omit<Measured, 'cpuUs' | 'memoryBytes'>
  if (measured.errors > 0) throw new Error(`${measured.errors} of ${measured.calls} calls failed`)
  return { ...measured, cpuUs: (server.cpuUs() - cpu) / measured.calls, memoryBytes: server.memoryBytes() }
}

/** One repeated request by nghttp2's own generator. It looks at no `grpc-status`: what is asked was answered before. */
const h2load = async (server: Running, connections: number, streams: number, path: string, message?: Buffer): Promise<number> => {
  const request: string[] = []
  if (message) {
    const file = join(mkdtempSync(join(tmpdir(), 'tollgate-h2load-')), 'request')
    writeFileSync(file, framed(message))
    request.push('-d', file, '-H', 'content-type: application/grpc', '-H', 'te: trailers')
  }
  const [command, args] = pinned(1, 'h2load', [
    ...['-D', String(seconds), '--warm-up-time', '1', '-c', String(connections), '-m', String(streams)],
    ...request,
    `http://127.0.0.1:${server.port}${path}`,
  ])
  const child = spawn(command, args)
  let said = ''
  child.stdout.on('data', (data) => {
    said += data
  })
  await new Promise((resolve) => child.once('close', resolve))
  return Number(/finished in .*?, ([\d.]+) req\/s/.exec(said)?.[1] ?? Number.NaN)
}

const median = (numbers: number[]): number => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN
const medians = (of: Measured[]): Measured =>
  Object.fromEntries(Object.keys(of[0] ?? {}).map((key) => [key, median(of.map((one) => one[key as keyof Measured]))])) as unknown as Measured
const thousand = (n: number) => Math.round(n).toLocaleString('en')
const ms = (us: number) => `${(us / 1000).toFixed(us < 10_000 ? 2 : 1)} ms`
const table = (rows: string[][]) => {
  const widths = (rows[0] ?? []).map((_, n) => Math.max(...rows.map((row) => row[n]?.length ?? 0)))
  for (const row of rows) say(`| ${row.map((cell, n) => (n === 0 ? cell.padEnd(widths[n] ?? 0) : cell.padStart(widths[n] ?? 0))).join(' | ')} |`)
  say()
}

const CHECK_PATH = '/entitlement.v1.EntitlementService/CheckEntitlement'
const checkRequest = (): Buffer =>
  Buffer.from(
    CheckEntitlementRequest.encode({
      tenantId: TENANT,
      storefrontId: STOREFRONT,
      customerId: customerId(1),
      entitlement: keys[0] as string,
      amount: 0n,
      minRevision: 0n,
    }).finish(),
  )
const CERBOS_PATH = '/cerbos.svc.v1.CerbosService/CheckResources'
/** `cerbos.request.v1.CheckResourcesRequest`: may this principal use this resource? */
const cerbosRequest = (): Buffer => {
  const principal = new BinaryWriter().uint32(10).string('customer-0000001@example.com').uint32(26).string('customer').finish()
  const resource = new BinaryWriter().uint32(10).string('feature').uint32(26).string('analytics_dashboard').finish()
  const entry = new BinaryWriter().uint32(10).string('use').uint32(18).bytes(resource).finish()
  return Buffer.from(new BinaryWriter().uint32(10).string('1').uint32(26).bytes(principal).uint32(34).bytes(entry).finish())
}

interface Scenario {
  name: string
  settings: object
}
const scenarios: Scenario[] = [
  { name: 'random, 8 × 16', settings: { connections: 8, streams: 16 } },
  { name: 'one request, 8 × 16', settings: { connections: 8, streams: 16, same: true } },
  { name: 'unbatched, 64 × 1', settings: { connections: 64, streams: 1 } },
  { name: 'one caller, 1 × 1', settings: { connections: 1, streams: 1 } },
]
const shapes = [
  [1, 32],
  [8, 16],
  [64, 1],
] as const

const comparePeers = async (): Promise<void> => {
  interface Peer {
    name: string
    start: () => Promise<Running | undefined>
    path: string
    message: Buffer | undefined
    settings?: object
  }
  const check = { path: CHECK_PATH, message: checkRequest() }
  const cerbos = { path: CERBOS_PATH, message: cerbosRequest() }
  const peers: Peer[] = [
    { name: 'fast', start: () => startNode('fast', customers), ...check },
    { name: 'grpc-js', start: () => startNode('grpc-js', customers), ...check },
    { name: 'bare grpc-js', start: () => startNode('bare-grpc-js', 0), ...check },
    { name: 'node:http2', start: () => startNode('http2', 0), ...check },
    { name: 'Cerbos', start: startCerbos, ...cerbos, settings: { same: true, rawPath: cerbos.path, rawMessage: cerbos.message.toString('base64') } },
    { name: 'nghttpd (C)', start: startNghttpd, path: '/answer', message: undefined },
  ]
  const results = new Map<string, Measured[]>()
  const rates = new Map<string, number[]>()
  const missing = new Set<string>()
  for (let round = 0; round < rounds; round += 1) {
    for (const peer of peers) {
      const server = await peer.start()
      if (!server) {
        missing.add(peer.name)
        continue
      }
      try {
        // nghttpd speaks no gRPC.
        for (const { name, settings } of peer.message ? scenarios : []) {
          const key = `${peer.name}/${name}`
          results.set(key, [...(results.get(key) ?? []), await load(server, { ...settings, ...peer.settings })])
        }
        for (const [connections, streams] of hasH2load ? shapes : []) {
          const key = `${peer.name}/${connections} × ${streams}`
          rates.set(key, [...(rates.get(key) ?? []), await h2load(server, connections, streams, peer.path, peer.message)])
        }
      } finally {
        await server.stop()
      }
    }
  }
  for (const { name } of scenarios) {
    say(`${name} (connections × calls under way)`)
    const ours = medians(results.get(`fast/${name}`) ?? [])
    const rows = [['server', 'calls/s', 'p50', 'p99', 'p99.9', 'CPU a call', 'memory', 'fast is']]
    for (const peer of peers) {
      const of = results.get(`${peer.name}/${name}`)
      if (!of) continue
      const m = medians(of)
      const ratio = name.startsWith('one caller') ? `${(ours.p50 / m.p50).toFixed(2)} × its p50` : `${(ours.perSecond / m.perSecond).toFixed(1)} ×`
      rows.push([
        peer.name,
        thousand(m.perSecond),
        ms(m.p50),
        ms(m.p99),
        ms(m.p999),
        `${m.cpuUs.toFixed(1)} µs`,
        `${thousand(m.memoryBytes / 1e6)} MB`,
        peer.name === 'fast' ? '' : ratio,
      ])
    }
    table(rows)
  }
  if (hasH2load) {
    say('h2load, one request repeated; calls/s (connections × calls under way)')
    const head = shapes.map(([connections, streams]) => `${connections} × ${streams}`)
    const rows = [['server', ...head.flatMap((shape) => [shape, 'fast is'])]]
    for (const { name } of peers) {
      if (missing.has(name)) continue
      const of = (server: string, shape: string) => median(rates.get(`${server}/${shape}`) ?? [])
      rows.push([name, ...head.flatMap((shape) => [thousand(of(name, shape)), name === 'fast' ? '' : `${(of('fast', shape) / of(name, shape)).toFixed(2)} ×`])])
    }
    table(rows)
  } else say('h2load: cannot be had here, left out')
  for (const name of missing) say(`${name}: cannot be had here, left out`)
}

const fast = async (run: (server: Running) => Promise<void>, env: Record<string, string> = {}): Promise<void> => {
  const server = await startNode('fast', customers, env)
  try {
    await run(server)
  } finally {
    await server.stop()
  }
}

const RATES = [1_000, 5_000, 10_000, 25_000, 50_000, 100_000]

/** Of nghttpd too: what generator and machine make of a server that hardly does anything. */
const fixedRates = async (): Promise<void> => {
  say('fixed rates, 16 connections; latency from when a call was due')
  const file = { rawPath: '/answer', rawMessage: 'AAAA' }
  const peers = [
    { name: 'fast', start: () => startNode('fast', customers), settings: {} },
    { name: 'nghttpd (C)', start: startNghttpd, settings: file },
  ]
  const results = new Map<string, Measured[]>()
  for (let round = 0; round < rounds; round += 1) {
    for (const { name, start, settings } of peers) {
      const server = await start()
      if (!server) continue
      try {
        for (const rate of RATES) {
          const key = `${name}/${rate}`
          results.set(key, [...(results.get(key) ?? []), await load(server, { connections: 16, streams: 1, rate, ...settings })])
        }
      } finally {
        await server.stop()
      }
    }
  }
  const rows = [['calls/s', 'p50', 'p99', 'p99.9', 'nghttpd (C): p50', 'p99', 'p99.9', 'fast is, at p99']]
  for (const rate of RATES) {
    const m = medians(results.get(`fast/${rate}`) ?? [])
    const floor = results.has(`nghttpd (C)/${rate}`) ? medians(results.get(`nghttpd (C)/${rate}`) ?? []) : undefined
    const ofFloor = floor ? [ms(floor.p50), ms(floor.p99), ms(floor.p999), `${(m.p99 / floor.p99).toFixed(2)} ×`] : ['', '', '', '']
    rows.push([thousand(m.perSecond), ms(m.p50), ms(m.p99), ms(m.p999), ...ofFloor])
  }
  table(rows)
}

const unixSocket = async (): Promise<void> => {
  const socketPath = join(mkdtempSync(join(tmpdir(), 'tollgate-socket-')), 'sidecar')
  const run = async (server: Running) => {
    say('a Unix socket instead of TCP')
    const rows = [['connections × calls', 'TCP: calls/s', 'p50', 'p99', 'Unix: calls/s', 'p50', 'p99', 'Unix is, at p50']]
    for (const [connections, streams] of [
      [1, 1],
      [64, 1],
      [8, 16],
    ] as const) {
      const [tcp, unix]: [Measured[], Measured[]] = [[], []]
      for (let round = 0; round < rounds; round += 1) {
        tcp.push(await load(server, { connections, streams }))
        unix.push(await load(server, { connections, streams, socketPath }))
      }
      const [a, b] = [medians(tcp), medians(unix)]
      const of = (m: Measured) => [thousand(m.perSecond), ms(m.p50), ms(m.p99)]
      rows.push([`${connections} × ${streams}`, ...of(a), ...of(b), `${(b.p50 / a.p50).toFixed(2)} ×`])
    }
    table(rows)
  }
  await fast(run, { GRPC_SOCKET: socketPath })
}

const batches = () =>
  fast(async (server) => {
    say('BatchCheckEntitlements')
    const rows = [['checks in a call', 'of', 'calls/s', 'checks/s', 'p50', 'p99']]
    for (const [batch, oneCustomer] of [
      [10, true],
      [100, true],
      [100, false],
      [1_000, true],
    ] as const) {
      const all: Measured[] = []
      for (let round = 0; round < rounds; round += 1) all.push(await load(server, { connections: 2, streams: 4, batch, oneCustomer }))
      const m = medians(all)
      rows.push([String(batch), oneCustomer ? 'one customer' : 'as many customers', thousand(m.perSecond), thousand(m.checksPerSecond), ms(m.p50), ms(m.p99)])
    }
    table(rows)
  })

const coldMisses = async (): Promise<void> => {
  const server = await startNode('fast', 0)
  try {
    const m = await load(server, { connections: 8, streams: 4, cold: true })
    say('cold misses, feed in process: each customer asked about for the first time')
    table([
      ['calls/s', 'p50', 'p99'],
      [thousand(m.perSecond), ms(m.p50), ms(m.p99)],
    ])
  } finally {
    await server.stop()
  }
}

const connectionCost = () =>
  fast(async (server) => {
    say('what connections cost, each with one call under way')
    const rows = [['connections', 'calls/s', 'p99', 'memory', 'a connection']]
    const before = server.memoryBytes()
    for (const connections of [1, 10, 100, 500, 1_000, 2_000]) {
      const running = load(server, { connections, streams: 1 })
      await new Promise((resolve) => setTimeout(resolve, (1 + seconds) * 900))
      const memory = server.memoryBytes()
      const m = await running
      rows.push([
        thousand(connections),
        thousand(m.perSecond),
        ms(m.p99),
        `${thousand(memory / 1e6)} MB`,
        `${thousand((memory - before) / connections / 1024)} KiB`,
      ])
    }
    table(rows)
  })

const memory = async (): Promise<void> => {
  say('a million customers, ten entitlements each')
  const server = await startNode('fast', 1_000_000, { CACHE_MAX_BYTES: '256MiB' })
  try {
    const before = server.memoryBytes()
    const m = await load(server, { customers: 1_000_000, connections: 8, streams: 16 })
    const rates = await load(server, { customers: 1_000_000, connections: 16, streams: 1, rate: 10_000 })
    const empty = await startNode('fast', 0)
    const bare = empty.memoryBytes()
    await empty.stop()
    table([
      ['whole process', 'empty', 'a customer', 'calls/s, random', 'p99.9 at 10,000/s', 'longest pause'],
      [
        `${thousand(before / 1e6)} MB`,
        `${thousand(bare / 1e6)} MB`,
        `${thousand((before - bare) / 1e6)} bytes`,
        thousand(m.perSecond),
        ms(rates.p999),
        ms(rates.max),
      ],
    ])
  } finally {
    await server.stop()
  }
}

const all: Record<string, () => Promise<void>> = {
  peers: comparePeers,
  rates: fixedRates,
  socket: unixSocket,
  batch: batches,
  cold: coldMisses,
  connections: connectionCost,
  memory,
}
for (const [name, run] of Object.entries(all)) if (parts.has(name)) await run()
