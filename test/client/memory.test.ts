/** Answers from memory: they are those of the sidecar, say how old they are, and are never older than what was answered before. */
import { status as Status } from '@grpc/grpc-js'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { createTollgate, type Decided, type Tollgate, TollgateError, type TollgateOptions } from '../../client/index.ts'
import { systemClock } from '../../common/clock.ts'
import type { EntitlementSet, Grant, GrantTerms } from '../../common/entitlements/model.ts'
import { encodeSet } from '../../common/entitlements/wire.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { losableFeed, movableClock, openSidecar, setOf } from '../support/sidecar.ts'
import { createProxy } from '../support/tcp-proxy.ts'
import { allowed, message, openStub, refusal } from './stub-sidecar.ts'

const clientOf = (t: ExecutionContext, options: Partial<TollgateOptions>): Tollgate => {
  const tollgate = createTollgate({ tenant: 'acme', storefront: 'us', timeoutMs: 10_000, ...options })
  t.teardown(() => tollgate.close())
  return tollgate
}
const asks = { customer: 'anna', entitlement: 'sso' }
const decided = async (tollgate: Tollgate, question = asks): Promise<Decided> => (await tollgate.check(question)) as Decided
const fromMemory = (tollgate: Tollgate, question = asks) =>
  eventually(async () => (await decided(tollgate, question).catch(() => undefined))?.from === 'memory')
/** Without how certain it is. */
const what = ({ from, ageMs, asOf, ...rest }: Decided) => rest

const HOUR = 3_600_000
const keys = ['a', 'b', 'c']
const limit = fc.option(fc.oneof(fc.nat({ max: 20 }), fc.maxSafeNat()), { nil: null })
const terms: fc.Arbitrary<GrantTerms> = fc.oneof(
  fc.record({ kind: fc.constant('flag' as const), enabled: fc.boolean() }),
  fc.record({
    kind: fc.constant('quota' as const),
    limit,
    per: fc.constantFrom('day' as const, 'week' as const, 'month' as const, 'quarter' as const, 'year' as const),
    anchorMs: fc.integer({ min: 0, max: 1_700_000_000_000 }),
    timeZone: fc.constantFrom('UTC', 'America/New_York'),
  }),
  fc.record({ kind: fc.constant('capacity' as const), limit }),
  fc.record({ kind: fc.constant('value' as const), value: fc.string() }),
)
/** Hours from now, so that none is over while it is compared. */
const instant = (nowMs: number) => fc.integer({ min: -50, max: 50 }).map((hours) => nowMs + hours * HOUR + HOUR / 2)
const anySet = (nowMs: number): fc.Arbitrary<Pick<EntitlementSet, 'grants' | 'usage'>> =>
  fc.record({
    grants: fc.array(
      fc.record(
        {
          key: fc.constantFrom(...keys),
          subscriptionId: fc.constantFrom('s1', 's2', 's3'),
          bundleId: fc.constantFrom('b1', 'b2'),
          fromMs: fc.oneof(fc.constant(0), instant(nowMs)),
          untilMs: instant(nowMs),
          inactive: fc.boolean(),
          terms,
        },
        { requiredKeys: ['key', 'subscriptionId', 'bundleId', 'fromMs', 'inactive', 'terms'] },
      ) as fc.Arbitrary<Grant>,
      { maxLength: 6 },
    ),
    usage: fc.array(
      fc.record(
        {
          key: fc.constantFrom(...keys),
          used: fc.oneof(fc.nat({ max: 30 }), fc.maxSafeNat()),
          subscriptionId: fc.constantFrom('s1', 's2'),
          untilMs: instant(nowMs),
        },
        { requiredKeys: ['key', 'used'] },
      ),
      { maxLength: 4 },
    ) as fc.Arbitrary<EntitlementSet['usage']>,
  })

test('whatever a customer holds and has used, memory answers what the sidecar answers', async (t) => {
  const feed = createInProcessFeed({ clock: systemClock })
  const { address } = await openSidecar({}, { feed })
  const remembers = clientOf(t, { address })
  const calls = clientOf(t, { address, cache: false })
  const seed = Number(process.env.CLIENT_SEED ?? systemClock.nowMs() % 1_000_000)
  t.log(`CLIENT_SEED=${seed}`)
  let made = 0
  await fc.assert(
    fc.asyncProperty(anySet(systemClock.nowMs()), fc.integer({ min: 0, max: 25 }), async (held, amount) => {
      made += 1
      const customer = `c${made}`
      await feed.putSet({ ...setOf(customer), ...held })
      await fromMemory(remembers, { customer, entitlement: 'a' })
      for (const entitlement of [...keys, 'd']) {
        const question = { customer, entitlement, amount }
        const answer = await decided(remembers, question)
        t.is(answer.from, 'memory')
        t.deepEqual(what(answer), what(await decided(calls, question)), JSON.stringify(held))
      }
      const [mine, theirs] = [await remembers.list({ customer }), await calls.list({ customer })]
      t.is(mine.from, 'memory')
      t.deepEqual(
        [...mine.entitlements].map(([key, one]) => [key, what(one)]),
        [...theirs.entitlements].map(([key, one]) => [key, what(one)]),
      )
    }),
    { seed, numRuns: 150 },
  )
})

test('a change is known in memory, without a question; so is a customer who comes, and who goes', async (t) => {
  const feed = createInProcessFeed({ clock: systemClock })
  const { address } = await openSidecar({}, { feed })
  const tollgate = clientOf(t, { address })
  t.like(await tollgate.check(asks), { reason: 'customer_unknown', from: 'sidecar' })
  await fromMemory(tollgate)
  t.like(await tollgate.check(asks), { allowed: false, reason: 'customer_unknown', revision: 0, stale: false })
  await feed.putSet(setOf('anna'))
  await eventually(async () => (await tollgate.check(asks)).allowed)
  // Read your writes: memory does not have it yet, and is not asked.
  await feed.putSet(setOf('anna', 2, { grants: [] }))
  t.like(await tollgate.check({ ...asks, minRevision: 2 }), { allowed: false, revision: 2 })
  t.like(await tollgate.check(asks), { allowed: false, revision: 2 }, 'and never goes back behind it')
  await fromMemory(tollgate)
  await feed.putSet(setOf('anna', 3, { grants: [], usage: [], removed: true }))
  await eventually(async () => (await decided(tollgate)).reason === 'customer_unknown')
  await fromMemory(tollgate)
  t.is((await decided(tollgate)).reason, 'customer_unknown')
})

test('time ends a grant without a message, by the clock of the sidecar', async (t) => {
  const clock = movableClock()
  const feed = createInProcessFeed({ clock })
  // A sidecar whose clock is far ahead of this machine's.
  clock.advance(240 * HOUR)
  await feed.putSet(setOf('anna', 1, { grants: setOf('').grants.map((grant) => ({ ...grant, untilMs: clock.nowMs() + 5_000 })) }))
  const { address } = await openSidecar({}, { feed, clock })
  const tollgate = clientOf(t, { address })
  await fromMemory(tollgate)
  const answer = await decided(tollgate)
  t.like(answer, { allowed: true })
  t.true(answer.ageMs <= 3_000 && Math.abs(answer.asOf.getTime() - clock.nowMs()) <= 3_000)
  await eventually(async () => (await decided(tollgate)).reason === 'expired')
  t.true(clock.nowMs() >= (answer.validUntil?.getTime() ?? 0), 'not before')
  await fromMemory(tollgate)
  t.is((await decided(tollgate)).reason, 'expired')
})

test('a customer of a sandbox is asked about each time: its clock is the sidecar’s to know', async (t) => {
  const feed = createInProcessFeed({ clock: systemClock })
  await feed.putClock({ tenantId: 'acme', revision: 1, nowMs: 1_000 })
  await feed.putSet(setOf('anna', 1, { sandbox: true, grants: setOf('').grants.map((grant) => ({ ...grant, untilMs: 2_000 })) }))
  await feed.putSet(setOf('ben'))
  const { address } = await openSidecar({}, { feed })
  const tollgate = clientOf(t, { address })
  await tollgate.check(asks)
  await fromMemory(tollgate, { customer: 'ben', entitlement: 'sso' })
  t.like(await tollgate.check(asks), { allowed: true, from: 'sidecar' })
  await feed.putClock({ tenantId: 'acme', revision: 2, nowMs: 3_000 })
  t.like(await tollgate.check(asks), { allowed: false, reason: 'expired', from: 'sidecar' })
})

test('a stream that is cut makes answers older, up to a bound; then the sidecar is asked, and then the policy', async (t) => {
  const feed = createInProcessFeed({ clock: systemClock })
  await feed.putSet(setOf('anna'))
  const { address } = await openSidecar({}, { feed })
  const proxy = await createProxy(`tcp://${address}`)
  t.teardown(() => proxy.close())
  const options = { address: proxy.url.slice('tcp://'.length), cache: { maxAgeMs: 3_000 }, timeoutMs: 2_000 }
  const throws = clientOf(t, options)
  const denies = clientOf(t, { ...options, onUnknown: 'deny' })
  const allows = clientOf(t, { ...options, onUnknown: 'allow' })
  for (const tollgate of [throws, denies, allows]) await fromMemory(tollgate)
  proxy.cut()
  await feed.putSet(setOf('anna', 2, { grants: [] }))
  let oldest = 0
  const error = await t.throwsAsync(async () => {
    for (;;) {
      const { from, ageMs, allowed: isAllowed } = await decided(throws)
      t.true(from === 'memory' && isAllowed && ageMs >= oldest - 5, `${from} ${ageMs}`)
      oldest = ageMs
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  })
  t.true(error instanceof TollgateError && ['unavailable', 'timed_out'].includes(error.code), String(error))
  t.true(oldest > 2_000 && oldest <= 3_000, String(oldest))
  await t.throwsAsync(throws.list(asks), { instanceOf: TollgateError })
  await eventually(async () => (await denies.check(asks)).reason === 'unknown')
  t.like(await denies.check(asks), { allowed: false, reason: 'unknown' })
  await eventually(async () => (await allows.check(asks)).reason === 'unknown')
  t.like(await allows.check(asks), { allowed: true, reason: 'unknown' })
  proxy.restore()
  // What has changed meanwhile is what is answered first.
  for (const tollgate of [denies, allows]) {
    await eventually(async () => (await tollgate.check(asks)).reason !== 'unknown')
    t.like(await tollgate.check(asks), { allowed: false, reason: 'not_granted', revision: 2 })
    await fromMemory(tollgate)
    t.is((await decided(tollgate)).revision, 2)
  }
})

test('a connection that is cut again and again never makes an answer go back', async (t) => {
  const feed = createInProcessFeed({ clock: systemClock })
  await feed.putSet(setOf('anna', 1, { usage: [{ key: 'seats', used: 1 }] }))
  const { address } = await openSidecar({}, { feed })
  const proxy = await createProxy(`tcp://${address}`)
  t.teardown(() => proxy.close())
  const tollgate = clientOf(t, { address: proxy.url.slice('tcp://'.length), timeoutMs: 500 })
  let [revision, seen, running] = [1, 0, true]
  const counts = { memory: 0, sidecar: 0, failed: 0 }
  const ask = async () => {
    while (running) {
      // What the feed had when the question began is what an answer of the sidecar has at least.
      const before = seen
      try {
        const answer = await decided(tollgate)
        t.true(answer.revision >= before, `${answer.revision} after ${before}`)
        seen = Math.max(seen, answer.revision)
        counts[answer.from] += 1
      } catch (error) {
        if (!(error instanceof TollgateError)) throw error
        counts.failed += 1
      }
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }
  const asking = [ask(), ask(), ask()]
  for (let round = 0; round < 12; round += 1) {
    for (let n = 0; n < 20; n += 1) {
      revision += 1
      await feed.putSet(setOf('anna', revision))
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    proxy.cut()
    await new Promise((resolve) => setTimeout(resolve, round * 30))
    proxy.restore()
  }
  await eventually(async () => (await tollgate.check(asks).catch(() => ({ from: '' }))) && seen === revision)
  running = false
  await Promise.all(asking)
  t.log(JSON.stringify(counts))
  t.true(counts.memory > 100)
})

test('a sidecar that is behind the one before is not believed; but one that is right for good is', async (t) => {
  const port = await freePort()
  const ahead = createInProcessFeed({ clock: systemClock })
  const behind = createInProcessFeed({ clock: systemClock })
  await ahead.putSet(setOf('anna', 2, { grants: [] }))
  await behind.putSet(setOf('anna', 1))
  await behind.putSet(setOf('ben', 1))
  const one = await openSidecar({ GRPC_PORT: String(port) }, { feed: ahead })
  const tollgate = clientOf(t, { address: `127.0.0.1:${port}`, timeoutMs: 1_000 })
  await fromMemory(tollgate)
  t.like(await tollgate.check(asks), { allowed: false, revision: 2 })
  await one.close()
  const two = await openSidecar({ GRPC_PORT: String(port) }, { feed: behind })
  // Memory is back by another customer, and anna is older there than what was answered.
  await eventually(async () => (await decided(tollgate, { customer: 'ben', entitlement: 'sso' }).catch(() => undefined))?.from === 'memory')
  const until = performance.now() + 2_500
  let refused = 0
  while (performance.now() < until) {
    const answer = await decided(tollgate).catch((error: TollgateError) => error.code)
    if (typeof answer === 'string') refused += 1
    t.true(typeof answer === 'string' ? ['revision_not_reached', 'timed_out', 'unavailable'].includes(answer) : answer.revision >= 2, JSON.stringify(answer))
  }
  t.true(refused > 0)
  // A control plane that has gone back to a backup: the older revision is what counts from then on.
  await eventually(async () => (await decided(tollgate).catch(() => undefined))?.revision === 1)
  await fromMemory(tollgate)
  await behind.putSet(setOf('anna', 3))
  await eventually(async () => (await decided(tollgate)).revision === 3)
  await two.close()
})

test('what a sidecar holds for certain no more, it is asked about: with its feed away, its policy answers', async (t) => {
  const clock = movableClock()
  const { feed, lose, find } = losableFeed(clock)
  await feed.putSet(setOf('anna'))
  const policy = { default: 'serve', entitlements: { seats: 'deny' } }
  const { address } = await openSidecar({ MAX_STALENESS_MS: '60000', STALENESS_POLICY: JSON.stringify(policy) }, { feed, clock })
  const tollgate = clientOf(t, { address, cache: { maxAgeMs: 300_000 } })
  await fromMemory(tollgate)
  lose()
  clock.advance(61_000)
  await eventually(async () => (await decided(tollgate)).from === 'sidecar')
  t.like(await tollgate.check(asks), { allowed: true, stale: true, from: 'sidecar' })
  t.like(await tollgate.check({ customer: 'anna', entitlement: 'seats' }), { allowed: false, reason: 'fallback', stale: true })
  find()
  await fromMemory(tollgate)
})

test('of many customers those are watched that were asked about last, on one stream', async (t) => {
  const watched = new Set<string>()
  const sets = (ids: string[]) =>
    ids.map((customerId) => ({ customerId, customerKnown: true, revision: 1n, asOf: new Date(), set: Buffer.from(encodeSet(setOf(customerId))) }))
  const stub = await openStub(
    (_, callback) => callback(null, allowed()),
    (stream, { watch, unwatch }) => {
      for (const id of unwatch) watched.delete(id)
      for (const id of watch) watched.add(id)
      stream.write(message(...sets(watch)))
    },
  )
  const tollgate = clientOf(t, { address: stub.address, cache: { maxCustomers: 3 } })
  const of = (customer: string) => ({ customer, entitlement: 'sso' })
  for (const customer of ['a', 'b', 'c']) await tollgate.check(of(customer))
  for (const customer of ['a', 'b', 'c']) await fromMemory(tollgate, of(customer))
  await tollgate.check(of('a'))
  await tollgate.check(of('d'))
  await eventually(() => watched.has('d') && watched.size === 3)
  t.deepEqual([...watched].toSorted(), ['a', 'c', 'd'], 'b was asked about longest ago')
  tollgate.close()
  // Pushed out and asked about again at once: it is told to the sidecar, which sends the set once more.
  const narrow = clientOf(t, { address: stub.address, cache: { maxCustomers: 1 } })
  await Promise.all(['a', 'b', 'a'].map((customer) => narrow.check(of(customer))))
  await fromMemory(narrow, of('a'))
  await Promise.all(['b', 'a'].map((customer) => narrow.check(of(customer))))
  await fromMemory(narrow, of('a'))
  narrow.close()
  // Far more customers at once than are kept: messages stay within what a sidecar takes.
  const large = clientOf(t, { address: stub.address, cache: { maxCustomers: 2_500 } })
  watched.clear()
  stub.requests.length = 0
  await Promise.all(Array.from({ length: 4_000 }, (_, n) => large.check(of(`n${n}`))))
  await eventually(() => watched.size === 2_500)
  t.true(watched.has('n3999') && !watched.has('n0'))
  t.true(stub.requests.every(({ watch, unwatch }) => watch.length <= 1_000 && unwatch.length <= 1_000))
  t.is(stub.streams.length, 3, 'one for each client')
})

test('a stream that says nothing any more is opened again; one that is refused is not, for a while', async (t) => {
  const silent = await openStub(
    (_, callback) => callback(null, allowed()),
    (stream, { watch }) => void stream.write(message(...watch.map((customerId) => ({ customerId, revision: 1n, ask: true })))),
  )
  const one = clientOf(t, { address: silent.address })
  await one.check(asks)
  await eventually(() => silent.streams.length >= 2)
  t.deepEqual(silent.requests.at(-1)?.watch, ['anna'], 'for the same customers')

  for (const code of [Status.UNIMPLEMENTED, Status.UNAUTHENTICATED, Status.PERMISSION_DENIED]) {
    const refuses = await openStub(
      (_, callback) => callback(null, allowed()),
      (stream) => void stream.emit('error', refusal(code)),
    )
    const two = clientOf(t, { address: refuses.address })
    for (let n = 0; n < 20; n += 1) {
      t.like(await two.check({ ...asks, customer: `c${n}` }), { allowed: true, from: 'sidecar' })
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    t.is(refuses.streams.length, 1)
  }
})

test('a sidecar that ends streams at once is not hammered, and calls are answered all the while', async (t) => {
  const stub = await openStub(
    (_, callback) => callback(null, allowed()),
    (stream) => void stream.emit('error', refusal(Status.UNAVAILABLE)),
  )
  const tollgate = clientOf(t, { address: stub.address })
  await tollgate.check(asks)
  await eventually(() => stub.streams.length > 0)
  const since = performance.now()
  while (stub.streams.length < 5) {
    t.like(await tollgate.check(asks), { allowed: true, from: 'sidecar' })
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  // Waits of at least 50, 100, 200 and 400 ms.
  t.true(performance.now() - since > 700, String(performance.now() - since))
})

test('a set that this version cannot read is the sidecar’s to decide about; others are not', async (t) => {
  const stub = await openStub(
    (_, callback) => callback(null, allowed()),
    (stream, { watch }) => {
      const sets = watch.map((customerId) => ({
        customerId,
        customerKnown: true,
        revision: 1n,
        asOf: new Date(),
        set: customerId === 'anna' ? Buffer.from([0x32, 0x02, 0x0a, 0x00]) : Buffer.from(encodeSet(setOf(customerId))),
      }))
      stream.write(message(...sets))
    },
  )
  const tollgate = clientOf(t, { address: stub.address })
  await tollgate.check(asks)
  await fromMemory(tollgate, { customer: 'ben', entitlement: 'sso' })
  t.like(await tollgate.check(asks), { from: 'sidecar' })
})

test('a sidecar that drains is left for the next one: nobody is told what is not so', async (t) => {
  const port = await freePort()
  const feed = createInProcessFeed({ clock: systemClock })
  await feed.putSet(setOf('anna'))
  let sidecar = await openSidecar({ GRPC_PORT: String(port) }, { feed })
  const tollgate = clientOf(t, { address: `127.0.0.1:${port}`, timeoutMs: 3_000 })
  await fromMemory(tollgate)
  let running = true
  const failures: string[] = []
  const ask = async () => {
    while (running) {
      const answer = await decided(tollgate).catch((error: TollgateError) => error)
      if (answer instanceof Error) failures.push(`${answer}`)
      else t.true(answer.allowed)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }
  const asking = ask()
  for (let round = 0; round < 3; round += 1) {
    await sidecar.close()
    sidecar = await openSidecar({ GRPC_PORT: String(port) }, { feed })
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
  running = false
  await asking
  t.deepEqual(failures, [], 'memory answers meanwhile')
})
