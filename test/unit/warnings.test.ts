/** What is said of limits that are nearly used, or passed: once per share and window, however often they are crossed. */
import test from 'ava'
import { deriveGrants } from '../../common/entitlements/derive.ts'
import type { Entitlement } from '../../common/entitlements/model.ts'
import { allowancesOf, entriesWith } from '../../control-plane/entitlements/count-usage.ts'
import { accessOfSubscription } from '../../control-plane/entitlements/subscription-access.ts'
import { withWarnings } from '../../control-plane/metering/warnings.ts'
import type { UsageCounters } from '../../control-plane/schemas/entitlement-set.ts'
import { subscriptionOf } from '../support/subscriptions.ts'

const DAY_MS = 86_400_000
const START = new Date('2024-03-01T00:00:00Z')

/** The counters of a customer with one limit. */
const open = (entitlement: Entitlement & { key: 'k' }) => {
  let now = new Date('2024-03-10T12:00:00Z')
  let counters = { _id: 'c', tenantId: 't', storefrontId: 's', customerId: 'c', entries: [], recentReports: [] } as unknown as UsageCounters
  const holder = subscriptionOf({ id: 'sub', entitlements: [entitlement], timeZone: 'UTC', anchor: START })
  const [grant] = deriveGrants([accessOfSubscription(holder)])
  if (!grant) throw new Error('the subscription gives nothing')
  const isQuota = grant.terms.kind === 'quota'
  const held = isQuota ? [{ grant, holder }] : []
  const capacities = grant.terms.kind === 'capacity' ? [grant.terms.limit] : []
  const sources = () =>
    ({
      known: undefined,
      sources: { subscriptions: [holder], grants: undefined },
      holders: [holder],
      grants: [grant],
      counting: [grant],
      held,
      current: held,
      capacities,
      isSoftCapacity: false,
      now,
    }) as never
  return {
    /** @returns the warnings that are new: their kinds and shares. */
    use: (used: number): string[] => {
      const counting = { key: 'k', held, holders: [holder], now }
      const entries = isQuota
        ? entriesWith(
            counters.entries,
            allowancesOf(counters.entries, counting).map((one) => ({ ...one, used })),
            counting,
          )
        : [{ key: 'k', used }]
      const before = counters.warned ?? []
      counters = withWarnings({ ...counters, entries: [...entries] }, 'k', sources(), now)
      const known = new Set(before.map(({ type, share, at }) => `${type} ${share} ${at.getTime()}`))
      return (counters.warned ?? [])
        .filter(({ type, share, at }) => !known.has(`${type} ${share} ${at.getTime()}`))
        .map(({ type, share }) => `${type} ${share}`)
    },
    warned: () => counters.warned,
    pass: (ms: number) => {
      now = new Date(now.getTime() + ms)
    },
  }
}
const quota = (limit: number | null, warnAt?: number[]) => open({ key: 'k', kind: 'quota', limit, per: 'day', ...(warnAt ? { warnAt } : {}) })

test('a share is told of once in a window, and again in the next one', (t) => {
  const { use, pass } = quota(100, [80, 100])
  t.deepEqual(use(79), [])
  t.deepEqual(use(80), ['threshold 80'])
  t.deepEqual([use(90), use(70), use(85)], [[], [], []])
  t.deepEqual(use(100), ['threshold 100'])
  t.deepEqual(use(101), ['over_limit 100'])
  t.deepEqual(use(500), [])
  pass(DAY_MS)
  t.deepEqual(use(0), [])
  t.deepEqual(use(100), ['threshold 80', 'threshold 100'])
})

test('a limit that is passed is told of without any share, and no limit never is', (t) => {
  const limited = quota(100)
  t.deepEqual([limited.use(100), limited.use(101), limited.use(102)], [[], ['over_limit 100'], []])
  const unlimited = quota(null)
  t.deepEqual(unlimited.use(1_000_000), [])
  t.is(unlimited.warned(), undefined)
})

test('a share beyond the limit is told of there', (t) => {
  const { use } = quota(10, [150, 1_000])
  t.deepEqual(use(14), ['over_limit 100'])
  t.deepEqual(use(15), ['threshold 150'])
  t.deepEqual(use(100), ['threshold 1000'])
})

test('shares are exact: reached with the first whole unit that is no less, and not before', (t) => {
  for (const limit of [1, 3, 7, 14, 28, 29, 55, 56, 57, 1_000, 9_007_199_254_740_991])
    for (const share of [1, 7, 29, 57, 100]) {
      const first = Number((BigInt(limit) * BigInt(share) + 99n) / 100n)
      const { use } = quota(limit, [share])
      t.deepEqual([use(first - 1), use(first)], [[], [`threshold ${share}`]], `${share} % of ${limit}`)
    }
})

test('a capacity is told of again only after less was used', (t) => {
  const { use, pass } = open({ key: 'k', kind: 'capacity', limit: 10, warnAt: [80] })
  const later = (used: number) => {
    pass(1_000)
    return use(used)
  }
  t.deepEqual([later(8), later(9), later(7), later(8)], [['threshold 80'], [], [], ['threshold 80']])
  t.deepEqual([later(11), later(12), later(10), later(11)], [['over_limit 100'], [], [], ['over_limit 100']])
})
