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

test('it counts uses of a quota in the period that runs', async (t) => {
  let at = now
  const tollgate = createFakeTollgate({
    now: () => at,
    grants: { anna: { calls: { limit: 10, per: 'month', used: 3 }, all: { limit: null, per: 'day' }, reports: true } },
  })
  const calls = { customer: 'anna', entitlement: 'calls' }
  t.like(await tollgate.consume({ ...calls, amount: 6 }), { allowed: true, counted: true, overLimit: false, used: 9, remaining: 1 })
  t.like(await tollgate.check(calls), { used: 9 })
  t.like(await tollgate.consume({ ...calls, amount: 2 }), { allowed: false, counted: false, reason: 'limit_exceeded', used: 9 })
  t.like(await tollgate.consume(calls), { counted: true, used: 10, remaining: 0 })
  t.like(await tollgate.consume({ customer: 'anna', entitlement: 'all', amount: 5 }), { counted: true, limit: null, used: 5 })
  at = new Date('2024-04-01T00:00:00Z')
  t.like(await tollgate.check(calls), { used: 3 }, 'what the test says is used, is used in whatever period it is')
  t.like(await tollgate.consume({ ...calls, idempotencyKey: 'k' }), { used: 4 })
  t.like(await tollgate.consume({ ...calls, idempotencyKey: 'k' }), { used: 4 }, 'a repeat')
  t.like(await tollgate.check(calls), { used: 4 })
  t.like(await tollgate.consume({ ...calls, amount: 7, idempotencyKey: 'denied' }), { counted: false })
  t.like(await tollgate.consume({ ...calls, amount: 6, idempotencyKey: 'denied' }), { counted: true }, 'a denial is not kept')
  t.like(await tollgate.consume({ customer: 'anna', entitlement: 'none' }), { allowed: false, counted: false, reason: 'not_granted' })
  t.like(await tollgate.consume({ customer: 'nobody', entitlement: 'calls' }), { counted: false, reason: 'customer_unknown' })
  await t.throwsAsync(tollgate.consume({ customer: 'anna', entitlement: 'reports' }), { message: /^entitlement: reports is a flag/ })
  await t.throwsAsync(tollgate.consume({ ...calls, amount: 0, holder: 'h' }), { message: /^holder: only capacities/ })
  await t.throwsAsync(tollgate.consume({ ...calls, amount: -1 }), { message: /^amount: / })
})

test('it reserves, and counts or gives back', async (t) => {
  let at = now
  const tollgate = createFakeTollgate({ now: () => at, grants: { anna: { calls: { limit: 10, per: 'month' } } } })
  const calls = { customer: 'anna', entitlement: 'calls' }
  const used = async () => ((await tollgate.check(calls)) as { used: number }).used
  const reserve = async (amount: number, more: object = {}) => {
    const reserved = await tollgate.reserve({ ...calls, amount, ...more })
    if (!reserved.allowed) throw new Error(reserved.reason)
    return reserved
  }
  const first = await reserve(4)
  t.is(await used(), 0, 'it is not used yet')
  t.deepEqual(first.expiresAt, new Date(now.getTime() + 60_000))
  t.like(await tollgate.reserve({ ...calls, amount: 7 }), { allowed: false, reason: 'limit_exceeded', used: 0 }, 'but nobody else is given it')
  t.like(await tollgate.consume({ ...calls, amount: 7 }), { counted: false, reason: 'limit_exceeded' })
  t.deepEqual(await first.commit(3), { used: 3, overLimit: false })
  t.deepEqual(await first.commit(3), { used: 3, overLimit: false })
  await t.throwsAsync(first.commit(4), { message: /3 was committed before/ })
  await t.throwsAsync(first.release(), { message: /is committed/ })
  t.is(await used(), 3)
  const second = await reserve(7)
  await second.release()
  await second.release()
  t.is(await used(), 3)
  t.like(await t.throwsAsync(second.commit(), { instanceOf: TollgateError }), { code: 'not_found' })
  t.deepEqual(await (await reserve(1)).commit(20), { used: 20, overLimit: true }, 'it has happened')
  at = new Date('2024-04-01T00:00:00Z')
  t.is(await used(), 0)
  {
    await using reserved = await tollgate.reserve({ ...calls, amount: 5, idempotencyKey: 'k' })
    t.is(reserved, await tollgate.reserve({ ...calls, amount: 5, idempotencyKey: 'k' }))
    t.false((await tollgate.consume({ ...calls, amount: 6 })).counted)
  }
  const late = await reserve(2, { ttlMs: 1_000 })
  at = new Date(at.getTime() + 1_000)
  await (await reserve(10)).release()
  t.deepEqual(await late.commit(), { used: 2, overLimit: false }, 'it has happened')
  t.is(await used(), 2)
  const crossing = await reserve(1)
  at = new Date('2024-05-01T00:00:00Z')
  await crossing.commit()
  t.is(await used(), 0, 'it counts in the period in which it was made')
})

test('a holder occupies one place of a capacity, until it gives it back or its time is over', async (t) => {
  let at = now
  const tollgate = createFakeTollgate({ now: () => at, grants: { anna: { seats: { limit: 2 } } } })
  const seat = (holder: string, more: object = {}) => ({ customer: 'anna', entitlement: 'seats', holder, ...more })
  t.like(await tollgate.consume(seat('a')), { counted: true, kind: 'capacity', used: 1, remaining: 1 })
  t.like(await tollgate.consume(seat('a')), { allowed: true, counted: false, used: 1 }, 'it has its place')
  await t.throwsAsync(tollgate.consume(seat('a', { amount: 2 })), { message: /^amount: a has 1/ })
  await t.throwsAsync(tollgate.consume({ customer: 'anna', entitlement: 'seats', ttlMs: 5 }), { message: /^ttlMs: / })
  t.like(await tollgate.consume(seat('b', { ttlMs: 1_000 })), { allowed: true, used: 2 })
  t.like(await tollgate.consume(seat('c')), { allowed: false, reason: 'limit_exceeded', used: 2 })
  t.like(await tollgate.consume(seat('a')), { allowed: true, used: 2 }, 'also when all is taken')
  at = new Date(at.getTime() + 900)
  await tollgate.consume(seat('b', { ttlMs: 1_000 }))
  at = new Date(at.getTime() + 900)
  t.like(await tollgate.check(seat('')), { used: 2 }, 'it was renewed')
  at = new Date(at.getTime() + 100)
  t.like(await tollgate.check(seat('')), { used: 1 })
  t.deepEqual(await tollgate.release(seat('a')), { used: 0 })
  t.deepEqual(await tollgate.release(seat('a')), { used: 0 }, 'twice is once')
  await tollgate.consume(seat('d', { amount: 2 }))
  t.deepEqual(await tollgate.release(seat('d', { amount: 1 })), { used: 1 })
  await tollgate.consume({ customer: 'anna', entitlement: 'seats' })
  t.deepEqual(await tollgate.release({ customer: 'anna', entitlement: 'seats' }), { used: 1 })
  t.deepEqual(await tollgate.release({ customer: 'anna', entitlement: 'seats', amount: 5 }), { used: 0 })
  const reserved = await tollgate.reserve(seat('e'))
  if (reserved.allowed) await reserved.commit()
  at = new Date(at.getTime() + 120_000)
  t.like(await tollgate.check(seat('')), { used: 1 }, 'it stays')
  await tollgate.consume(seat('f'))
  tollgate.grant('anna', { seats: { limit: 1 } })
  t.like(await tollgate.consume(seat('f')), { allowed: true, counted: false, overLimit: true, used: 2, limit: 1 })
  t.like(await tollgate.consume(seat('g')), { allowed: false, counted: false })
})

test('a soft limit counts what goes beyond it, and says so', async (t) => {
  const tollgate = createFakeTollgate({ now: () => now, grants: { anna: { calls: { limit: 3, per: 'month', overage: 'allow' } } } })
  const calls = { customer: 'anna', entitlement: 'calls' }
  t.like(await tollgate.consume({ ...calls, amount: 3 }), { counted: true, overLimit: false, used: 3 })
  t.like(await tollgate.consume(calls), { allowed: true, counted: true, overLimit: true, used: 4, limit: 3, remaining: 0 })
  const reserved = await tollgate.reserve({ ...calls, amount: 2 })
  t.deepEqual(reserved.allowed && (await reserved.commit()), { used: 2, overLimit: true })
})
