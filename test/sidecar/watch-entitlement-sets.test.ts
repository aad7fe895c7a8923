/** The sets of many customers on one stream: what it says, when it says so, and what it leaves to the sidecar. */
import { type ClientDuplexStream, Metadata, type ServiceError, status as Status } from '@grpc/grpc-js'
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { DECISION_RULES } from '../../common/entitlements/decide.ts'
import { decodeSet } from '../../common/entitlements/wire.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import type { CustomerSet, WatchEntitlementSetsRequest, WatchEntitlementSetsResponse } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { losableFeed, movableClock, openSidecar, setOf, type TestSidecar } from '../support/sidecar.ts'

const first = (more: Partial<WatchEntitlementSetsRequest> = {}): WatchEntitlementSetsRequest => ({
  tenantId: 'acme',
  storefrontId: 'us',
  rulesVersion: DECISION_RULES,
  watch: [],
  unwatch: [],
  ...more,
})
const later = (more: Partial<WatchEntitlementSetsRequest>) => first({ tenantId: '', storefrontId: '', rulesVersion: 0, ...more })

const watchAt = ({ client }: TestSidecar, key?: string) => {
  const metadata = new Metadata()
  if (key !== undefined) metadata.set('authorization', `Bearer ${key}`)
  const stream: ClientDuplexStream<WatchEntitlementSetsRequest, WatchEntitlementSetsResponse> = client.watchEntitlementSets(metadata)
  const heard: WatchEntitlementSetsResponse[] = []
  let error: ServiceError | undefined
  stream.on('data', (message) => heard.push(message))
  stream.on('error', (thrown: ServiceError) => {
    error = thrown
  })
  const all = (customerId: string): CustomerSet[] => heard.flatMap(({ sets }) => sets.filter((set) => set.customerId === customerId))
  return { stream, heard, all, last: (customerId: string) => all(customerId).at(-1), error: () => error }
}

const forms: [name: string, env: Record<string, string>][] = [
  ['fast', { SIDECAR_TRANSPORT: 'fast' }],
  ['grpc-js', { SIDECAR_TRANSPORT: 'grpc-js' }],
  ['two threads', { SIDECAR_TRANSPORT: 'fast', SIDECAR_WORKERS: '2' }],
]

for (const [name, env] of forms) {
  test(`${name}: says what each customer holds, again at every change, and how current that is`, async (t) => {
    const feed = createInProcessFeed({ clock: systemClock })
    const sidecar = await openSidecar(env, { feed })
    await feed.putSet(setOf('anna'))
    await feed.putSet(setOf('ben', 1, { sandbox: true }))
    const { stream, heard, last, all } = watchAt(sidecar)
    stream.write(first({ watch: ['anna', 'ben', 'nobody'] }))
    await eventually(() => last('nobody') !== undefined && last('anna') !== undefined)
    t.deepEqual(decodeSet(last('anna')?.set ?? new Uint8Array()), setOf('anna'))
    t.like(last('anna'), { ask: false, customerKnown: true, revision: 1n })
    t.like(last('ben'), { ask: true, customerKnown: false, revision: 0n }, 'a test clock is the sidecar’s to know')
    t.is(last('ben')?.set.length, 0)
    t.like(last('nobody'), { ask: false, customerKnown: false, revision: 0n })

    await feed.putSet(setOf('anna', 2, { grants: [] }))
    await feed.putSet(setOf('nobody', 1))
    await eventually(() => last('anna')?.revision === 2n && last('nobody')?.customerKnown === true)
    // The age counts for what has been said by then.
    const ages = () => heard.filter(({ asOf }) => asOf !== undefined)
    const before = ages().length
    await eventually(() => ages().length >= before + 2)
    const { now, asOf, stale } = ages().at(-1) as WatchEntitlementSetsResponse
    t.true(Number(now) - Number(asOf) < 1_000 && !stale)

    // Whom the caller does not ask about any more, it hears no more of; and it may come back.
    stream.write(later({ unwatch: ['anna'] }))
    stream.write(later({ watch: ['carl'] }))
    await eventually(() => last('carl') !== undefined)
    const times = all('anna').length
    await feed.putSet(setOf('anna', 3))
    await feed.putSet(setOf('carl', 1))
    await eventually(() => last('carl')?.customerKnown === true)
    t.is(all('anna').length, times)
    stream.write(later({ watch: ['anna'] }))
    await eventually(() => last('anna')?.revision === 3n)
    // A caller that has forgotten somebody asks again.
    const known = all('anna').length
    stream.write(later({ watch: ['anna'] }))
    await eventually(() => all('anna').length > known)
    t.is(last('anna')?.revision, 3n)
    await feed.putSet(setOf('anna', 4, { grants: [], usage: [], removed: true }))
    await eventually(() => last('anna')?.customerKnown === false)
    stream.cancel()
    await sidecar.close()
  })

  test(`${name}: an age never claims more than was sent before it`, async (t) => {
    const feed = createInProcessFeed({ clock: systemClock })
    const customers = Array.from({ length: 50 }, (_, n) => `c${n}`)
    for (const customer of customers) await feed.putSet(setOf(customer))
    const sidecar = await openSidecar(env, { feed })
    const { stream, heard, last } = watchAt(sidecar)
    stream.write(first({ watch: customers }))
    await eventually(() => customers.every((customer) => last(customer) !== undefined))
    /** Of each revision: when it was stored. */
    const storedAtMs = new Map(customers.map((customer) => [customer, [0, 0]]))
    const until = performance.now() + 5_000
    while (performance.now() < until) {
      for (const customer of customers) {
        const times = storedAtMs.get(customer) ?? []
        await feed.putSet(setOf(customer, times.length))
        times.push(systemClock.nowMs())
      }
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    const ages = () => heard.filter(({ asOf }) => asOf !== undefined).length
    const before = ages()
    await eventually(() => ages() > before)
    const latest = new Map<string, number>()
    let compared = 0
    for (const { sets, asOf } of heard) {
      for (const { customerId, revision } of sets) latest.set(customerId, Number(revision))
      if (!asOf) continue
      for (const [customer, times] of storedAtMs) {
        const stored = times.findLastIndex((atMs) => atMs < asOf.getTime())
        t.true((latest.get(customer) ?? 0) >= stored, `${customer}: ${latest.get(customer)} was sent, ${stored} stored by then`)
        compared += 1
      }
    }
    t.true(compared > customers.length * 3)
    stream.cancel()
  })

  test(`${name}: sets as large as there are reach the caller`, async (t) => {
    const feed = createInProcessFeed({ clock: systemClock })
    const usage = Array.from({ length: 7_700 }, (_, n) => ({ key: `key-${n}-${'x'.repeat(117)}`, used: 1 }))
    const customers = ['a', 'b', 'c', 'd', 'e']
    for (const customer of customers) await feed.putSet(setOf(customer, 1, { usage }))
    const sidecar = await openSidecar(env, { feed })
    const { stream, last, error } = watchAt(sidecar)
    stream.write(first({ watch: customers }))
    await eventually(() => error() !== undefined || customers.every((customer) => last(customer) !== undefined))
    t.is(error(), undefined)
    t.true((last('a')?.set.length ?? 0) > 1_000_000)
    for (const customer of customers) t.deepEqual(decodeSet(last(customer)?.set ?? new Uint8Array()), setOf(customer, 1, { usage }))
    stream.cancel()
  })

  test(`${name}: refuses who may not ask, and what cannot be meant, by a code`, async (t) => {
    const sidecar = await openSidecar({ ...env, SIDECAR_KEYS: '{"a-key-for-acme-only":["acme"]}' })
    const refused: [key: string | undefined, request: WatchEntitlementSetsRequest, code: Status, details: RegExp][] = [
      [undefined, first(), Status.UNAUTHENTICATED, /requires a key/],
      ['a-wrong-key-for-acme', first(), Status.UNAUTHENTICATED, /not one of this sidecar's keys/],
      ['a-key-for-acme-only', first({ tenantId: 'other' }), Status.PERMISSION_DENIED, /not for this tenant/],
      ['a-key-for-acme-only', first({ storefrontId: '' }), Status.INVALID_ARGUMENT, /^storefront_id/],
      ['a-key-for-acme-only', first({ rulesVersion: 0 }), Status.INVALID_ARGUMENT, /^rules_version/],
      ['a-key-for-acme-only', first({ watch: ['anna', ''] }), Status.INVALID_ARGUMENT, /^watch\[1\]/],
      ['a-key-for-acme-only', first({ watch: Array.from({ length: 1_001 }, (_, n) => `c${n}`) }), Status.INVALID_ARGUMENT, /^watch: /],
    ]
    for (const [key, request, code, details] of refused) {
      const { stream, error } = watchAt(sidecar, key)
      stream.write(request)
      await eventually(() => error() !== undefined)
      t.is(error()?.code, code)
      t.regex(error()?.details ?? '', details)
    }
    const { stream, last, error } = watchAt(sidecar, 'a-key-for-acme-only')
    stream.write(first({ watch: ['anna'] }))
    await eventually(() => last('anna') !== undefined)
    t.is(error(), undefined)
    await sidecar.close()
    await eventually(() => error()?.code === Status.UNAVAILABLE)
    t.regex(error()?.details ?? '', /shutting down/)
  })
}

test('a caller with older rules is told to ask about everybody', async (t) => {
  const feed = createInProcessFeed({ clock: systemClock })
  await feed.putSet(setOf('anna'))
  const sidecar = await openSidecar({}, { feed })
  const newer = watchAt(sidecar)
  newer.stream.write(first({ rulesVersion: DECISION_RULES + 1, watch: ['anna'] }))
  await eventually(() => newer.last('anna') !== undefined)
  t.false(newer.last('anna')?.ask, 'newer rules decide what older ones did as they did')
  newer.stream.cancel()
})

test('with the feed away, it says so and its age stands still; what it could not read follows when the feed is back', async (t) => {
  const clock = movableClock()
  const { feed, lose, find } = losableFeed(clock)
  await feed.putSet(setOf('anna'))
  await feed.putSet(setOf('ben'))
  const sidecar = await openSidecar({ MAX_STALENESS_MS: '60000' }, { feed, clock })
  const { stream, heard, last } = watchAt(sidecar)
  stream.write(first({ watch: ['anna'] }))
  await eventually(() => last('anna') !== undefined)
  lose()
  const lostAtMs = clock.nowMs()
  stream.write(later({ watch: ['ben'] }))
  await eventually(() => last('ben') !== undefined)
  t.true(last('ben')?.ask)
  const ages = () => heard.filter(({ asOf }) => asOf !== undefined)
  const before = ages().length
  await eventually(() => ages().length >= before + 2)
  t.true(Number(ages().at(-1)?.asOf) <= lostAtMs)
  t.false(ages().at(-1)?.stale)
  clock.advance(60_001)
  await eventually(() => ages().at(-1)?.stale === true)
  find()
  await eventually(() => last('ben')?.ask === false && ages().at(-1)?.stale === false)
  t.is(last('ben')?.revision, 1n)
  stream.cancel()
})

test('a caller that reads slowly is sent the newest set, not each', async (t) => {
  const feed = createInProcessFeed({ clock: systemClock })
  const large = (revision: number) =>
    setOf('anna', revision, { usage: Array.from({ length: 2_000 }, (_, n) => ({ key: `key-${n}-${'x'.repeat(100)}`, used: revision })) })
  await feed.putSet(large(1))
  const sidecar = await openSidecar({}, { feed })
  const { stream, last, all } = watchAt(sidecar)
  stream.write(first({ watch: ['anna'] }))
  await eventually(() => last('anna') !== undefined)
  stream.pause()
  for (let revision = 2; revision <= 200; revision += 1) {
    await feed.putSet(large(revision))
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  stream.resume()
  await eventually(() => last('anna')?.revision === 200n)
  t.true(all('anna').length < 100, String(all('anna').length))
  stream.cancel()
})

test('of more customers than a sidecar has room for, it watches none, and has the room again when others go', async (t) => {
  const sidecar = await openSidecar()
  const ids = (from: number) => Array.from({ length: 1_000 }, (_, n) => `c${from + n}`)
  const full = watchAt(sidecar)
  full.stream.write(first())
  for (let from = 0; from < 100_000; from += 1_000) full.stream.write(later({ watch: ids(from) }))
  await eventually(() => full.heard.at(-1)?.asOf !== undefined && full.last('c99999') !== undefined, 60_000, 500)
  const other = watchAt(sidecar)
  other.stream.write(first({ watch: ['anna'] }))
  await eventually(() => other.error() !== undefined)
  t.is(other.error()?.code, Status.UNAVAILABLE)
  t.regex(other.error()?.details ?? '', /no room/)
  full.stream.write(later({ watch: ['one too many'], unwatch: ['c0'] }))
  await eventually(() => full.last('one too many') !== undefined, 15_000, 100)
  full.stream.cancel()
  await eventually(async () => {
    const { stream, heard, error } = watchAt(sidecar)
    stream.write(first({ watch: ['anna'] }))
    await eventually(() => heard.length > 0 || error() !== undefined)
    stream.cancel()
    return heard.length > 0
  })
  t.pass()
})
