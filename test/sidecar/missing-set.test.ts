/** A customer's newest set cannot be had: sidecars say so, instead of saying what was true before as if it were now. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { credentials, type ServiceError, status as Status } from '@grpc/grpc-js'
import { jetstream } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { connect } from '@nats-io/transport-node'
import test, { type ExecutionContext } from 'ava'
import { systemClock } from '../../common/clock.ts'
import type { EntitlementSet } from '../../common/entitlements/model.ts'
import { decodeSet } from '../../common/entitlements/wire.ts'
import { type Feed, MAX_SET_BYTES } from '../../common/feed/feed.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { setKey } from '../../common/feed/keys.ts'
import { encodeMissing, rankOf } from '../../common/feed/message.ts'
import { createLog } from '../../common/log.ts'
import { putSetOrSay } from '../../control-plane/entitlements/publish-entitlements.ts'
import { EntitlementServiceClient, Reason, type WatchEntitlementsResponse } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { openKept } from '../support/nats-feeds.ts'
import { natsMissing, startNatsServer } from '../support/nats-server.ts'
import { checker, losableFeed, movableClock, openSidecar, setOf } from '../support/sidecar.ts'

const log = createLog('silent')

/** More than any feed takes; what is in it is what the customer should have now: nothing of what it had. */
const tooLarge = (customerId: string, revision: number): EntitlementSet =>
  setOf(customerId, revision, {
    grants: [{ key: 'k', subscriptionId: 's', bundleId: 'b', fromMs: 0, inactive: false, terms: { kind: 'value', value: 'x'.repeat(MAX_SET_BYTES) } }],
  })

const codeOf = (work: Promise<unknown>): Promise<number> =>
  work.then(
    () => Status.OK,
    (error: ServiceError) => error.code,
  )

/** A log that keeps the errors of control planes. */
const keeping = () => {
  const errors: Record<string, unknown>[] = []
  return { errors, log: { ...log, error: (fields: Record<string, unknown>) => void errors.push(fields) } as unknown as typeof log }
}

const story = async (t: ExecutionContext, feed: Feed, reader: Feed, env: Record<string, string>) => {
  const { errors, log: told } = keeping()
  await feed.putSet(setOf('anna', 1))
  await feed.putSet(setOf('other', 1))
  const policy = { default: 'serve', entitlements: { seats: 'deny' } }
  const sidecar = await openSidecar({ ...env, STALENESS_POLICY: JSON.stringify(policy) }, { feed: reader, log })
  const clients = Array.from(
    { length: env.SIDECAR_WORKERS ? 12 : 1 },
    () => new EntitlementServiceClient(sidecar.address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 }),
  )
  /** Each with a connection of its own: of several threads, each has some. */
  const all = async (seen: (check: ReturnType<typeof checker>) => Promise<void>) => {
    for (const client of clients) await seen(checker(client))
  }
  const watched: WatchEntitlementsResponse[] = []
  const watch = sidecar.client.watchEntitlements({ tenantId: 'acme', storefrontId: 'us', customerId: 'anna', minRevision: 0n })
  watch.on('data', (answer) => watched.push(answer))
  watch.on('error', () => undefined)
  await all(async (check) => {
    t.like(await check('anna', 'sso'), { allowed: true, revision: 1n, stale: false })
    // Nobody has heard of it yet.
    t.is((await check('new', 'sso')).reason, Reason.REASON_CUSTOMER_UNKNOWN)
  })

  const beforeMs = Date.now()
  t.false(await putSetOrSay(feed, tooLarge('anna', 2), told))
  t.false(await putSetOrSay(feed, tooLarge('anna', 2), told))
  t.false(await putSetOrSay(feed, tooLarge('new', 1), told))
  t.deepEqual(
    errors.map(({ tenantId, customerId, revision }) => [tenantId, customerId, revision]),
    [
      ['acme', 'anna', 2],
      ['acme', 'new', 1],
    ],
    'said once, with names',
  )
  await all(async (check) => {
    await eventually(async () => (await check('anna', 'sso')).stale)
    const answer = await check('anna', 'sso')
    t.like(answer, { allowed: true, reason: Reason.REASON_GRANTED, revision: 1n, stale: true })
    t.true(Number(answer.asOf) <= Date.now() && Number(answer.asOf) >= beforeMs - 5_000, String(answer.asOf))
    t.like(await check('anna', 'seats'), { allowed: false, reason: Reason.REASON_FALLBACK, stale: true }, 'as the policy for what is stale says')
    await eventually(async () => (await codeOf(check('new', 'sso'))) === Status.UNAVAILABLE)
    t.is(await codeOf(check('anna', 'sso', { minRevision: 2n, deadlineMs: 10_000 })), Status.UNAVAILABLE, 'known to be missing: not waited for')
    t.like(await check('other', 'sso'), { allowed: true, stale: false })
  })
  await eventually(() => watched.at(-1)?.stale === true)
  const metrics = async () => (await fetch(`${sidecar.httpUrl}/metrics`)).text()
  t.regex(await metrics(), /^tollgate_sets_behind 2$/m)
  // The time of a set that is behind stands still.
  const stands = (await sidecar.check('anna', 'sso')).asOf
  await new Promise((resolve) => setTimeout(resolve, 1_200))
  t.deepEqual((await sidecar.check('anna', 'sso')).asOf, stands)

  // A later whole set mends it, for those who had an older one and for those who had none.
  await feed.putSet(setOf('anna', 3, { grants: [] }))
  await feed.putSet(setOf('new', 2))
  await all(async (check) => {
    t.like(await check('anna', 'sso', { minRevision: 3n }), { allowed: false, reason: Reason.REASON_NOT_GRANTED, revision: 3n, stale: false })
    t.like(await check('new', 'sso', { minRevision: 2n }), { allowed: true, stale: false })
  })
  await eventually(() => watched.at(-1)?.revision === 3n && watched.at(-1)?.stale === false)
  t.regex(await metrics(), /^tollgate_sets_behind 0$/m)
  t.regex(await metrics(), /^tollgate_faults_total 0$/m)
  watch.cancel()
  for (const client of clients) client.close()
  await sidecar.close()
}

const kinds: Record<string, string>[] = [{ SIDECAR_TRANSPORT: 'fast' }, { SIDECAR_TRANSPORT: 'fast', SIDECAR_WORKERS: '2' }, { SIDECAR_TRANSPORT: 'grpc-js' }]
for (const env of kinds) {
  const name = Object.values(env).join(', threads: ')
  test(`${name}, in-process feed: a set that cannot be published is said to be missing, and a later one mends it`, async (t) => {
    const feed = createInProcessFeed({ clock: systemClock, log })
    await story(t, feed, feed, env)
  })

  const run = natsMissing === undefined ? test : test.skip
  run(`${name}, NATS: a set that cannot be published is said to be missing, and a later one mends it${natsMissing ? ` (${natsMissing})` : ''}`, async (t) => {
    const server = await startNatsServer()
    const openFeed = () => openKept({ url: server.url, bucket: 'b', clock: systemClock, log })
    const [publisher, reader] = [await openFeed(), await openFeed()]
    await story(t, publisher, reader, env)
    await Promise.all([publisher.close(), reader.close()])
    await server.stop()
  })
}

test('a snapshot keeps that a set is behind, and since when; the feed confirms it or mends it', async (t) => {
  const clock = movableClock()
  const { feed, lose, find } = losableFeed(clock)
  const SNAPSHOT_FILE = join(mkdtempSync(join(tmpdir(), 'tollgate-missing-')), 'sets.snapshot')
  for (const customerId of ['anna', 'bert', 'carl']) await feed.putSet(setOf(customerId, 1))
  const before = await openSidecar({ SNAPSHOT_FILE }, { feed, clock })
  for (const customerId of ['anna', 'bert', 'carl']) await before.check(customerId, 'sso')
  await feed.putMissing(setOf('anna'), 2)
  await feed.putMissing(setOf('bert'), 2)
  const said = await before.check('anna', 'sso')
  t.true(said.stale)
  clock.advance(10_000)
  await before.close()

  lose()
  // Meanwhile one is mended, and another becomes too large, which nobody here can hear of.
  await feed.putSet(setOf('bert', 3))
  await feed.putMissing(setOf('carl'), 2)
  const sidecar = await openSidecar({ SNAPSHOT_FILE }, { feed, clock })
  t.like(await sidecar.check('anna', 'sso'), { allowed: true, stale: true, asOf: said.asOf })
  t.like(await sidecar.check('carl', 'sso'), { allowed: true, stale: false }, 'as young as it is, nothing is known against it')
  find()
  t.like(await sidecar.check('anna', 'sso'), { allowed: true, revision: 1n, stale: true, asOf: said.asOf })
  t.like(await sidecar.check('bert', 'sso'), { allowed: true, revision: 3n, stale: false })
  t.like(await sidecar.check('carl', 'sso'), { allowed: true, revision: 1n, stale: true })
  await sidecar.close()
})

test('a set that was being fetched while a newer one went missing is behind from the start', async (t) => {
  const inner = createInProcessFeed({ clock: systemClock, log })
  await inner.putSet(setOf('anna', 1))
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  let asked = 0
  const feed: Feed = {
    ...inner,
    getSet: async (customer) => {
      asked += 1
      const set = customer.customerId === 'nobody' ? undefined : await inner.getSet(customer)
      await held
      return set
    },
  }
  const sidecar = await openSidecar({}, { feed })
  const [first, none] = [sidecar.check('anna', 'sso'), codeOf(sidecar.check('nobody', 'sso'))]
  await eventually(() => asked === 2)
  await inner.putMissing(setOf('anna'), 2)
  await inner.putMissing(setOf('nobody'), 1)
  release()
  t.like(await first, { allowed: true, revision: 1n, stale: true })
  t.is(await none, Status.UNAVAILABLE, 'it has come to be: never "unknown"')
  await sidecar.close()
})

const testOnNats = natsMissing === undefined ? test : test.skip
testOnNats(
  `what cannot be read of one customer makes what is held of it old; of one that is not held nothing is said${natsMissing ? ` (${natsMissing})` : ''}`,
  async (t) => {
    const server = await startNatsServer()
    const feed = await openKept({ url: server.url, bucket: 'b', clock: systemClock, log })
    const connection = await connect({ servers: server.url.replace('nats://', '') })
    const kv = await new Kvm(jetstream(connection)).open('b')
    const sidecar = await openSidecar({}, { feed, log })
    await feed.putSet(setOf('anna', 1))
    await feed.putSet(setOf('other', 1))
    t.like(await sidecar.check('anna', 'sso'), { allowed: true, stale: false })
    t.like(await sidecar.check('other', 'sso'), { allowed: true, stale: false })
    await kv.put(setKey(setOf('anna')), 'not a set')
    await kv.put(setKey(setOf('cold')), 'not a set')
    await eventually(async () => (await sidecar.check('anna', 'sso')).stale)
    t.like(await sidecar.check('anna', 'sso'), { allowed: true, revision: 1n, stale: true })
    t.is(await codeOf(sidecar.check('cold', 'sso')), Status.UNAVAILABLE)
    t.like(await sidecar.check('other', 'sso'), { allowed: true, stale: false })
    // A control plane mends what nobody can read, whatever the revision.
    await feed.putSet(setOf('anna', 2, { grants: [] }))
    await feed.putSet(setOf('cold', 1))
    t.like(await sidecar.check('anna', 'sso', { minRevision: 2n }), { allowed: false, stale: false })
    await eventually(async () => (await codeOf(sidecar.check('cold', 'sso'))) === Status.OK)
    await sidecar.close()
    await feed.close()
    await connection.close()
    await server.stop()
  },
)

test('word of a missing set is nothing to a reader that does not know of it: never a set without grants', (t) => {
  const customer = { tenantId: 't', storefrontId: 's', customerId: 'ü' }
  const bytes = encodeMissing(customer, 7)
  t.throws(() => decodeSet(bytes))
  t.is(rankOf(setKey(customer), bytes), 7)
  t.is(rankOf(setKey({ ...customer, customerId: 'another' }), bytes), 0)
})
