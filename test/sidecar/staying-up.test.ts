/** What a sidecar answers when parts of the world are gone. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { status as Status } from '@grpc/grpc-js'
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import type { TestClock } from '../../common/entitlements/model.ts'
import { createFaults } from '../../common/faults.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { createLog } from '../../common/log.ts'
import { Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { SetCache } from '../../sidecar/replica/cache/set-cache.ts'
import type { CachedSet } from '../../sidecar/replica/cache/set-reader.ts'
import { readSnapshot, SnapshotError, writeSnapshot } from '../../sidecar/replica/snapshot.ts'
import { eventually } from '../support/eventually.ts'
import { losableFeed, movableClock, openSidecar, setOf } from '../support/sidecar.ts'

for (const transport of ['fast', 'grpc-js']) {
  test(`${transport}: what is too old is served, denied or answered by the fallback, as each entitlement's policy says`, async (t) => {
    const clock = movableClock()
    const { feed, lose, find } = losableFeed(clock)
    await feed.putSet(setOf('anna'))
    const policy = {
      default: 'serve',
      entitlements: { seats: 'deny', hours: { fallback: { allowed: true, value: '9-5' } }, calls: { fallback: { allowed: true, limit: 10 } } },
    }
    const sidecar = await openSidecar({ SIDECAR_TRANSPORT: transport, STALENESS_POLICY: JSON.stringify(policy), MAX_STALENESS_MS: '60000' }, { feed, clock })
    const { check } = sidecar
    t.like(await check('anna', 'seats'), { allowed: true, reason: Reason.REASON_GRANTED, stale: false })
    lose()
    clock.advance(30_000)
    t.like(await check('anna', 'seats'), { allowed: true, reason: Reason.REASON_GRANTED, stale: false }, 'not too old yet')
    clock.advance(31_000)
    t.like(await check('anna', 'sso'), { allowed: true, reason: Reason.REASON_GRANTED, stale: true })
    t.like(await check('anna', 'seats'), { allowed: false, reason: Reason.REASON_FALLBACK, stale: true })
    t.like(await check('anna', 'hours'), { allowed: true, reason: Reason.REASON_FALLBACK, value: '9-5', stale: true })
    t.like(await check('anna', 'calls'), { allowed: true, reason: Reason.REASON_FALLBACK, limit: 10n })
    // Of whom nothing is known: as configured, or that it cannot be known.
    t.like(await check('bert', 'hours'), { allowed: true, reason: Reason.REASON_FALLBACK, value: '9-5' })
    t.is((await t.throwsAsync<Error & { code: number }>(check('bert', 'sso')))?.code, Status.UNAVAILABLE)
    find()
    t.like(await check('anna', 'seats'), { allowed: true, reason: Reason.REASON_GRANTED, stale: false })
    t.like(await check('bert', 'sso'), { allowed: false, reason: Reason.REASON_CUSTOMER_UNKNOWN })
    await sidecar.close()
  })
}

test('health turns NOT_SERVING past the staleness limit where that is asked for, and back', async (t) => {
  const clock = movableClock()
  const { feed, lose, find } = losableFeed(clock)
  const sidecar = await openSidecar({ STALE_HEALTH: 'not_serving', MAX_STALENESS_MS: '60000' }, { feed, clock })
  const steady = await openSidecar({ MAX_STALENESS_MS: '60000' }, { feed, clock })
  const health = async (of: typeof sidecar) =>
    new Promise<string>((resolve) => {
      const same = (bytes: Buffer) => bytes
      of.client.makeUnaryRequest('/grpc.health.v1.Health/Check', same, same, Buffer.alloc(0), (_, answer) => resolve(answer?.toString('hex') ?? ''))
    })
  const [serving, notServing] = ['0801', '0802']
  await eventually(async () => (await health(sidecar)) === serving)
  lose()
  clock.advance(61_000)
  await eventually(async () => (await health(sidecar)) === notServing)
  t.is(await health(steady), serving)
  find()
  await eventually(async () => (await health(sidecar)) === serving)
  await sidecar.close()
  await steady.close()
})

const newFolder = () => mkdtempSync(join(tmpdir(), 'tollgate-snapshot-'))

const heldBy = (cache: SetCache, ...clocks: TestClock[]) => ({
  cache,
  clocks: () => clocks,
  asOfMs: ({ readAtMs }: CachedSet) => readAtMs,
  faults: createFaults(createLog('silent'), systemClock),
})
const takes = (set: (cached: CachedSet) => void, clock: (testClock: TestClock) => void = () => undefined) => ({ set, clock })

for (const key of [undefined, randomBytes(32)]) {
  const kind = key ? 'an encrypted' : 'a'
  test(`${kind} snapshot brings back every set; cut off, changed or of another key it brings nothing`, async (t) => {
    const path = join(newFolder(), 'sets.snapshot')
    const cache = new SetCache(16 * 1024 * 1024)
    for (let n = 0; n < 2_000; n += 1) cache.set(setOf(`customer ${n} ü`, n + 1), n)
    const paused = { tenantId: 'sandbox ü', revision: 7, nowMs: 123 }
    t.is(await writeSnapshot(path, heldBy(cache, paused), key, 5), 2_000)
    const read = async (file: string, by: Buffer | undefined) => {
      const found: string[] = []
      const clocks: TestClock[] = []
      const restored = await readSnapshot(
        file,
        by,
        takes(
          ({ set, readAtMs }) => found.push(`${set.customerId} ${set.revision} ${readAtMs} ${set.grants.length}`),
          (clock) => clocks.push(clock),
        ),
      )
      return { restored, found, clocks }
    }
    const { restored, found, clocks } = await read(path, key)
    t.deepEqual(clocks, [paused])
    t.deepEqual(restored, { sets: 2_000, unread: 0, writtenAtMs: 5 })
    t.deepEqual(found.sort(), Array.from({ length: 2_000 }, (_, n) => `customer ${n} ü ${n + 1} ${n} 4`).sort())
    const whole = readFileSync(path)
    t.is(whole.includes('customer 1'), false)
    const broken = join(newFolder(), 'broken')
    const refused = async (bytes: Buffer, what: string) => {
      writeFileSync(broken, bytes)
      const taken: string[] = []
      await t.throwsAsync(
        readSnapshot(
          broken,
          key,
          takes(
            ({ set }) => taken.push(set.customerId),
            ({ tenantId }) => taken.push(tenantId),
          ),
        ),
        { instanceOf: SnapshotError },
        what,
      )
      t.deepEqual(taken, [], `${what}: nothing is taken`)
    }
    for (const cut of [0, 1, 8, 20, 60, Math.floor(whole.length / 2), whole.length - 1]) await refused(whole.subarray(0, cut), `cut at ${cut}`)
    for (const at of [0, 9, 30, 100, Math.floor(whole.length / 2), whole.length - 1]) {
      const changed = Buffer.from(whole)
      changed[at] = (changed[at] as number) ^ 1
      await refused(changed, `changed at ${at}`)
    }
    await refused(Buffer.concat([whole, Buffer.from('more')]), 'longer')
    await t.throwsAsync(read(path, key ? undefined : randomBytes(32)), { message: /encrypted/ })
    if (key) await t.throwsAsync(read(path, randomBytes(32)), { instanceOf: SnapshotError })
    t.is((await read(join(newFolder(), 'none'), key)).restored, undefined)
  })
}

test('sets may change while a snapshot is written: each is there once, as it was or as it is', async (t) => {
  const path = join(newFolder(), 'sets.snapshot')
  const cache = new SetCache(4 * 1024 * 1024)
  for (let n = 0; n < 1_000; n += 1) cache.set(setOf(`c${n}`), 0)
  const writing = writeSnapshot(path, heldBy(cache), undefined, 0)
  for (let n = 0; n < 4_000; n += 1) {
    cache.set(setOf(`c${n % 1_000}`, 2 + n, { grants: setOf('').grants.slice(0, n % 5) }), 0)
    if (n % 50 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await writing
  const seen = new Map<string, number>()
  // A set that grew was written anew behind: the later one counts, as it does for who takes them.
  const take = ({ set }: CachedSet) => void seen.set(set.customerId, Math.max(seen.get(set.customerId) ?? 0, set.revision))
  await readSnapshot(path, undefined, takes(take))
  t.is(seen.size, 1_000)
  t.deepEqual(readdirSync(join(path, '..')), ['sets.snapshot'], 'nothing is left beside it')
})

test('with everything gone and started again, the snapshot answers, says how old it is, and is confirmed when the feed is back', async (t) => {
  const clock = movableClock()
  const { feed, lose, find } = losableFeed(clock)
  const SNAPSHOT_FILE = join(newFolder(), 'sets.snapshot')
  await feed.putSet(setOf('anna', 3))
  await feed.putSet(setOf('carl', 1))
  const before = await openSidecar({ SNAPSHOT_FILE }, { feed, clock })
  await before.check('anna', 'sso')
  await before.check('carl', 'sso')
  const readAtMs = clock.nowMs()
  clock.advance(1_800_000)
  const said = await before.check('anna', 'sso')
  await before.close()
  const knownAtMs = clock.nowMs()

  lose()
  // Meanwhile something changes that nobody here can hear of.
  await feed.putSet(setOf('anna', 4, { grants: [] }))
  clock.advance(3_600_000)
  const sidecar = await openSidecar({ SNAPSHOT_FILE }, { feed, clock })
  t.true(sidecar.isReady())
  const old = await sidecar.check('anna', 'sso')
  t.like(old, { allowed: true, revision: 3n, stale: true })
  t.true(Number(old.asOf) <= knownAtMs)
  t.true(Number(old.asOf) >= Number(said.asOf), 'what was known to be current stays so over a restart')
  t.true(Number(old.asOf) > readAtMs + 1_000_000)
  t.is((await t.throwsAsync<Error & { code: number }>(sidecar.check('bert', 'sso')))?.code, Status.UNAVAILABLE)
  find()
  t.like(
    await sidecar.check('anna', 'sso'),
    { allowed: false, reason: Reason.REASON_NOT_GRANTED, revision: 4n, stale: false },
    'never believed once it can be asked',
  )
  t.like(await sidecar.check('carl', 'sso'), { allowed: true, revision: 1n, stale: false })
  await sidecar.close()
  // A damaged one is said to be so, and is left out: it starts as without.
  writeFileSync(SNAPSHOT_FILE, 'TGSNAP2\nnot really')
  lose()
  const another = await openSidecar({ SNAPSHOT_FILE }, { feed, clock })
  t.false(another.isReady())
  await another.close()
})

test('a sandbox is answered from a snapshot too, by the time of its clock; and by the clock as it is once it can be asked', async (t) => {
  const clock = movableClock()
  const { feed, lose, find } = losableFeed(clock)
  const SNAPSHOT_FILE = join(newFolder(), 'sets.snapshot')
  const endsMs = Date.UTC(2030, 0, 1)
  const grants = setOf('').grants.map((grant) => ({ ...grant, untilMs: endsMs }))
  const set = setOf('anna', 3, { sandbox: true, grants })
  await feed.putSet(set)
  await feed.putClock({ tenantId: set.tenantId, revision: 1, nowMs: endsMs - 1 })
  const before = await openSidecar({ SNAPSHOT_FILE }, { feed, clock })
  t.like(await before.check('anna', 'sso'), { allowed: true })
  await before.close()

  lose()
  await feed.putClock({ tenantId: set.tenantId, revision: 2, nowMs: endsMs })
  const sidecar = await openSidecar({ SNAPSHOT_FILE }, { feed, clock })
  for (let restarts = 0; restarts < 2; restarts += 1) t.like(await sidecar.check('anna', 'sso'), { allowed: true, revision: 3n })
  await sidecar.close()
  // What was only restored is written again.
  const again = await openSidecar({ SNAPSHOT_FILE }, { feed, clock })
  t.like(await again.check('anna', 'sso'), { allowed: true, revision: 3n })
  find()
  t.like(await again.check('anna', 'sso'), { allowed: false, reason: Reason.REASON_EXPIRED })
  lose()
  t.like(await again.check('anna', 'sso'), { allowed: false, reason: Reason.REASON_EXPIRED })
  await again.close()
})

test('a flood of customers that nobody knows evicts nobody, and asks the feed only so much at once', async (t) => {
  const inner = createInProcessFeed({ clock: systemClock })
  for (let n = 0; n < 500; n += 1) await inner.putSet(setOf(`known ${n}`))
  let [running, most] = [0, 0]
  const feed = {
    ...inner,
    getSet: async (customer: Parameters<typeof inner.getSet>[0]) => {
      running += 1
      most = Math.max(most, running)
      await new Promise((resolve) => setImmediate(resolve))
      running -= 1
      return inner.getSet(customer)
    },
  }
  const sidecar = await openSidecar({ CACHE_MAX_BYTES: '1MiB' }, { feed })
  for (let n = 0; n < 500; n += 1) await sidecar.check(`known ${n}`, 'sso')
  const held = sidecar.replica.cache.stats.sets
  t.is(held, 500)
  for (let n = 0; n < 30_000; n += 1_000) {
    const answers = await Promise.all(Array.from({ length: 1_000 }, (_, k) => sidecar.check(`stranger ${n + k}`, 'sso', { deadlineMs: 30_000 })))
    t.true(answers.every(({ reason }) => reason === Reason.REASON_CUSTOMER_UNKNOWN))
  }
  t.is(sidecar.replica.cache.stats.sets, held)
  t.is(sidecar.replica.cache.stats.evictions, 0)
  t.true(most <= 64, `${most} at once`)
  await sidecar.close()
})

test('a set that became newer while the clock of a sandbox was asked for is what is answered', async (t) => {
  const inner = createInProcessFeed({ clock: systemClock })
  await inner.putSet(setOf('anna', 5, { sandbox: true }))
  await inner.putClock({ tenantId: 'acme', revision: 1, nowMs: 1_700_000_000_000 })
  let release = () => {}
  const asked = new Promise<void>((resolve) => {
    release = resolve
  })
  const feed = {
    ...inner,
    getClock: async (tenantId: string) => {
      await asked
      return inner.getClock(tenantId)
    },
  }
  const sidecar = await openSidecar({}, { feed })
  const first = sidecar.check('anna', 'sso')
  await new Promise((resolve) => setTimeout(resolve, 100))
  await inner.putSet(setOf('anna', 6, { sandbox: true, grants: [] }))
  release()
  t.like(await first, { allowed: false, revision: 6n })
  await sidecar.close()
})
