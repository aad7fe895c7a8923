import test from 'ava'
import { decide } from '../../common/entitlements/decide.ts'
import type { Grant } from '../../common/entitlements/model.ts'
import type { MeterReading } from '../../sidecar/metering/meter.ts'
import { withReading } from '../../sidecar/metering/reading.ts'

const NOW = Date.UTC(2024, 2, 10)
const grant = (change: Partial<Grant> = {}): Grant => ({
  ...{ key: 'calls', subscriptionId: 'sub', bundleId: 'pro', inactive: false, fromMs: NOW - 1_000 },
  terms: { kind: 'quota', limit: 100, per: 'month', anchorMs: Date.UTC(2024, 2, 1), timeZone: 'UTC' },
  ...change,
})
const reading = (change: Partial<MeterReading> = {}): MeterReading => ({
  ...{ limit: 100, used: 40, since: 5, resetsAtMs: undefined, usageSeq: 10, isAsking: false, isOld: false },
  ...change,
})
const usage = [{ key: 'calls', used: 50, subscriptionId: 'sub', untilMs: Date.UTC(2024, 3, 1) }]
const decided = decide({ grants: [grant()], usage }, 'calls', 1, NOW)

test('what was counted here is shown beside what the ledger said, or the set where that is later', (t) => {
  t.like(withReading(decided, 1, reading(), 10), { allowed: true, used: 45, remaining: 55 })
  t.like(withReading(decided, 56, reading(), 10), { allowed: false, reason: 'limit_exceeded' })
  t.like(withReading(decided, 1, reading(), 11), { used: 55 })
  t.like(withReading(decided, 1, reading({ isAsking: true }), 11), { used: 45 }, 'some of it may be in the later count')
  t.like(withReading(decided, 1, reading({ limit: null }), 10), { allowed: true, used: 45 })
})

test('where the set has changed since, its limit counts, and the higher of the numbers', (t) => {
  const old = { isOld: true, limit: 20 }
  t.like(withReading(decided, 1, reading(old), 10), { limit: 100, used: 55 })
  t.like(withReading(decided, 1, reading({ ...old, used: 60 }), 11), { limit: 100, used: 65 })
})

test('what is over, blocked or not yet begun is not granted by what was counted before', (t) => {
  const refusals = [
    decide({ grants: [grant({ untilMs: NOW })], usage }, 'calls', 1, NOW),
    decide({ grants: [grant({ inactive: true })], usage }, 'calls', 1, NOW),
    decide({ grants: [grant(), grant({ mode: 'deny', deniedKind: 'quota', source: { type: 'manual', id: 'g' } })], usage }, 'calls', 1, NOW),
  ]
  t.deepEqual(
    refusals.map(({ reason }) => reason),
    ['expired', 'subscription_inactive', 'blocked'],
  )
  for (const refused of refusals) t.deepEqual(withReading(refused, 1, reading(), 10), refused)
})
