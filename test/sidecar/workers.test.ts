/** Several threads on one port: one feed, one copy of what is held, and the same answers. */
import { setImmediate as turn } from 'node:timers/promises'
import { credentials, Metadata } from '@grpc/grpc-js'
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import {
  type BatchCheckEntitlementsResponse,
  EntitlementServiceClient,
  Reason,
  type WatchEntitlementsResponse,
} from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { checker, openSidecar, setOf } from '../support/sidecar.ts'

const CUSTOMERS = 200
/** Each with a connection of its own: the system gives some to one thread, some to the other. */
const CLIENTS = 32

test('two threads answer alike, at once after a change, and never from half of one', async (t) => {
  const feed = createInProcessFeed({ clock: systemClock })
  for (let n = 0; n < CUSTOMERS; n += 1) await feed.putSet(setOf(`c${n}`, 1, { usage: [{ key: 'seats', used: 1 }] }))
  // A cache that is too small for all: records move and go while the other thread reads.
  const sidecar = await openSidecar({ SIDECAR_WORKERS: '2', CACHE_MAX_BYTES: '1MiB', SIDECAR_KEYS: '{"a-key-for-acme-only":["acme"]}' }, { feed })
  const clients = Array.from(
    { length: CLIENTS },
    () => new EntitlementServiceClient(sidecar.address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 }),
  )
  const checks = clients.map(checker)
  const key = 'a-key-for-acme-only'
  const metadata = new Metadata()
  metadata.set('authorization', `Bearer ${key}`)
  /** Half of it is not granted, and so is not answered the short way. */
  const batch = (client: EntitlementServiceClient, customerId: string) =>
    new Promise<BatchCheckEntitlementsResponse>((resolve, reject) => {
      const question = { tenantId: 'acme', storefrontId: 'us', customerId, amount: 0n, minRevision: 0n }
      const batched = Array.from({ length: 20 }, (_, n) => ({ ...question, entitlement: n % 2 ? 'no such key' : 'seats' }))
      client.batchCheckEntitlements({ checks: batched }, metadata, (error, answer) => (error ? reject(error) : resolve(answer)))
    })
  const revisions = new Array<number>(CUSTOMERS).fill(1)
  let writing = true
  const write = async () => {
    for (let round = 0; writing; round += 1) {
      const n = (round * 7) % CUSTOMERS
      const next = (revisions[n] ?? 0) + 1
      // Sets of many sizes, so that records are written anew elsewhere.
      const grants = setOf('').grants.filter((one, at) => one.key === 'seats' || (round + at) % 3 === 0)
      await feed.putSet(setOf(`c${n}`, next, { grants, usage: [{ key: 'seats', used: next }] }))
      revisions[n] = next
      if (round % 4 === 0) await turn()
    }
  }
  let asked = 0
  const ask = async (check: (typeof checks)[number], client: number) => {
    for (let round = 0; round < 250; round += 1) {
      const n = (round * 31 + client * 17) % CUSTOMERS
      const known = revisions[n] ?? 0
      const answer = await check(`c${n}`, 'seats', { key, minRevision: round % 5 === 0 ? BigInt(known) : 0n })
      asked += 1
      if (answer.reason === Reason.REASON_LIMIT_EXCEEDED || answer.allowed) {
        if (answer.used !== answer.revision) t.fail(`an answer of two sets: used ${answer.used} of revision ${answer.revision}`)
      } else t.fail(`not granted: ${answer.reason}`)
      if (round % 5 === 0 && Number(answer.revision) < known) t.fail('older than was asked for')
      const { results } = await batch(clients[client] as EntitlementServiceClient, `c${n}`)
      for (const [at, { reason }] of results.entries()) if (at % 2 === 1 && reason !== Reason.REASON_NOT_GRANTED) t.fail(`a batch says ${reason}`)
    }
  }
  const writer = write()
  await Promise.all(checks.map(ask))
  writing = false
  await writer
  t.is(asked, CLIENTS * 250)
  // Both have served: no thread has all the connections.
  const metrics = async () => (await fetch(`${sidecar.httpUrl}/metrics`)).text()
  const read = (text: string, name: string) => Number(new RegExp(`^${name.replace(/[{}"]/g, '\\$&')} (.*)$`, 'm').exec(text)?.[1])
  await eventually(async () => {
    const text = await metrics()
    const [main, worker] = [0, 1].map((thread) => read(text, `tollgate_connections{thread="${thread}"}`)) as [number, number]
    return main > 0 && worker > 0 && main + worker >= CLIENTS
  })
  await eventually(
    async () =>
      read(await metrics(), 'tollgate_decisions_total{method="CheckEntitlement",reason="granted"}') +
        (read(await metrics(), 'tollgate_decisions_total{method="CheckEntitlement",reason="limit_exceeded"}') || 0) ===
      asked,
  )
  // What is not held, what is not known, who may not ask, from whichever thread.
  const answers = await Promise.all(checks.map((check, n) => check(n % 2 ? 'stranger' : 'c1', 'no such key', { key })))
  for (const [n, { reason }] of answers.entries()) t.is(reason, n % 2 ? Reason.REASON_CUSTOMER_UNKNOWN : Reason.REASON_NOT_GRANTED)
  const refused = await Promise.all(
    checks.map((check) =>
      check('c1', 'sso').then(
        () => 0,
        (error: { code: number }) => error.code,
      ),
    ),
  )
  t.true(refused.every((code) => code === 16))
  for (const client of clients) client.close()
  await sidecar.close()
})

test('a watch in any thread brings every change', async (t) => {
  const feed = createInProcessFeed({ clock: systemClock })
  await feed.putSet(setOf('anna', 1))
  const sidecar = await openSidecar({ SIDECAR_WORKERS: '2' }, { feed })
  const clients = Array.from(
    { length: 12 },
    () => new EntitlementServiceClient(sidecar.address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 }),
  )
  const last = new Array<bigint>(clients.length).fill(0n)
  const streams = clients.map((client, n) => {
    const stream = client.watchEntitlements({ tenantId: 'acme', storefrontId: 'us', customerId: 'anna', minRevision: 0n })
    stream.on('data', ({ revision }: WatchEntitlementsResponse) => {
      last[n] = revision
    })
    stream.on('error', () => undefined)
    return stream
  })
  await eventually(() => last.every((revision) => revision === 1n))
  for (let revision = 2; revision <= 30; revision += 1) await feed.putSet(setOf('anna', revision))
  await eventually(() => last.every((revision) => revision === 30n))
  for (const stream of streams) stream.cancel()
  for (const client of clients) client.close()
  await sidecar.close()
  t.pass()
})
