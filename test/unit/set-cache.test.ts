import test from 'ava'
import fc from 'fast-check'
import { intervals } from '../../common/calendar.ts'
import { type EntitlementSet, grantModes, grantSources, kinds, sourceIdOf } from '../../common/entitlements/model.ts'
import { decodeSet, encodeSet } from '../../common/entitlements/wire.ts'
import { SetCache } from '../../sidecar/replica/cache/set-cache.ts'

const MiB = 1024 * 1024
const id = fc.oneof(
  fc.constantFrom('a', 'b', 'acme', 'us-store', 'sub_01'),
  fc.string({ minLength: 1, maxLength: 128 }),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }),
)
const instant = fc.integer({ min: -1_000_000, max: 8_000_000_000_000 })
const limit = fc.option(fc.maxSafeNat())
const overage = fc.constant('allow' as const)
const terms = fc.oneof(
  fc.record({ kind: fc.constant('flag' as const), enabled: fc.boolean() }),
  fc.record(
    {
      kind: fc.constant('quota' as const),
      limit,
      per: fc.constantFrom(...intervals),
      anchorMs: instant,
      timeZone: fc.constantFrom('UTC', 'Europe/Berlin'),
      overage,
    },
    { requiredKeys: ['kind', 'limit', 'per', 'anchorMs', 'timeZone'] },
  ),
  fc.record({ kind: fc.constant('capacity' as const), limit, overage }, { requiredKeys: ['kind', 'limit'] }),
  fc.record({ kind: fc.constant('value' as const), value: fc.string() }),
)
/** Of a subscription, or given by hand. */
const source = fc.oneof(
  fc.record({ subscriptionId: id, bundleId: id }),
  fc.record(
    {
      subscriptionId: fc.constant(''),
      bundleId: fc.constant(''),
      source: fc.record({ type: fc.constantFrom(...grantSources), id }),
      mode: fc.constantFrom(...grantModes),
      deniedKind: fc.constantFrom(...kinds),
    },
    { requiredKeys: ['subscriptionId', 'bundleId', 'source'] },
  ),
)
const grantOfAny = fc.record(
  { key: id, fromMs: instant, untilMs: instant, inactive: fc.boolean(), terms },
  { requiredKeys: ['key', 'fromMs', 'inactive', 'terms'] },
)
const grant = fc.tuple(grantOfAny, source).map(([one, whose]) => ({ ...one, ...whose }))
const usage = fc.record({ key: id, used: fc.maxSafeNat(), untilMs: instant }, { requiredKeys: ['key', 'used'] })
const anySet: fc.Arbitrary<EntitlementSet> = fc.record(
  {
    tenantId: id,
    storefrontId: id,
    customerId: id,
    revision: fc.maxSafeNat(),
    sandbox: fc.boolean(),
    grants: fc.array(grant, { maxLength: 12 }),
    usage: fc.array(usage, { maxLength: 4 }),
    usageSeq: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  },
  { requiredKeys: ['tenantId', 'storefrontId', 'customerId', 'revision', 'sandbox', 'grants', 'usage'] },
) as fc.Arbitrary<EntitlementSet>

/** Without what was worked out, and without the difference between absent and undefined. */
const plain = (set: EntitlementSet | undefined) => JSON.parse(JSON.stringify(set ?? null, (key, value) => (key === 'window' ? undefined : value)))

test('a set comes back as it went in, whatever is in it, and whatever else is held', (t) => {
  fc.assert(
    fc.property(fc.array(anySet, { minLength: 1, maxLength: 20 }), (sets) => {
      const cache = new SetCache(4 * MiB)
      const model = new Map<string, EntitlementSet>()
      for (const [n, set] of sets.entries()) {
        cache.set(set, n)
        model.set(JSON.stringify([set.tenantId, set.storefrontId, set.customerId]), set)
      }
      for (const set of model.values()) {
        t.deepEqual(plain(cache.get(set)?.set), plain(set))
        t.is(cache.revisionOf(set), set.revision)
      }
      t.is(cache.scan(cache.begin(), 1_000).found.length, model.size)
      t.is(cache.stats.sets, model.size)
    }),
    { numRuns: 300 },
  )
})

test('what was used of a quota stays with the subscription or the grant that it was taken from', (t) => {
  fc.assert(
    fc.property(anySet, fc.maxSafeNat(), (set, used) => {
      const usage = set.grants.map(({ key, subscriptionId, source: given }) => ({ key, used, subscriptionId, ...(given ? { sourceId: given.id } : {}) }))
      const cache = new SetCache(4 * MiB)
      cache.set({ ...set, usage }, 1)
      // Sources whose ids are alike are not told apart: a grant and a subscription never have the same.
      const distinct = new Map(set.grants.map((one) => [sourceIdOf(one), Boolean(one.source)]))
      fc.pre(set.grants.every((one) => distinct.get(sourceIdOf(one)) === Boolean(one.source)))
      t.deepEqual(plain(cache.get(set)?.set), plain({ ...set, usage }))
      t.deepEqual(plain(decodeSet(encodeSet({ ...set, usage }))), plain({ ...set, usage }))
    }),
  )
})

test('parts that sets share are kept once, and freed with the last of them', (t) => {
  const cache = new SetCache(4 * MiB)
  const of = (n: number): EntitlementSet => ({
    tenantId: 'acme',
    storefrontId: 'us',
    customerId: `c${n}`,
    revision: 1,
    sandbox: false,
    grants: Array.from({ length: 10 }, (_, g) => ({
      key: `key ${g}`,
      subscriptionId: `s${n}`,
      bundleId: 'pro',
      fromMs: 0,
      inactive: false,
      terms: { kind: 'capacity', limit: g },
    })),
    usage: [{ key: 'key 1', used: n }],
  })
  for (let n = 0; n < 1_000; n += 1) cache.set(of(n), 0)
  t.is(cache.dictionary.size, 10)
  for (let n = 0; n < 1_000; n += 1) cache.set({ ...of(n), grants: of(n).grants.slice(0, 5) }, 0)
  t.is(cache.dictionary.size, 5)
  t.true(cache.ring.usedBytes / cache.stats.sets < 200)
  for (let n = 0; n < 999; n += 1) cache.delete(of(n))
  t.is(cache.dictionary.size, 5)
  cache.delete(of(999))
  t.is(cache.dictionary.size, 0)
  t.is(cache.dictionary.keyId('key 1'), undefined)
})

test('a set that only changes, and nobody asks about, is evicted like any other', (t) => {
  const cache = new SetCache(MiB)
  const of = (customerId: string): EntitlementSet => ({ tenantId: 'acme', storefrontId: 'us', customerId, revision: 1, sandbox: false, grants: [], usage: [] })
  for (let n = 0; n < 500; n += 1) cache.set(of(`old ${n}`), 0)
  for (let n = 0; cache.stats.evictions < 10_000; n += 1) {
    cache.revisionOf(of(`old ${n % 500}`))
    cache.set(of(`new ${n}`), 0)
  }
  t.is(Array.from({ length: 500 }, (_, n) => cache.revisionOf(of(`old ${n}`))).filter((revision) => revision > 0).length, 0)
})

test('no two customers have one key, however long their ids are', (t) => {
  const cache = new SetCache(4 * MiB)
  const long = '\u{20000}'.repeat(128)
  const of = (end: string, revision: number): EntitlementSet => ({
    tenantId: long,
    storefrontId: long,
    customerId: `${'\u{20000}'.repeat(127)}${end}`,
    revision,
    sandbox: false,
    grants: [],
    usage: [],
  })
  cache.set(of('a', 1), 0)
  t.is(cache.get(of('b', 0)), undefined)
  cache.set(of('b', 2), 0)
  t.deepEqual(plain(cache.get(of('a', 0))?.set), plain(of('a', 1)))
})

test('customers who have nothing in common stay within the bound too', (t) => {
  const cache = new SetCache(4 * MiB)
  const of = (n: number, text: string): EntitlementSet => ({
    tenantId: 'acme',
    storefrontId: 'us',
    customerId: `c${n}`,
    revision: 1,
    sandbox: false,
    grants: Array.from({ length: 5 }, (_, g) => ({
      key: `key ${g}`,
      subscriptionId: `s${n}`,
      bundleId: 'pro',
      fromMs: 0,
      inactive: false,
      terms: { kind: 'value', value: `${text} ${n} ${g}` },
    })),
    usage: [],
  })
  for (let n = 0; n < 10_000; n += 1) {
    cache.set(of(n % 2_000, `v${Math.floor(n / 2_000)}`), 0)
    if (n % 100 === 0) t.true(cache.stats.usedBytes <= cache.stats.maxBytes)
  }
  t.true(cache.stats.sets > 200)
  t.is(cache.dictionary.size, 5 * cache.stats.sets)
  t.is((cache.get(of(9_999 % 2_000, '')) as { set: EntitlementSet }).set.grants.length, 5)
  // What they shared is theirs alone, and goes with them: written again in place it is not forgotten either.
  for (let n = 0; n < 2_000; n += 1) cache.set({ ...of(n, ''), grants: of(0, 'all').grants }, 0)
  t.is(cache.stats.sets, 2_000)
  t.is(cache.dictionary.size, 5)
  cache.clear()
  t.deepEqual([cache.stats.sets, cache.dictionary.size, cache.dictionary.bytes], [0, 0, 0])
})

test('a set that is too large for a record is held all the same, and one that shrinks goes back', (t) => {
  const cache = new SetCache(4 * MiB)
  const customer = { tenantId: 'acme', storefrontId: 'us', customerId: 'large' }
  const of = (count: number): EntitlementSet => ({
    ...customer,
    revision: count,
    sandbox: false,
    grants: Array.from({ length: count }, (_, n) => ({
      key: 'seats',
      subscriptionId: `s${n}`,
      bundleId: 'pro',
      fromMs: 0,
      inactive: false,
      terms: { kind: 'capacity', limit: 1 },
    })),
    usage: [],
  })
  for (const count of [3, 600, 2, 700, 0]) {
    cache.set(of(count), 0)
    t.is(cache.get(customer)?.set.grants.length, count)
    t.is(cache.revisionOf(customer), count)
    t.is(cache.stats.sets, 1)
  }
  t.is(cache.dictionary.size, 0)
})
