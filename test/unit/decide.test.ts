/** Each rule of `decide` by its smallest example: which grants count, which usage counts against them, and until when. */
import test from 'ava'
import { type Decision, decide, decideAll } from '../../common/entitlements/decide.ts'
import type { Grant, GrantTerms, Kind, Usage } from '../../common/entitlements/model.ts'
import { quotaWindow } from '../../common/entitlements/quota-window.ts'

const at = Date.parse('2024-03-15T00:00:00Z')
const HOUR = 3_600_000
const monthEnd = Date.parse('2024-04-01T00:00:00Z')

let made = 0
const grant = (terms: GrantTerms, change: Partial<Grant> = {}): Grant => {
  made += 1
  return { key: 'k', subscriptionId: `s${made}`, bundleId: `b${made}`, fromMs: 0, inactive: false, terms, ...change }
}
const flag = (enabled: boolean): GrantTerms => ({ kind: 'flag', enabled })
const value = (text: string): GrantTerms => ({ kind: 'value', value: text })
const capacity = (limit: number | null): GrantTerms => ({ kind: 'capacity', limit })
const quota = (limit: number | null): GrantTerms => ({ kind: 'quota', limit, per: 'month', anchorMs: Date.parse('2024-01-01T00:00:00Z'), timeZone: 'UTC' })
const soft = (terms: GrantTerms): GrantTerms => ({ ...terms, overage: 'allow' }) as GrantTerms
const of = (subscriptionId: string): Partial<Grant> => ({ subscriptionId })
const byHand = (id: string, mode?: Grant['mode'], change: Partial<Grant> = {}): Partial<Grant> => ({
  subscriptionId: '',
  bundleId: '',
  source: { type: 'manual', id },
  mode,
  ...change,
})
/** As it is derived: of another kind than its key. */
const denial = (kind: Kind, change: Partial<Grant> = {}): Grant => grant(capacity(0), byHand('deny', 'deny', { deniedKind: kind, ...change }))

interface Case {
  title: string
  grants: Grant[]
  usage?: Usage[]
  amount?: number
  is: Partial<Decision>
}

/** Usage of the key `k` that runs for two more hours. */
const used = (count: number, change: Partial<Usage> = {}): Usage => ({ key: 'k', used: count, untilMs: at + 2 * HOUR, ...change })
/** Usage of a capacity, which has no end. */
const taken = (count: number, key = 'k'): Usage => ({ key, used: count })

const cases: Case[] = [
  { title: 'a value is granted as it is', grants: [grant(value('gold'))], is: { allowed: true, reason: 'granted', kind: 'value', value: 'gold' } },
  { title: 'of two values the youngest counts', grants: [grant(value('gold')), grant(value('blue'))], is: { value: 'blue' } },
  {
    title: 'a flag that is off names the bundle that says so',
    grants: [grant(flag(false), { bundleId: 'off' })],
    is: { allowed: false, reason: 'disabled', bundleId: 'off', kind: 'flag' },
  },
  {
    title: 'a flag that is on in any bundle names that bundle',
    grants: [grant(flag(true), { bundleId: 'on' }), grant(flag(false), { bundleId: 'off' })],
    is: { allowed: true, reason: 'granted', bundleId: 'on' },
  },
  {
    title: 'a flag that is off says nothing against a value of the same key',
    grants: [grant(value('gold')), grant(flag(false))],
    is: { allowed: true, kind: 'value', value: 'gold' },
  },
  {
    title: 'a flag that is on does, if it is the youngest',
    grants: [grant(value('gold')), grant(flag(true), { untilMs: at + HOUR })],
    is: { allowed: true, kind: 'flag', value: undefined, validUntilMs: at + HOUR },
  },
  {
    title: 'a value that is the youngest counts before a flag, and lasts as long as itself',
    grants: [grant(flag(true)), grant(value('gold'), { untilMs: at + HOUR })],
    is: { kind: 'value', value: 'gold', validUntilMs: at + HOUR },
  },
  {
    title: 'access lasts as long as the longest of its grants',
    grants: [grant(flag(true), { untilMs: at + 2 * HOUR }), grant(flag(true), { untilMs: at + HOUR })],
    is: { validUntilMs: at + 2 * HOUR },
  },
  {
    title: 'one grant without an end is access without an end',
    grants: [grant(flag(true)), grant(flag(true), { untilMs: at + HOUR })],
    is: { validUntilMs: undefined },
  },

  {
    title: 'what is given by hand names no subscription and no bundle',
    grants: [grant(flag(true), byHand('g'))],
    is: { allowed: true, reason: 'granted', bundleId: undefined, subscriptionId: undefined },
  },
  {
    title: 'a denial beats everything, and is of the kind of its key',
    grants: [grant(quota(null)), grant(quota(5), byHand('r', 'replace')), denial('quota')],
    is: { allowed: false, reason: 'blocked', kind: 'quota', limit: undefined, unlimited: false, validUntilMs: undefined },
  },
  {
    title: 'a denial that is over, or is still to come, denies nothing',
    grants: [grant(flag(true)), denial('flag', { untilMs: at }), denial('flag', { fromMs: at + 1 })],
    is: { allowed: true, reason: 'granted' },
  },
  { title: 'a denial alone is no reason once it is over', grants: [denial('flag', { untilMs: at })], is: { allowed: false, reason: 'not_granted' } },
  {
    title: 'what will be given by hand is not granted yet',
    grants: [grant(flag(true), byHand('g', undefined, { fromMs: at + 1 }))],
    is: { reason: 'not_granted' },
  },
  {
    title: 'what was given by hand has expired',
    grants: [grant(flag(true), byHand('g', undefined, { untilMs: at }))],
    is: { reason: 'expired', validUntilMs: at },
  },
  {
    title: 'the youngest replacement counts alone, while access lasts as long as that of any',
    grants: [grant(quota(100)), grant(quota(9), byHand('a', 'replace', { untilMs: at + HOUR })), grant(quota(7), byHand('b', 'replace')), grant(quota(50))],
    is: { limit: 7, remaining: 7, validUntilMs: undefined, subscriptionId: undefined },
  },
  {
    title: 'what was used elsewhere is not taken from a replacement',
    grants: [grant(quota(100), of('s')), grant(quota(7), byHand('g', 'replace'))],
    usage: [used(90, { subscriptionId: 's' }), used(3, { subscriptionId: '', sourceId: 'g' })],
    is: { limit: 7, used: 3, remaining: 4 },
  },
  { title: 'a flag is replaced', grants: [grant(flag(true)), grant(flag(false), byHand('g', 'replace'))], is: { allowed: false, reason: 'disabled' } },
  { title: 'a value is replaced', grants: [grant(value('gold'), byHand('g', 'replace')), grant(value('blue'))], is: { value: 'gold' } },
  {
    title: 'a floor raises the sum to itself',
    grants: [grant(capacity(3)), grant(capacity(2)), grant(capacity(9), byHand('g', 'floor'))],
    usage: [taken(6)],
    is: { limit: 9, used: 6, remaining: 3 },
  },
  {
    title: 'a floor below the sum changes nothing',
    grants: [grant(capacity(3)), grant(capacity(2)), grant(capacity(4), byHand('g', 'floor'))],
    is: { limit: 5, remaining: 5 },
  },
  {
    title: 'of floors the highest counts, and they do not add up',
    grants: [grant(capacity(9), byHand('a', 'floor')), grant(capacity(4), byHand('b', 'floor')), grant(capacity(2))],
    is: { limit: 9 },
  },
  {
    title: 'a floor without a limit is unlimited',
    grants: [grant(quota(3)), grant(quota(null), byHand('g', 'floor'))],
    is: { unlimited: true, limit: undefined },
  },
  { title: 'an unlimited sum stands above any floor', grants: [grant(quota(null)), grant(quota(3), byHand('g', 'floor'))], is: { unlimited: true } },
  {
    title: 'what a floor adds is counted as a quota of its own',
    grants: [grant(quota(100), of('s')), grant(quota(150), byHand('g', 'floor'))],
    usage: [used(100, { subscriptionId: 's' }), used(20, { subscriptionId: '', sourceId: 'g' })],
    is: { limit: 150, used: 120, remaining: 30, subscriptionId: 's' },
  },
  {
    title: 'a floor of the largest count adds what is missing from it',
    grants: [grant(capacity(1)), grant(capacity(Number.MAX_SAFE_INTEGER), byHand('g', 'floor'))],
    is: { limit: Number.MAX_SAFE_INTEGER },
  },
  { title: 'a flag with a floor is on', grants: [grant(flag(false)), grant(flag(true), byHand('g', 'floor'))], is: { allowed: true } },
  { title: 'a flag whose floor is off stays on', grants: [grant(flag(true)), grant(flag(false), byHand('g', 'floor'))], is: { allowed: true } },
  {
    title: 'a floor of a value counts where nothing adds',
    grants: [grant(value('a'), byHand('a', 'floor')), grant(value('b'), byHand('b', 'floor'))],
    is: { value: 'b' },
  },
  { title: 'and not where something does', grants: [grant(value('gold')), grant(value('iron'), byHand('g', 'floor'))], is: { value: 'gold' } },
  {
    title: 'a reader that knows no modes refuses what is denied, since the last grant of a key says of which kind it is',
    grants: [grant(flag(true)), grant(quota(null)), { ...denial('flag'), mode: undefined, source: undefined, deniedKind: undefined }],
    is: { allowed: false, reason: 'limit_exceeded' },
  },

  { title: 'a capacity that is free is granted', grants: [grant(capacity(3))], is: { allowed: true, reason: 'granted', limit: 3, used: 0, remaining: 3 } },
  {
    title: 'a capacity to the last one',
    grants: [grant(capacity(3))],
    usage: [taken(2)],
    is: { allowed: true, reason: 'granted', limit: 3, used: 2, remaining: 1, unlimited: false },
  },
  { title: 'and not beyond', grants: [grant(capacity(3))], usage: [taken(2)], amount: 2, is: { allowed: false, reason: 'limit_exceeded', remaining: 1 } },
  { title: 'a capacity that has shrunk has nothing left', grants: [grant(capacity(3))], usage: [taken(5)], is: { used: 5, remaining: 0 } },
  {
    title: 'a capacity counts its own key alone, and nothing that a quota of the key once counted',
    grants: [grant(capacity(3))],
    usage: [taken(1), taken(1, 'other'), used(1), used(1, { key: 'other' })],
    is: { used: 1, remaining: 2 },
  },
  {
    title: 'one unlimited capacity makes all unlimited, and goes on counting',
    grants: [grant(capacity(3)), grant(capacity(null))],
    usage: [taken(7)],
    amount: 100,
    is: { allowed: true, unlimited: true, used: 7, limit: undefined, remaining: undefined },
  },
  { title: 'a quota is older than the capacity that counts now', grants: [grant(quota(5)), grant(capacity(3))], is: { kind: 'capacity', limit: 3 } },

  {
    title: 'a quota that nothing is used of is reset when its period ends',
    grants: [grant(quota(5))],
    is: { allowed: true, reason: 'granted', kind: 'quota', limit: 5, used: 0, remaining: 5, resetsAtMs: monthEnd },
  },
  {
    title: 'what is counted for a subscription is taken from its quota, until the end that was stored with it',
    grants: [grant(quota(5), of('a'))],
    usage: [used(2, { subscriptionId: 'a' })],
    is: { limit: 5, used: 2, remaining: 3, resetsAtMs: at + 2 * HOUR },
  },
  {
    title: 'several counts of one subscription add up, and the first to end is when some of it is reset',
    grants: [grant(quota(5), of('a'))],
    usage: [used(1, { subscriptionId: 'a', untilMs: at + 3 * HOUR }), used(1, { subscriptionId: 'a', untilMs: at + HOUR }), used(1, { subscriptionId: 'a' })],
    is: { used: 3, remaining: 2, resetsAtMs: at + HOUR },
  },
  {
    title: 'a count of nothing says nothing about the period',
    grants: [grant(quota(5), of('a'))],
    usage: [used(0, { subscriptionId: 'a' })],
    is: { used: 0, remaining: 5, resetsAtMs: monthEnd },
  },
  {
    title: 'what is over, of another key, or of another kind, is not counted',
    grants: [grant(quota(5), of('a'))],
    usage: [
      used(1, { subscriptionId: 'a', untilMs: at }),
      used(1, { subscriptionId: 'a', key: 'other' }),
      { key: 'k', used: 1, subscriptionId: 'a' },
      used(1, { untilMs: at }),
      used(1, { key: 'other' }),
      taken(1),
    ],
    is: { used: 0, remaining: 5, resetsAtMs: monthEnd },
  },
  {
    title: 'each subscription uses up its own quota',
    grants: [grant(quota(2), of('a')), grant(quota(3), of('b'))],
    usage: [used(9, { subscriptionId: 'a' }), used(1, { subscriptionId: 'b', untilMs: at + HOUR })],
    is: { limit: 5, used: 10, remaining: 2, resetsAtMs: at + HOUR },
  },
  {
    title: 'what is counted for no subscription is taken from all that is left',
    grants: [grant(quota(2), of('a')), grant(quota(3), of('b'))],
    usage: [used(1, { subscriptionId: 'a' }), used(3)],
    is: { limit: 5, used: 4, remaining: 1, resetsAtMs: at + 2 * HOUR },
  },
  {
    title: 'and a count for no subscription is the period of the only quota',
    grants: [grant(quota(5), of('a'))],
    usage: [used(1, { untilMs: monthEnd + HOUR })],
    is: { used: 1, remaining: 4, resetsAtMs: monthEnd + HOUR },
  },
  {
    title: 'of several quotas, the one that ends first',
    grants: [grant(quota(5), of('a')), grant(quota(5), of('b'))],
    usage: [used(1, { untilMs: monthEnd + HOUR })],
    is: { used: 1, remaining: 9, resetsAtMs: monthEnd },
  },
  {
    title: 'a count of nothing for no subscription says nothing about the period',
    grants: [grant(quota(5), of('a'))],
    usage: [used(0)],
    is: { used: 0, remaining: 5, resetsAtMs: monthEnd },
  },
  {
    title: 'more than all of it leaves nothing',
    grants: [grant(quota(5), of('a'))],
    usage: [used(7)],
    is: { allowed: false, reason: 'limit_exceeded', used: 7, remaining: 0 },
  },
  {
    title: 'one unlimited quota makes all unlimited, and goes on counting',
    grants: [grant(quota(1), of('a')), grant(quota(null), of('b'))],
    usage: [used(7, { subscriptionId: 'b' })],
    amount: 100,
    is: { allowed: true, reason: 'granted', unlimited: true, used: 7, limit: undefined, remaining: undefined },
  },
  {
    title: 'within a soft limit nothing is over it',
    grants: [grant(soft(capacity(5)))],
    usage: [taken(4)],
    is: { allowed: true, remaining: 1, overLimit: false },
  },
  {
    title: 'beyond a soft limit it is allowed, and said',
    grants: [grant(soft(quota(5)), of('a'))],
    usage: [used(7, { subscriptionId: 'a' })],
    is: { allowed: true, reason: 'granted', limit: 5, used: 7, remaining: 0, unlimited: false, overLimit: true },
  },
  {
    title: 'an amount that goes beyond a soft limit is allowed whole',
    grants: [grant(soft(capacity(5)))],
    usage: [taken(4)],
    amount: 2,
    is: { allowed: true, reason: 'granted', remaining: 1, overLimit: true },
  },
  { title: 'a hard limit says nothing of going over', grants: [grant(capacity(5))], usage: [taken(7)], is: { allowed: false, overLimit: undefined } },
  { title: 'nor does no limit', grants: [grant(soft(capacity(5))), grant(capacity(null))], usage: [taken(7)], is: { allowed: true, overLimit: undefined } },
  {
    title: 'one soft limit makes all soft',
    grants: [grant(soft(capacity(2))), grant(capacity(3))],
    usage: [taken(7)],
    is: { allowed: true, limit: 5, remaining: 0, overLimit: true },
  },
  {
    title: 'a soft limit that is not current does not',
    grants: [grant(soft(capacity(2)), { untilMs: at }), grant(capacity(3))],
    usage: [taken(7)],
    is: { allowed: false, reason: 'limit_exceeded', overLimit: undefined },
  },
  {
    title: 'a hard limit in place of all others is hard',
    grants: [grant(soft(capacity(2))), grant(capacity(3), byHand('g', 'replace'))],
    usage: [taken(7)],
    is: { allowed: false, limit: 3 },
  },
  {
    title: 'a soft floor makes all soft, also where it raises nothing',
    grants: [grant(capacity(9)), grant(soft(capacity(3)), byHand('g', 'floor'))],
    usage: [taken(9)],
    is: { allowed: true, limit: 9, overLimit: true },
  },
  {
    title: 'a higher floor that is hard leaves a soft one soft',
    grants: [grant(soft(capacity(3)), byHand('a', 'floor')), grant(capacity(9), byHand('b', 'floor'))],
    usage: [taken(9)],
    is: { allowed: true, limit: 9, overLimit: true },
  },
  {
    title: 'what is blocked is refused beside a soft limit',
    grants: [grant(soft(capacity(3))), denial('capacity')],
    is: { allowed: false, reason: 'blocked' },
  },
]

for (const { title, grants, usage = [], amount = 1, is } of cases) test(title, (t) => t.like(decide({ grants, usage }, 'k', amount, at), is))

test('decideAll decides each key once, for an amount of 1', (t) => {
  const grants = [grant(capacity(1), { key: 'seats' }), grant(flag(true), { key: 'sso' }), grant(capacity(1), { key: 'seats' })]
  const usage = [taken(2, 'seats')]
  const set = { tenantId: 't', storefrontId: 's', customerId: 'c', revision: 1, sandbox: false, grants, usage }
  const decided = decideAll(set, at)
  t.deepEqual(
    decided.map(({ key }) => key),
    ['seats', 'sso'],
  )
  for (const { key, decision } of decided) t.deepEqual(decision, decide(set, key, 1, at))
  t.like(decided[0]?.decision, { allowed: false, used: 2, limit: 2 })
})

test('a quota period contains its start and not its end, whether or not it was worked out before', (t) => {
  const start = Date.parse('2024-03-01T00:00:00Z')
  const terms = (change: object = {}) => ({ ...(quota(1) as Extract<GrantTerms, { kind: 'quota' }>), ...change })
  // Twice each, since what was worked out is remembered.
  for (let n = 0; n < 2; n += 1) {
    t.deepEqual(quotaWindow(terms(), start), { startMs: start, endMs: monthEnd })
    t.deepEqual(quotaWindow(terms(), monthEnd - 1), { startMs: start, endMs: monthEnd })
    t.is(quotaWindow(terms(), monthEnd).startMs, monthEnd)
    t.is(quotaWindow(terms(), start - 1).endMs, start)
    t.is(quotaWindow(terms({ per: 'year' }), at).endMs, Date.parse('2025-01-01T00:00:00Z'))
    t.is(quotaWindow(terms({ timeZone: 'America/New_York' }), at).endMs, monthEnd - HOUR, 'an hour is lost there in March')
    t.is(quotaWindow(terms({ anchorMs: start + HOUR }), at).startMs, start + HOUR)
  }
  const kept = { startMs: start, endMs: monthEnd }
  for (const ms of [start, at, monthEnd - 1]) t.is(quotaWindow(terms({ window: kept }), ms), kept, 'what the terms bring is not worked out again')
  t.is(quotaWindow(terms({ window: kept }), monthEnd).startMs, monthEnd, 'unless time has left it')
  const [once, again] = [quotaWindow(terms(), at), quotaWindow(terms(), at + HOUR)]
  t.is(once, again, 'what was worked out is remembered')
})

test('a source that adds, or a floor, never takes away what a soft limit allows, wherever it stands', (t) => {
  const terms = [2, 9, null].flatMap((limit) => [capacity(limit), soft(capacity(limit))])
  const sources = terms.flatMap((one) => [grant(one), grant(one, byHand('f', 'floor'))])
  for (const first of sources)
    for (const second of sources)
      for (const usage of [[taken(1)], [taken(2)], [taken(20)]]) {
        const alone = decide({ grants: [first], usage }, 'k', 1, at)
        const [before, after] = [
          [second, first],
          [first, second],
        ].map((grants) => decide({ grants, usage }, 'k', 1, at))
        const told = JSON.stringify([first, second, usage])
        t.true(!alone.allowed || (before?.allowed && after?.allowed), told)
        t.is(before?.allowed, after?.allowed, told)
        t.is(before?.overLimit, after?.overLimit, told)
      }
})
