/** What a meter knows, in an answer: a limit stays as hard or as soft as the rules decided. */
import test from 'ava'
import { decide } from '../../common/entitlements/decide.ts'
import type { GrantTerms } from '../../common/entitlements/model.ts'
import type { MeterReading } from '../../sidecar/metering/meter.ts'
import { withReading } from '../../sidecar/metering/reading.ts'

const at = Date.parse('2024-03-15T00:00:00Z')
const decided = (amount: number, change: Partial<Extract<GrantTerms, { kind: 'quota' }>> = {}) => {
  const terms: GrantTerms = { kind: 'quota', limit: 10, per: 'month', anchorMs: 0, timeZone: 'UTC', ...change }
  return decide({ grants: [{ key: 'k', subscriptionId: 's', bundleId: 'b', fromMs: 0, inactive: false, terms }], usage: [] }, 'k', amount, at)
}
const reading = (change: Partial<MeterReading>): MeterReading => ({
  ...{ limit: 10, used: 0, since: 0, resetsAtMs: undefined, usageSeq: 1, isAsking: false, isOld: false },
  ...change,
})

test('what was counted here makes a hard limit refuse', (t) => {
  const known = reading({ used: 6, since: 4 })
  t.like(withReading(decided(1), 1, known, 1), { allowed: false, reason: 'limit_exceeded', used: 10, remaining: 0, overLimit: undefined })
  t.like(withReading(decided(1), 1, reading({ used: 6, since: 3 }), 1), { allowed: true, reason: 'granted', remaining: 1, overLimit: undefined })
})

test('a soft limit allows, and says that it is passed', (t) => {
  for (const isOld of [false, true]) {
    const soft = decided(1, { overage: 'allow' })
    t.like(withReading(soft, 1, reading({ used: 6, since: 3, isOld }), 1), { allowed: true, remaining: 1, overLimit: false })
    t.like(withReading(soft, 1, reading({ used: 6, since: 4, isOld }), 1), {
      allowed: true,
      reason: 'granted',
      limit: 10,
      used: 10,
      remaining: 0,
      overLimit: true,
    })
    t.like(withReading(decided(5, { overage: 'allow' }), 5, reading({ used: 6, isOld }), 1), { allowed: true, remaining: 4, overLimit: true })
  }
})

test('without a limit nothing is passed', (t) => {
  t.like(withReading(decided(1, { limit: null }), 1, reading({ limit: null, used: 600 }), 1), {
    allowed: true,
    unlimited: true,
    used: 600,
    overLimit: undefined,
  })
})
