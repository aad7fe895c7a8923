/** The test double: what it says follows from what the test gave, by the rules of the sidecar. */
import test from 'ava'
import { type Holdings, type Tollgate, TollgateError } from '../../client/index.ts'
import { createFakeTollgate } from '../../client/testing.ts'

const now = new Date('2024-03-15T12:00:00Z')

test('it answers as a sidecar does from the same grants', async (t) => {
  const tollgate: Tollgate = createFakeTollgate({
    now: () => now,
    grants: { anna: { reports: true, support: 'gold', calls: { limit: 10, per: 'month', used: 3 }, seats: { limit: 5, used: 5 } }, ben: {} },
  })
  t.like(await tollgate.check({ customer: 'anna', entitlement: 'reports' }), { allowed: true, kind: 'flag', asOf: now, ageMs: 0, from: 'memory' })
  t.like(await tollgate.check({ customer: 'anna', entitlement: 'support' }), { allowed: true, kind: 'value', value: 'gold' })
  const calls = { kind: 'quota', limit: 10, used: 3, remaining: 7, resetsAt: new Date('2024-04-01T00:00:00Z') } as const
  t.like(await tollgate.check({ customer: 'anna', entitlement: 'calls', amount: 7 }), { allowed: true, ...calls })
  t.like(await tollgate.check({ customer: 'anna', entitlement: 'calls', amount: 8 }), { allowed: false, reason: 'limit_exceeded', ...calls })
  t.like(await tollgate.check({ customer: 'anna', entitlement: 'seats' }), { allowed: false, kind: 'capacity', remaining: 0 })
  t.like(await tollgate.check({ customer: 'ben', entitlement: 'reports' }), { allowed: false, reason: 'not_granted' })
  t.like(await tollgate.check({ customer: 'carl', entitlement: 'reports' }), { allowed: false, reason: 'customer_unknown' })
  t.deepEqual([...(await tollgate.list({ customer: 'anna' })).entitlements.keys()], ['reports', 'support', 'calls', 'seats'])
  t.like(await tollgate.list({ customer: 'carl' }), { customerKnown: false })
  await t.throwsAsync(tollgate.check({ customer: '', entitlement: 'reports' }), { instanceOf: TollgateError, message: /^customer: must be set/ })
})

test('time moves as the test says', async (t) => {
  let at = now
  const until = new Date('2024-03-16T00:00:00Z')
  const tollgate = createFakeTollgate({ now: () => at, grants: { anna: { reports: { until } } } })
  const reports = { customer: 'anna', entitlement: 'reports' }
  t.like(await tollgate.check(reports), { allowed: true, validUntil: until })
  at = until
  t.like(await tollgate.check(reports), { allowed: false, reason: 'expired' })
})

test('a test grants, revokes and fails while it runs, and a watcher hears of it', async (t) => {
  const tollgate = createFakeTollgate()
  const reports = { customer: 'anna', entitlement: 'reports' }
  const stop = new AbortController()
  const seen: (boolean | undefined)[] = []
  const watching = (async () => {
    for await (const holdings of tollgate.watch({ customer: 'anna' }, { signal: stop.signal }) as AsyncIterable<Holdings>)
      seen.push(holdings.entitlements.get('reports')?.allowed)
  })()
  const turn = () => new Promise((resolve) => setTimeout(resolve, 5))
  await turn()
  tollgate.grant('anna', { reports: true })
  await turn()
  t.like(await tollgate.check(reports), { allowed: true, revision: 1 })
  tollgate.grant('anna', { other: true })
  await turn()
  tollgate.revoke('anna', 'reports')
  await turn()
  t.like(await tollgate.check(reports), { allowed: false, reason: 'not_granted', revision: 3 })
  tollgate.revoke('anna')
  t.like(await tollgate.check(reports), { reason: 'customer_unknown' })
  await turn()
  t.deepEqual(seen, [undefined, true, true, undefined, undefined])
  tollgate.fail('unavailable')
  t.like(await t.throwsAsync(watching, { instanceOf: TollgateError }), { code: 'unavailable' })
  t.like(await t.throwsAsync(tollgate.check(reports), { instanceOf: TollgateError }), { code: 'unavailable' })
  tollgate.fail(undefined)
  t.like(await tollgate.check(reports), { reason: 'customer_unknown' })
  const reason = new Error('enough')
  const aborted = tollgate.watch({ customer: 'anna' }, { signal: stop.signal })[Symbol.asyncIterator]()
  await aborted.next()
  const next = aborted.next()
  stop.abort(reason)
  t.is(await t.throwsAsync(next), reason)
  tollgate.close()
  t.like(await t.throwsAsync(tollgate.check(reports), { instanceOf: TollgateError }), { code: 'closed' })
})

test('its policy for what is unknown is that of a client', async (t) => {
  const tollgate = createFakeTollgate({ onUnknown: 'deny' })
  tollgate.fail('timed_out')
  t.like(await tollgate.check({ customer: 'anna', entitlement: 'reports' }), { allowed: false, reason: 'unknown' })
  tollgate.fail('unauthenticated')
  await t.throwsAsync(tollgate.check({ customer: 'anna', entitlement: 'reports' }), { instanceOf: TollgateError })
})
