/**
 * `npm run bench:propagation`: how long from the HTTP answer that changes access to the changed answer of a sidecar,
 * over a real nats-server, and how that compares with the bare round trip of the same gRPC call.
 *
 * Control plane, sidecar and nats-server are processes of their own on this machine. Each round subscribes or cancels,
 * and then asks the sidecar over and over, without min_revision, until the answer has changed. What is printed is the
 * time from the HTTP answer's arrival to the arrival of the first changed answer; it cannot be less than one call.
 */
import { parseArgs } from 'node:util'
import { grpcClient } from '../test/support/grpc-client.ts'
import { httpClient } from '../test/support/http-client.ts'
import { bundleDocument } from '../test/support/platform-model.ts'
import { sqliteAndNats } from '../test/support/tollgate.ts'

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '500' } } })
const rounds = Number(values.rounds)
/** Code is compiled and connections are warm after these. */
const WARM_UP = 50

const percentile = (sorted: number[], p: number): number => sorted[Math.min(sorted.length - 1, Math.floor((p / 100) * sorted.length))] ?? Number.NaN
const row = (name: string, times: number[]) => {
  const sorted = times.toSorted((a, b) => a - b)
  const show = (p: number) => percentile(sorted, p).toFixed(2).padStart(8)
  process.stdout.write(
    `${name.padEnd(44)} ${String(sorted.length).padStart(6)} ${show(50)} ${show(90)} ${show(99)} ${(sorted.at(-1) ?? Number.NaN).toFixed(2).padStart(8)}\n`,
  )
  return percentile(sorted, 50)
}

if (sqliteAndNats.missing !== undefined) throw new Error(sqliteAndNats.missing)
const tollgate = await sqliteAndNats.start()
const grpc = grpcClient(tollgate.grpc)
try {
  const tenantId = 'bench'
  const storefronts = [{ id: 'us-store', currency: 'USD', paymentProviders: ['stripe'] }]
  await httpClient(tollgate.http).post('/tenants', { id: tenantId, name: 'Bench', mode: 'sandbox', storefronts })
  const api = httpClient(tollgate.http, { tenant: tenantId, unchecked: true })
  await api.post('/bundles', bundleDocument)

  const untilAllowedIs = async (customerId: string, allowed: boolean): Promise<{ elapsedMs: number; calls: number }> => {
    const startedMs = performance.now()
    for (let calls = 1; ; calls += 1) {
      const answer = await grpc.check({ tenantId, storefrontId: 'us-store', customerId, entitlement: 'analytics_dashboard' })
      if (answer.allowed === allowed) return { elapsedMs: performance.now() - startedMs, calls }
    }
  }

  const opened: number[] = []
  const closed: number[] = []
  const bare: number[] = []
  const served: number[] = []
  let first = 0
  for (let round = 0; round < rounds + WARM_UP; round += 1) {
    const customerId = `customer-${round}`
    // The sidecar holds the customer already, so that it is the watch that has to bring the change.
    await api.post('/customers', { id: customerId, storefrontId: 'us-store' })
    await untilAllowedIs(customerId, false)
    const startedMs = performance.now()
    const { body } = await api.post('/subscriptions', { customerId, bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod: 'pm_card' })
    const servedMs = performance.now() - startedMs
    const open = await untilAllowedIs(customerId, true)
    const oneCall = await untilAllowedIs(customerId, true)
    await api.post(`/subscriptions/${body.id}/cancel`, { at: 'now' })
    const close = await untilAllowedIs(customerId, false)
    if (round < WARM_UP) continue
    opened.push(open.elapsedMs)
    closed.push(close.elapsedMs)
    bare.push(oneCall.elapsedMs)
    served.push(servedMs)
    if (open.calls === 1 && close.calls === 1) first += 1
  }

  process.stdout.write(`${'milliseconds'.padEnd(44)} ${'n'.padStart(6)} ${'p50'.padStart(8)} ${'p90'.padStart(8)} ${'p99'.padStart(8)} ${'max'.padStart(8)}\n`)
  const floor = row('one CheckEntitlement that changes nothing', bare)
  row('POST /v1/subscriptions, itself', served)
  const opening = row('HTTP answer to access open at the sidecar', opened)
  const closing = row('HTTP answer to access closed at the sidecar', closed)
  process.stdout.write(`p50 as a ratio to one call: open ${(opening / floor).toFixed(2)}, closed ${(closing / floor).toFixed(2)}\n`)
  process.stdout.write(`rounds in which the first question after the answer saw the change, both times: ${first} of ${rounds}\n`)
} finally {
  grpc.close()
  await tollgate.close()
}
