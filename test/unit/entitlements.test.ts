/** What is granted, and what that answers: `deriveGrants` and `decide`. */
import test from 'ava'
import fc from 'fast-check'
import { decide } from '../../common/entitlements/decide.ts'
import { deriveGrants, type SourceAccess } from '../../common/entitlements/derive.ts'
import type { Entitlement, EntitlementSet, Usage } from '../../common/entitlements/model.ts'
import { decodeSet, encodeSet } from '../../common/entitlements/wire.ts'

const DAY = 86_400_000
const start = Date.parse('2024-03-15T00:00:00Z')

let made = 0
const bought = (entitlements: Entitlement[], change: Partial<SourceAccess> = {}): SourceAccess => {
  made += 1
  return {
    subscriptionId: `s${made}`,
    bundleId: 'b',
    access: 'on',
    fromMs: start,
    untilMs: start + 30 * DAY,
    anchorMs: () => start,
    timeZone: 'UTC',
    entitlements,
    ...change,
  }
}

const holding = (subscriptions: SourceAccess[], usage: Usage[] = []): EntitlementSet => ({
  tenantId: 't',
  storefrontId: 's',
  customerId: 'c',
  revision: 1,
  sandbox: false,
  grants: deriveGrants(subscriptions),
  usage,
})

const flag = (enabled = true): Entitlement => ({ key: 'k', kind: 'flag', enabled })
const quota = (limit: number | null): Entitlement => ({ key: 'k', kind: 'quota', limit, per: 'month' })
const capacity = (limit: number | null): Entitlement => ({ key: 'k', kind: 'capacity', limit })
const value = (text: string): Entitlement => ({ key: 'k', kind: 'value', value: text })
const reason = (set: EntitlementSet, nowMs = start, amount = 1) => decide(set, 'k', amount, nowMs).reason

test('a grant holds from its first millisecond to the one before its last', (t) => {
  const set = holding([bought([flag()])])
  t.is(reason(set, start - 1), 'subscription_inactive')
  t.is(reason(set, start), 'granted')
  t.is(reason(set, start + 30 * DAY - 1), 'granted')
  t.is(reason(set, start + 30 * DAY), 'expired')
})

test('each refusal says why', (t) => {
  t.is(reason(holding([])), 'not_granted')
  t.is(reason(holding([bought([{ ...flag(), key: 'other' }])])), 'not_granted')
  t.is(reason(holding([bought([flag(false)])])), 'disabled')
  t.is(reason(holding([bought([flag()], { access: 'off' })])), 'subscription_inactive')
  t.is(reason(holding([bought([flag()], { access: 'revoked' })])), 'subscription_inactive')
  t.is(reason(holding([bought([flag()], { access: 'ended', untilMs: start })])), 'expired')
  t.is(reason(holding([bought([flag()], { access: 'never' })])), 'not_granted')
})

test('one overdue subscription does not block another that is paid', (t) => {
  const set = holding([bought([flag()], { access: 'off' }), bought([flag()])])
  t.is(reason(set), 'granted')
})

test('one flag that is on is enough among several; among values the newest counts', (t) => {
  t.is(reason(holding([bought([flag(false)]), bought([flag(true)])])), 'granted')
  const older = bought([value('old')], { fromMs: start - DAY })
  t.is(decide(holding([bought([value('new')]), older]), 'k', 1, start).value, 'new')
})

test('limits add up, and one unlimited makes all unlimited', (t) => {
  t.like(decide(holding([bought([quota(10)]), bought([quota(5)])]), 'k', 15, start), { allowed: true, limit: 15 })
  t.like(decide(holding([bought([capacity(10)]), bought([capacity(null)])]), 'k', 1_000, start), { allowed: true, unlimited: true, limit: undefined })
})

test('use counts until its period is over, and use of a capacity until it is given back', (t) => {
  const until = start + 31 * DAY
  const used = holding([bought([quota(10)], { untilMs: start + 90 * DAY })], [{ key: 'k', used: 8, untilMs: until }])
  t.like(decide(used, 'k', 2, start), { allowed: true, used: 8, remaining: 2, resetsAtMs: until })
  t.like(decide(used, 'k', 3, start), { allowed: false, reason: 'limit_exceeded' })
  t.like(decide(used, 'k', 3, until), { allowed: true, used: 0, resetsAtMs: Date.parse('2024-05-15T00:00:00Z') })
  const seats = holding([bought([capacity(5)])], [{ key: 'k', used: 7 }])
  t.like(decide(seats, 'k', 1, start), { allowed: false, used: 7, remaining: 0 })
})

test('access ends when the last of its grants ends, or at an unknown time', (t) => {
  t.is(decide(holding([bought([flag()]), bought([flag()], { untilMs: start + 60 * DAY })]), 'k', 1, start).validUntilMs, start + 60 * DAY)
  const { untilMs: _, ...open } = bought([flag()])
  t.is(decide(holding([bought([flag()]), open]), 'k', 1, start).validUntilMs, undefined)
})

test('one ended subscription per key is remembered, and none where one is alive', (t) => {
  const ended = Array.from({ length: 50 }, (_, n) => bought([flag()], { access: 'ended', untilMs: start + n }))
  const set = holding(ended)
  t.is(set.grants.length, 1)
  t.is(set.grants[0]?.untilMs, start + 49)
  t.is(holding([...ended, bought([flag()], { access: 'off' })]).grants.length, 1)
})

const anyEntitlement = fc.oneof(
  fc.record({ key: fc.constantFrom('a', 'b', 'c'), kind: fc.constant('flag' as const), enabled: fc.boolean() }),
  fc.record(
    { key: fc.constantFrom('a', 'b', 'c'), kind: fc.constant('capacity' as const), limit: fc.option(fc.nat()), overage: fc.constant('allow' as const) },
    { requiredKeys: ['key', 'kind', 'limit'] },
  ),
  fc.record(
    {
      key: fc.constantFrom('a', 'b', 'c'),
      kind: fc.constant('quota' as const),
      limit: fc.option(fc.nat()),
      per: fc.constantFrom('day' as const, 'month' as const),
      overage: fc.constant('allow' as const),
    },
    { requiredKeys: ['key', 'kind', 'limit', 'per'] },
  ),
  fc.record({ key: fc.constantFrom('a', 'b', 'c'), kind: fc.constant('value' as const), value: fc.string() }),
)
const anySubscription = fc.record({
  subscriptionId: fc.uuid(),
  bundleId: fc.string(),
  access: fc.constantFrom('on' as const, 'off' as const, 'ended' as const, 'revoked' as const, 'never' as const),
  fromMs: fc.integer({ min: start - 100 * DAY, max: start + 100 * DAY }),
  untilMs: fc.integer({ min: start - 100 * DAY, max: start + 200 * DAY }),
  anchorMs: fc.constant(() => start),
  timeZone: fc.constant('UTC'),
  entitlements: fc.uniqueArray(anyEntitlement, { selector: ({ key }) => key }),
})

test('derivation does not depend on the order of what is stored, and survives the wire', (t) => {
  fc.assert(
    fc.property(fc.uniqueArray(anySubscription, { selector: ({ subscriptionId }) => subscriptionId, maxLength: 8 }), (subscriptions) => {
      t.deepEqual(deriveGrants(subscriptions), deriveGrants(subscriptions.toReversed()))
      const set = holding(subscriptions)
      t.deepEqual(decodeSet(encodeSet(set)), set)
    }),
  )
})

const anyGrant = fc
  .tuple(anySubscription, fc.constantFrom(undefined, 'floor' as const, 'replace' as const, 'deny' as const))
  .map(([{ subscriptionId: id, ...one }, mode]) => ({
    ...one,
    subscriptionId: '',
    bundleId: '',
    source: { type: 'manual' as const, id },
    access: 'on' as const,
    ...(mode ? { mode } : {}),
  }))
/** As in a storefront: a key has one kind. */
const ofOneKind = (sources: SourceAccess[], kind: Entitlement['kind']) =>
  sources.map((one) => ({ ...one, entitlements: one.entitlements.filter((entitlement) => entitlement.kind === kind) }))
const anyTime = fc.integer({ min: start - 100 * DAY, max: start + 200 * DAY })
const anyKind = fc.constantFrom('flag' as const, 'quota' as const, 'capacity' as const, 'value' as const)
const anySources = fc.uniqueArray(fc.oneof(anySubscription, anyGrant), {
  selector: (one) => ('source' in one ? one.source.id : one.subscriptionId),
  maxLength: 8,
})

test('the order in which sources arrive never matters, and they survive the wire', (t) => {
  fc.assert(
    fc.property(anySources, fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })), anyTime, (sources, random, nowMs) => {
      const shuffled = sources.map((one) => [random.next().value, one] as const).toSorted(([a], [b]) => a - b)
      const set = holding(sources)
      t.deepEqual(holding(shuffled.map(([, one]) => one)), set)
      t.deepEqual(decodeSet(encodeSet(set)), set)
      for (const key of ['a', 'b', 'c']) t.deepEqual(decide(decodeSet(encodeSet(set)), key, 1, nowMs), decide(set, key, 1, nowMs))
    }),
  )
})

test('another source takes no access away, unless it denies or replaces; one that denies always does', (t) => {
  fc.assert(
    fc.property(anySources, anyGrant, anyKind, anyTime, fc.nat(), fc.integer({ min: 1, max: 1_000 }), (any, more, kind, nowMs, used, amount) => {
      // What has ended did so in the past.
      const sources = any.filter((one) => one.access !== 'ended' || one.untilMs <= nowMs)
      const usage = sources.flatMap((one): Usage[] => {
        const whose = 'source' in one ? { subscriptionId: '', sourceId: one.source.id } : { subscriptionId: one.subscriptionId }
        return kind === 'quota' ? ['a', 'b', 'c'].map((key) => ({ key, used: used % 5_000, untilMs: nowMs + DAY, ...whose })) : []
      })
      const taken: Usage[] = kind === 'capacity' ? ['a', 'b', 'c'].map((key) => ({ key, used })) : usage
      const before = holding(ofOneKind(sources, kind), taken)
      const after = holding(ofOneKind([...sources, more], kind), taken)
      const isCurrent = more.fromMs <= nowMs && nowMs < more.untilMs
      for (const key of ['a', 'b', 'c']) {
        const [was, is] = [decide(before, key, amount, nowMs), decide(after, key, amount, nowMs)]
        const concerns = isCurrent && more.entitlements.some((one) => one.key === key && one.kind === kind)
        if (more.mode === 'deny' && concerns) t.is(is.reason, 'blocked')
        else if (more.mode !== 'replace' || !concerns) {
          t.true(is.allowed || !was.allowed, `${JSON.stringify(was)} became ${JSON.stringify(is)}`)
          t.true(is.unlimited || was.unlimited === false)
          t.true(is.unlimited || (is.remaining ?? 0) >= (was.remaining ?? 0))
        }
      }
    }),
    { numRuns: 1_000 },
  )
})

test('a denied key is denied to a reader that knows no modes, whatever else there is', (t) => {
  fc.assert(
    fc.property(anySources, anyGrant, anyKind, anyTime, (sources, more, kind, nowMs) => {
      const set = holding(ofOneKind([...sources, { ...more, mode: 'deny' as const }], kind))
      const grants = set.grants.map(({ mode: _, source: __, deniedKind: ___, ...known }) => known)
      if (more.fromMs > nowMs || nowMs >= more.untilMs) return
      for (const { key } of more.entitlements.filter((one) => one.kind === kind)) t.false(decide({ grants, usage: [] }, key, 1, nowMs).allowed)
    }),
  )
})

test('a flag is allowed exactly when some subscription that is on, and in its time, has it on', (t) => {
  fc.assert(
    fc.property(fc.array(anySubscription, { maxLength: 8 }), fc.integer({ min: start - 100 * DAY, max: start + 200 * DAY }), (subscriptions, nowMs) => {
      // What has ended did so in the past.
      const possible = subscriptions.filter((one) => one.access !== 'ended' || one.untilMs <= nowMs)
      const flags = possible.map((one) => ({ ...one, entitlements: one.entitlements.filter(({ kind }) => kind === 'flag') }))
      for (const key of ['a', 'b', 'c']) {
        const expected = flags.some(
          (one) =>
            one.access === 'on' &&
            one.fromMs <= nowMs &&
            nowMs < one.untilMs &&
            one.entitlements.some((entitlement) => entitlement.key === key && entitlement.kind === 'flag' && entitlement.enabled),
        )
        t.is(decide(holding(flags), key, 1, nowMs).allowed, expected)
      }
    }),
  )
})
