/** Entitlement sets and test clocks as bytes: what is read is what was written, and what this version cannot read is refused. */
import test from 'ava'
import { type EntitlementSet, type Grant, type GrantTerms, MAX_COUNT, type Usage } from '../../common/entitlements/model.ts'
import { decodeClock, decodeSet, encodeClock, encodeSet } from '../../common/entitlements/wire.ts'
import * as wire from '../../proto/gen/tollgate/feed/v1/feed.ts'

const untilMs = Date.parse('2024-04-01T00:00:00Z')
const grant = (terms: GrantTerms, change: Partial<Grant> = {}): Grant => ({
  key: 'k',
  subscriptionId: 's',
  bundleId: 'b',
  fromMs: 5,
  inactive: false,
  terms,
  ...change,
})
const set = (change: Partial<EntitlementSet> = {}): EntitlementSet => ({
  tenantId: 't',
  storefrontId: 'shop',
  customerId: 'c',
  revision: 7,
  sandbox: false,
  grants: [],
  usage: [],
  ...change,
})
const quota = (limit: number | null): GrantTerms => ({ kind: 'quota', limit, per: 'month', anchorMs: 3, timeZone: 'Europe/Berlin' })

const sets: [title: string, set: EntitlementSet][] = [
  ['a set of nothing', set()],
  ['a sandbox', set({ sandbox: true })],
  ['a customer who is no more', set({ removed: true })],
  ['flags, on and off', set({ grants: [grant({ kind: 'flag', enabled: true }), grant({ kind: 'flag', enabled: false })] })],
  ['a quota, of none, and unlimited', set({ grants: [5, 0, null].map((limit) => grant(quota(limit))) })],
  ['a capacity, of none, and unlimited', set({ grants: [5, 0, null].map((limit) => grant({ kind: 'capacity', limit })) })],
  ['the largest count', set({ grants: [grant(quota(MAX_COUNT))], usage: [{ key: 'k', used: MAX_COUNT }] })],
  ['values, one of them empty', set({ grants: [grant({ kind: 'value', value: 'gold' }), grant({ kind: 'value', value: '' })] })],
  ['a grant with an end', set({ grants: [grant({ kind: 'flag', enabled: true }, { untilMs, inactive: true })] })],
  [
    'usage of a capacity, of a quota, and of one subscription',
    set({
      usage: [
        { key: 'seats', used: 0 },
        { key: 'k', used: 2, untilMs },
        { key: 'k', used: 3, untilMs, subscriptionId: 's' },
      ],
    }),
  ],
]
for (const [title, written] of sets) test(`read as it was written: ${title}`, (t) => t.deepEqual(decodeSet(encodeSet(written)), written))

test('a clock is read as it was written', (t) => {
  const clock = { tenantId: 't', revision: 7, nowMs: untilMs }
  t.deepEqual(decodeClock(encodeClock(clock)), clock)
})

test('the window of a quota that a reader has worked out is not written', (t) => {
  const kept = { ...quota(5), window: { startMs: 0, endMs: 1 } } as GrantTerms
  t.deepEqual(encodeSet(set({ grants: [grant(kept)] })), encodeSet(set({ grants: [grant(quota(5))] })))
})

/** What another version, or somebody else, has written. */
const bytes = (change: Partial<wire.EntitlementSet>): Uint8Array =>
  wire.EntitlementSet.encode({
    tenantId: 't',
    storefrontId: 'shop',
    customerId: 'c',
    revision: 7n,
    sandbox: false,
    grants: [],
    usage: [],
    removed: false,
    usageSeq: 0n,
    ...change,
  }).finish()
const wireGrant = (terms: wire.Grant['terms']): wire.Grant => ({
  key: 'k',
  subscriptionId: 's',
  bundleId: 'b',
  fromMs: 5n,
  untilMs: undefined,
  inactive: false,
  terms,
  source: wire.Source.SOURCE_UNSPECIFIED,
  sourceId: '',
  mode: wire.Mode.MODE_UNSPECIFIED,
  deniedKind: '',
})

test('a count that is too large to be exact is read as the largest that is', (t) => {
  const large = BigInt(MAX_COUNT) + 2n
  const read = decodeSet(
    bytes({ grants: [wireGrant({ $case: 'capacity', value: { limit: large, overage: false } })], usage: [{ key: 'k', used: large, sourceId: '' }] }),
  )
  t.deepEqual(read.grants, [grant({ kind: 'capacity', limit: MAX_COUNT })])
  t.deepEqual(read.usage, [{ key: 'k', used: MAX_COUNT }] satisfies Usage[])
})

test('a grant of a kind or an interval of a newer version is refused, and not read as something else', (t) => {
  const newer = { $case: 'quota', value: { limit: 5n, per: 'fortnight', anchorMs: 3n, timeZone: 'UTC', overage: false } } as const
  t.throws(() => decodeSet(bytes({ grants: [wireGrant(newer)] })), { instanceOf: TypeError, message: 'feed: unknown interval "fortnight"' })
  t.throws(() => decodeSet(bytes({ grants: [wireGrant(undefined)] })), {
    instanceOf: TypeError,
    message: 'feed: a grant has a kind that this version does not know',
  })
})
