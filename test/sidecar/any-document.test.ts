/**
 * Whatever is stored of one customer, or stands under its key in the feed, concerns that customer alone: sidecars stay up,
 * answer everybody else as before, and of that customer they say what is exact, or that they cannot.
 *
 *   FUZZ_SECONDS=60 FUZZ_SEED=1 npx ava test/sidecar/any-document.test.ts
 */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { credentials, type ServiceError, status as Status } from '@grpc/grpc-js'
import { jetstream } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { connect } from '@nats-io/transport-node'
import test, { type ExecutionContext } from 'ava'
import { systemClock } from '../../common/clock.ts'
import { decide } from '../../common/entitlements/decide.ts'
import type { EntitlementSet, Grant } from '../../common/entitlements/model.ts'
import { decodeSet, encodeSet } from '../../common/entitlements/wire.ts'
import { type Feed, MAX_SET_BYTES } from '../../common/feed/feed.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { setKey } from '../../common/feed/keys.ts'
import { createLog } from '../../common/log.ts'
import { putSetOrSay, toEntitlementSet } from '../../control-plane/entitlements/publish-entitlements.ts'
import type { StoredEntitlementSet } from '../../control-plane/schemas/entitlement-set.ts'
import type { WatchEntitlementsResponse } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { ServiceClient as FlagdClient, type ResolveAllResponse } from '../../proto/gen/flagd/evaluation/v1/evaluation.ts'
import { EntitlementSet as WireSet } from '../../proto/gen/tollgate/feed/v1/feed.ts'
import { toCheckResponse } from '../../sidecar/service/to-wire.ts'
import { eventually } from '../support/eventually.ts'
import { type GrpcClient, grpcClient } from '../support/grpc-client.ts'
import { openKept } from '../support/nats-feeds.ts'
import { natsMissing, startNatsServer } from '../support/nats-server.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { openSidecar, setOf, type TestSidecar } from '../support/sidecar.ts'

const SECONDS = Number(process.env.FUZZ_SECONDS ?? 5)
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000)
/** An answer that takes as long as that is none. */
const CALL_MS = 20_000
const log = createLog('silent')

/** Where documents stand, and how bytes get under a customer's key past everything that checks them. */
interface World {
  feed: Feed
  /** As a control plane publishes. */
  publish(document: unknown): Promise<void>
  /** Undefined where nothing travels as bytes. */
  plant: ((key: string, bytes: Uint8Array) => Promise<void>) | undefined
  close(): Promise<void>
}

const makeDocuments = (seed: number) => {
  const random = seededRandom(seed)
  const below = (n: number) => Math.floor(random() * n)
  const pick = <T>(of: readonly T[]): T => of[below(of.length)] as T
  const wild = () => pick([0, 1, 7, 1_000, 2 ** 31, 2 ** 53 - 1, 2 ** 53, 2 ** 53 + 2, 2 ** 62, 2 ** 63, 2 ** 64, 1e300, -1, 0.5, Number.NaN, Infinity])
  const sound = () => pick([0, 1, 7, 1_000, 2 ** 31 - 1, 2 ** 32, 2 ** 52, 2 ** 53 - 1, 2 ** 53, 2 ** 62, 2 ** 63 - 1024])
  const soundInstant = () => pick([0, -1, 1_700_000_000_000, 1_709_251_200_000, 4_102_444_800_000, 253_402_300_800_000, 8.64e15, -8.64e15])
  const wildInstant = () => pick([8.64e15 + 1, 1e18, -1e18, 2 ** 62, Number.NaN, Infinity, 0.25, soundInstant()])
  const keys = ['seats', 'seats', 'seats', 'sso', 'calls', 'calls', 'hours', '__proto__', 'constructor', '', 'ü🙂', '\ud800', 'long '.repeat(200)]
  const terms = (isSound: boolean): unknown => {
    const count = isSound ? sound : wild
    const instant = isSound ? soundInstant : wildInstant
    const limit = random() < 0.1 ? null : count()
    return pick<() => unknown>([
      () => ({ kind: 'flag', enabled: random() < 0.5 }),
      () => ({ kind: 'capacity', limit }),
      () => ({ kind: 'value', value: pick(['', '24/7', 'ü', 'v'.repeat(10_000)]) }),
      () => ({
        kind: 'quota',
        limit,
        per: pick(isSound ? ['day', 'week', 'month', 'quarter', 'year'] : ['fortnight', '', 'day']),
        anchorMs: instant(),
        timeZone: pick(isSound ? ['UTC', 'Europe/Berlin', 'America/New_York', 'Pacific/Apia'] : ['Moon/Base', '+02:00', '', 'z'.repeat(100_000), 'UTC']),
      }),
      ...(isSound ? [] : [() => ({ kind: 'perpetual' }), () => null, () => undefined, () => ({ kind: 'flag', enabled: 'yes' })]),
    ])()
  }
  const seats = { key: 'seats', subscriptionId: 'sub_1', bundleId: 'b', fromMs: 0, inactive: false }
  const grant = (isSound: boolean): unknown => ({
    key: pick(keys),
    subscriptionId: pick(['sub_1', 'sub_2', 's'.repeat(500)]),
    bundleId: 'b',
    fromMs: (isSound ? soundInstant : wildInstant)(),
    ...(random() < 0.5 ? {} : { untilMs: (isSound ? soundInstant : wildInstant)() }),
    inactive: random() < 0.2,
    ...(random() < 0.3 ? byHand(isSound) : {}),
    terms: terms(isSound),
  })
  const byHand = (isSound: boolean): object => ({
    subscriptionId: '',
    source: { type: pick(isSound ? ['manual', 'import'] : ['inherited', '', 7, 'external']), id: pick(isSound ? ['grt_1', 'grt_2'] : [7, null, 'grt_1']) },
    mode: pick(isSound ? ['floor', 'replace', 'deny', undefined] : ['add', 'max', 7, 'deny']),
    deniedKind: pick(isSound ? ['flag', 'quota', undefined] : ['door', 7, 'value']),
  })
  /** As it stands in storage: JSON. A document that is not sound has at least one thing in it that is not. */
  const document = (customerId: string, revision: number, isSound: boolean) => {
    const count = pick([0, 1, 2, 3, 8, random() < 0.05 ? 300 : 4, random() < 0.02 ? 1_500 : 5])
    // What adds up matters most where it counts now.
    const adding = () => ({ ...seats, terms: { kind: 'capacity', limit: pick([2 ** 53 - 1, 2 ** 62, 2 ** 63 - 1024, sound()]) } })
    const adds = random() < 0.3
    const grants = Array.from({ length: count }, () => (adds ? adding() : grant(isSound || random() < 0.5)))
    const usage = Array.from({ length: below(4) }, () => ({
      key: pick(keys),
      used: (isSound ? sound : wild)(),
      ...(random() < 0.5 ? {} : { untilMs: (isSound ? soundInstant : wildInstant)() }),
    }))
    const sandbox = !isSound && random() < 0.2
    return JSON.parse(JSON.stringify({ tenantId: 'wild', storefrontId: 'us', customerId, revision, sandbox, grants, usage })) as StoredEntitlementSet
  }
  /** Under the customer's key, whatever they are. */
  const bytes = (customerId: string, revision: number): Uint8Array => {
    const good = () => Buffer.from(encodeSet(setOf(customerId, revision, { tenantId: 'wild' })))
    const wireSet = () => WireSet.decode(good())
    return pick<() => Uint8Array>([
      () => Buffer.alloc(0),
      () => Buffer.from(Array.from({ length: below(200) }, () => below(256))),
      () => good().subarray(0, below(100)),
      () => {
        const changed = good()
        for (let n = 0; n <= below(4); n += 1) changed[below(changed.length)] = below(256)
        return changed
      },
      () => Buffer.concat([Buffer.of(0x0f, 0x01), good().subarray(0, below(60))]),
      () => encodeSet(setOf(`${customerId} another`, revision)),
      () => {
        const made = wireSet()
        for (const one of made.grants) {
          if (one.terms?.$case === 'quota')
            Object.assign(one.terms.value, pick([{ per: 'fortnight' }, { timeZone: 'Moon/Base' }, { anchorMs: 2n ** 62n }, { limit: -(2n ** 63n) }]))
          else if (random() < 0.3) one.terms = undefined
          if (one.terms?.$case === 'capacity') one.terms.value.limit = pick([2n ** 63n - 1n, 2n ** 53n + 1n, -1n])
        }
        return WireSet.encode(made).finish()
      },
      () => WireSet.encode({ ...wireSet(), revision: pick([0n, 2n ** 53n, 2n ** 64n - 1n]) }).finish(),
      () =>
        WireSet.encode({
          ...wireSet(),
          usage: [{ ...wireSet().usage[0], key: 'calls', sourceId: '', used: pick([2n ** 63n - 1n, -5n]), untilMs: 2n ** 62n }],
        }).finish(),
    ])()
  }
  return { random, below, pick, document, bytes, wildInstant }
}

const untouched = { tenantId: 'acme', storefrontId: 'us', customerId: 'untouched' }

interface Asked {
  sidecar: TestSidecar
  grpc: GrpcClient
  flagd: FlagdClient
  /** Of a watch of the customer that nobody touches: the last revision, and what went wrong. */
  watched: { revision: bigint; errors: unknown[] }
}

const open = async (feed: Feed, env: Record<string, string>): Promise<Asked> => {
  const sidecar = await openSidecar({ CACHE_MAX_BYTES: '2MiB', ...env }, { feed, log })
  const watched: Asked['watched'] = { revision: 0n, errors: [] }
  const stream = sidecar.client.watchEntitlements({ ...untouched, minRevision: 0n })
  stream.on('data', ({ revision }: WatchEntitlementsResponse) => {
    watched.revision = revision
  })
  stream.on('error', (error) => watched.errors.push(error))
  return { sidecar, grpc: grpcClient(sidecar.address), flagd: new FlagdClient(sidecar.address, credentials.createInsecure()), watched }
}

const codeOf = (work: Promise<unknown>): Promise<number> =>
  work.then(
    () => Status.OK,
    (error: ServiceError) => error.code,
  )

const resolveAll = (flagd: FlagdClient, customer: { tenantId: string; storefrontId: string; customerId: string }): Promise<ResolveAllResponse> =>
  promisify<unknown, ResolveAllResponse>(flagd.resolveAll.bind(flagd) as never)({ context: { ...customer, targetingKey: customer.customerId } })

const ofrep = ({ httpUrl }: TestSidecar, customer: { customerId: string }, key = '') =>
  fetch(`${httpUrl}/ofrep/v1/evaluate/flags${key}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ context: { ...customer, targetingKey: customer.customerId } }),
    signal: AbortSignal.timeout(CALL_MS),
  })

/** Everything that can be asked, of the customer that nobody touches. */
const isAnsweredAsBefore = async (t: ExecutionContext, { sidecar, grpc, flagd, watched }: Asked): Promise<void> => {
  const check = (entitlement: string) => ({ ...untouched, entitlement })
  t.like(await grpc.check(check('seats')), { allowed: true, limit: 5n, remaining: 5n, stale: false })
  const batch = await grpc.batch([check('calls'), check('sso'), check('hours')])
  t.like(batch[0] ?? {}, { allowed: true, limit: 1_000n, used: 7n, remaining: 993n, stale: false })
  t.deepEqual(
    batch.map(({ value }) => value),
    ['', '', '24/7'],
  )
  t.is((await grpc.list(untouched)).entitlements.length, 4)
  const { flags } = await resolveAll(flagd, untouched)
  t.deepEqual(flags.seats?.value, { $case: 'doubleValue', value: 5 })
  t.like(await (await ofrep(sidecar, untouched, '/hours')).json(), { key: 'hours', value: '24/7' })
  t.deepEqual(watched.errors, [])
}

/** Of the other one whatever is true, soon. */
const isAnswered = async (t: ExecutionContext, { sidecar, grpc, flagd }: Asked, customerId: string): Promise<void> => {
  const customer = { tenantId: 'wild', storefrontId: 'us', customerId }
  const check = (entitlement: string) => ({ ...customer, entitlement })
  const codes = await Promise.all([
    ...['seats', 'calls', 'hours'].map((key) => codeOf(grpc.check(check(key), CALL_MS))),
    codeOf(grpc.batch([check('calls'), check('seats'), { ...untouched, entitlement: 'sso' }])),
    codeOf(grpc.list(customer)),
    codeOf(resolveAll(flagd, customer)),
    ofrep(sidecar, customer).then(({ status }) => status),
    ofrep(sidecar, customer, '/calls').then(({ status }) => status),
  ])
  const known = [Status.OK, Status.INTERNAL, Status.UNAVAILABLE, 200, 500, 503]
  t.deepEqual(
    codes.filter((code) => !known.includes(code)),
    [],
    `FUZZ_SEED=${SEED}: ${codes}`,
  )
}

/** What is answered is what the rules say of what is stored, to the last digit; or that it cannot be. */
const isAnsweredExactly = async (t: ExecutionContext, { grpc }: Asked, set: EntitlementSet): Promise<void> => {
  const key = set.grants.find(({ key: one }) => one !== '' && one.length <= 128 && one !== '\ud800')?.key
  if (key === undefined) return
  const { tenantId, storefrontId, customerId, revision } = set
  const expected = (() => {
    try {
      const { allowed, reason, limit, used, remaining, unlimited, value } = toCheckResponse(decide(set, key, 1, Date.now()), {
        revision,
        asOfMs: 0,
        stale: false,
      })
      return { allowed, reason, limit, used, remaining, unlimited, value }
    } catch {
      return undefined
    }
  })()
  const question = { tenantId, storefrontId, customerId, entitlement: key, minRevision: revision }
  if (encodeSet(set).length > MAX_SET_BYTES) {
    t.is(await codeOf(grpc.check(question, CALL_MS)), Status.UNAVAILABLE, 'what is too large to travel is not guessed at')
    return
  }
  if (expected) t.like(await grpc.check(question, CALL_MS), expected, `FUZZ_SEED=${SEED}: ${JSON.stringify(set).slice(0, 2_000)}`)
  else t.is(await codeOf(grpc.check(question, CALL_MS)), Status.INTERNAL)
}

const inProcess = async (): Promise<World> => {
  const stored = new Map<string, EntitlementSet>()
  const feed = createInProcessFeed({
    clock: systemClock,
    log,
    lookup: { getSet: async (customer) => stored.get(setKey(customer)), getClock: async () => undefined },
  })
  return {
    feed,
    publish: async (document) => {
      const set = toEntitlementSet(document as StoredEntitlementSet)
      stored.set(setKey(set), set)
      await putSetOrSay(feed, set, log)
    },
    plant: undefined,
    close: () => feed.close(),
  }
}

const overNats = async (): Promise<World> => {
  const server = await startNatsServer()
  const feed = await openKept({ url: server.url, bucket: 'any', clock: systemClock, log })
  const connection = await connect({ servers: server.url.replace('nats://', '') })
  const kv = await new Kvm(jetstream(connection)).open('any')
  return {
    feed,
    publish: async (document) => void (await putSetOrSay(feed, toEntitlementSet(document as StoredEntitlementSet), log)),
    plant: async (key, bytes) => void (await kv.put(key, bytes)),
    close: async () => {
      await feed.close()
      await connection.close()
      await server.stop()
    },
  }
}

const worlds: [name: string, start: () => Promise<World>, missing: string | undefined][] = [
  ['the in-process feed', inProcess, undefined],
  ['NATS', overNats, natsMissing],
]

for (const [name, start, lacking] of worlds) {
  const run = lacking === undefined ? test.serial : test.skip
  run(`documents and bytes at random for ${SECONDS} s, over ${name}${lacking === undefined ? '' : ` (${lacking})`}`, async (t) => {
    t.timeout(SECONDS * 1000 + 120_000)
    t.log(`FUZZ_SEED=${SEED}`)
    const unexpected: unknown[] = []
    const note = (error: unknown) => unexpected.push(error)
    process.on('uncaughtException', note)
    process.on('unhandledRejection', note)
    const world = await start()
    await world.publish(setOf('untouched'))
    const SNAPSHOT_FILE = join(mkdtempSync(join(tmpdir(), 'tollgate-any-')), 'sets.snapshot')
    const sidecars = [
      await open(world.feed, { SIDECAR_TRANSPORT: 'fast', SNAPSHOT_FILE, SNAPSHOT_EVERY_MS: '300' }),
      await open(world.feed, { SIDECAR_TRANSPORT: 'fast', SIDECAR_WORKERS: '2' }),
      await open(world.feed, { SIDECAR_TRANSPORT: 'grpc-js' }),
    ]
    const { random, below, pick, document, bytes, wildInstant } = makeDocuments(SEED)
    let [documents, planted, fresh] = [0, 0, 0]
    const until = Date.now() + SECONDS * 1000
    for (let round = 1; Date.now() < until; round += 1) {
      const customerId = `victim ${below(12)}`
      const key = setKey({ tenantId: 'wild', storefrontId: 'us', customerId })
      if (world.plant && random() < 0.4) {
        planted += 1
        if (random() < 0.1) await world.plant('clock.d2lsZA', Buffer.from(Array.from({ length: below(20) }, () => below(256))))
        else await world.plant(key, bytes(customerId, round))
      } else if (random() < 0.5) {
        documents += 1
        await world.publish(document(customerId, round, false))
      } else {
        fresh += 1
        const sound = document(`new ${round}`, 1 + below(1_000), true)
        await world.publish(sound)
        for (const asked of sidecars) await isAnsweredExactly(t, asked, toEntitlementSet(sound))
      }
      if (random() < 0.05) await codeOf(world.feed.putClock({ tenantId: 'wild', revision: round, nowMs: wildInstant() }))
      const watch =
        random() < 0.2 ? pick(sidecars).sidecar.client.watchEntitlements({ tenantId: 'wild', storefrontId: 'us', customerId, minRevision: 0n }) : undefined
      watch?.on('error', () => undefined)
      for (const asked of sidecars) {
        await isAnswered(t, asked, customerId)
        await isAnsweredAsBefore(t, asked)
      }
      watch?.cancel()
    }
    // Who watched has missed nothing, and a restart reads what the last process wrote.
    await world.publish(setOf('untouched', 2))
    await eventually(() => sidecars.every(({ watched }) => watched.revision === 2n))
    for (const { sidecar, grpc, flagd } of sidecars) {
      grpc.close()
      flagd.close()
      await sidecar.close()
    }
    const again = await open(world.feed, { SNAPSHOT_FILE })
    await isAnsweredAsBefore(t, again)
    again.grpc.close()
    again.flagd.close()
    await again.sidecar.close()
    await world.close()
    process.off('uncaughtException', note)
    process.off('unhandledRejection', note)
    t.log(`${documents} documents, ${planted} values of bytes, ${fresh} sound sets answered exactly`)
    t.deepEqual(unexpected, [])
  })
}

test('a sound set comes through the wire as it was', (t) => {
  t.log(`FUZZ_SEED=${SEED}`)
  const { document } = makeDocuments(SEED)
  for (let n = 0; n < 300; n += 1) {
    const set = toEntitlementSet(document(`c${n}`, n + 1, true))
    const isExact = (grant: Grant) => grant.key !== '\ud800' && !('limit' in grant.terms && (grant.terms.limit ?? 0) > Number.MAX_SAFE_INTEGER)
    const exact = {
      ...set,
      grants: set.grants.filter(isExact),
      usage: set.usage.filter(({ key, used }) => key !== '\ud800' && used <= Number.MAX_SAFE_INTEGER),
    }
    t.deepEqual(decodeSet(encodeSet(exact)), exact)
  }
})
