/**
 * `npm run bench:payments`: payments a second over HTTP, by how long the provider takes and how many are under way at
 * once, and what that takes of memory.
 *
 * A real all-in-one process on a SQLite file, flushed for every write; the provider is the bank of the tests, over HTTP,
 * with signatures. The floor is the same adapter charging the same bank, with as many at once and nothing else around
 * it, in the same run.
 *
 *   npm run bench:payments -- --payments 1000 --latencies 0,50,300 --at-once 16,64,256
 */
import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import pMap from 'p-map'
import { systemClock } from '../common/clock.ts'
import { localProvider } from '../control-plane/payments/psp/local/adapter.ts'
import { httpClient } from '../test/support/http-client.ts'
import { startFakeBank } from '../test/support/psp/bank.ts'
import { embedded } from '../test/support/tollgate.ts'

const { values } = parseArgs({
  options: {
    payments: { type: 'string', default: '1000' },
    latencies: { type: 'string', default: '0,50,300' },
    'at-once': { type: 'string', default: '16,64,256' },
  },
})
const count = Number(values.payments)
const numbers = (text: string) => text.split(',').map(Number)

/** Megabytes of the process: now, and at most since it began. */
const memoryOf = (pid: number): { now: number; peak: number } => {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const kilobytes = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0)
  return { now: Math.round(kilobytes('VmRSS') / 1024), peak: Math.round(kilobytes('VmHWM') / 1024) }
}

const measure = async (atOnce: number, work: (n: number) => Promise<unknown>): Promise<{ perSecond: number; p50: number; p99: number }> => {
  const tookMs: number[] = []
  const from = performance.now()
  await pMap(
    Array.from({ length: count }, (_, n) => n),
    async (n) => {
      const began = performance.now()
      await work(n)
      tookMs.push(performance.now() - began)
    },
    { concurrency: atOnce },
  )
  const seconds = (performance.now() - from) / 1000
  tookMs.sort((a, b) => a - b)
  const at = (share: number) => Math.round(tookMs[Math.floor(share * (tookMs.length - 1))] ?? 0)
  return { perSecond: Math.round(count / seconds), p50: at(0.5), p99: at(0.99) }
}

const bank = await startFakeBank()
bank.fake.webhooks.mode = 'never'
const tollgate = await embedded.start({ LOCAL_PSP_PRIVATE_URLS: 'true' })
try {
  const { body: tenant } = await httpClient(tollgate.http).post('/tenants', { id: 'bench', name: 'Bench', mode: 'live' })
  const api = httpClient(tollgate.http, { key: tenant.apiKey, unchecked: true })
  await api.post('/psp-accounts', { id: 'bank', provider: 'local', credentials: bank.credentials, webhookSecret: bank.webhookSecret })
  await api.post('/storefronts', { id: 'store', currency: 'USD', paymentProviders: ['bank'] })
  const tokens = { bank: bank.token('ok') }
  for (let n = 0; n < 100; n += 1) await api.post('/customers', { id: `c${n}`, storefrontId: 'store', paymentMethods: [{ id: 'card', tokens }] })
  const pay = async (n: number) => {
    const order = { storefrontId: 'store', customerId: `c${n % 100}`, amount: 2900, currency: 'USD', paymentMethod: 'card' }
    const { status, body } = await api.post('/payments', order)
    if (status !== 201 || body.status !== 'succeeded') throw new Error(JSON.stringify(body))
  }
  const provider = localProvider({ clock: systemClock, allowPrivate: true })
  const credentials = provider.credentials.parse(bank.credentials)
  const adapter = provider.create({ credentials, webhookSecret: undefined, capture: 'automatic', returnUrl: 'https://x.example', timeoutMs: 30_000 })
  let made = 0
  const bare = async () => {
    made += 1
    const outcome = await adapter.charge({
      reference: `bare_${made}-1`,
      amountMinor: 2900,
      currency: 'USD',
      token: tokens.bank,
      capture: 'automatic',
      offSession: false,
    })
    if (outcome.status !== 'succeeded') throw new Error(JSON.stringify(outcome))
  }
  await measure(16, pay)
  const print = (line: string) => process.stdout.write(`${line}\n`)
  print(`${count} payments a row; memory of the process at the start ${memoryOf(tollgate.controlPlane.pid).now} MB\n`)
  print(
    '| provider answers in | at once | payments/s | p50 ms | p99 ms | most in flight at the provider | floor: bare charges/s | of the floor | memory MB now / peak |',
  )
  print('| --- | --- | --- | --- | --- | --- | --- | --- | --- |')
  for (const latencyMs of numbers(values.latencies)) {
    for (const atOnce of numbers(values['at-once'])) {
      bank.fake.latencyMs = latencyMs
      bank.fake.peak()
      const ours = await measure(atOnce, pay)
      const inFlight = bank.fake.peak()
      const floor = await measure(atOnce, bare)
      const memory = memoryOf(tollgate.controlPlane.pid)
      print(
        `| ${latencyMs} ms | ${atOnce} | ${ours.perSecond} | ${ours.p50} | ${ours.p99} | ${inFlight} | ${floor.perSecond} | ${(ours.perSecond / floor.perSecond).toFixed(2)} | ${memory.now} / ${memory.peak} |`,
      )
    }
  }
} finally {
  await tollgate.close()
  await bank.fake.close()
}
