/** Questions by calls: answers, codes, deadlines, retries, and ends. */

import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { status as Status } from '@grpc/grpc-js'
import test, { type ExecutionContext } from 'ava'
import { createTollgate, type Tollgate, TollgateError, type TollgateErrorCode, type TollgateOptions } from '../../client/index.ts'
import { systemClock } from '../../common/clock.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { makeCertificates } from '../support/certificates.ts'
import { eventually } from '../support/eventually.ts'
import { openSidecar, setOf } from '../support/sidecar.ts'
import { allowed, openStub, refusal } from './stub-sidecar.ts'

const clientOf = (t: ExecutionContext, options: Partial<TollgateOptions>): Tollgate => {
  const tollgate = createTollgate({ tenant: 'acme', storefront: 'us', cache: false, timeoutMs: 10_000, ...options })
  t.teardown(() => tollgate.close())
  return tollgate
}
const asks = { customer: 'anna', entitlement: 'sso' }
const failsWith = async (t: ExecutionContext, work: Promise<unknown>, code: TollgateErrorCode, message?: RegExp) =>
  t.like(await t.throwsAsync(work, { instanceOf: TollgateError, ...(message ? { message } : {}) }), { code })

test('an answer says by its kind what there is to say', async (t) => {
  const feed = createInProcessFeed({ clock: systemClock })
  await feed.putSet(setOf('anna'))
  const { address } = await openSidecar({}, { feed })
  const tollgate = clientOf(t, { address })
  const through = { bundleId: 'pro', subscriptionId: 'sub', revision: 1, from: 'sidecar', stale: false } as const
  t.like(await tollgate.check(asks), { allowed: true, reason: 'granted', kind: 'flag', ...through })
  t.like(await tollgate.check({ customer: 'anna', entitlement: 'hours' }), { allowed: true, kind: 'value', value: '24/7', ...through })
  t.like(await tollgate.check({ customer: 'anna', entitlement: 'seats', amount: 5 }), { allowed: true, kind: 'capacity', limit: 5, used: 0, remaining: 5 })
  const calls = await tollgate.check({ customer: 'anna', entitlement: 'calls', amount: 994 })
  t.like(calls, { allowed: false, reason: 'limit_exceeded', kind: 'quota', limit: 1000, used: 7, remaining: 993 })
  if (calls.reason !== 'limit_exceeded' || calls.kind !== 'quota') throw new Error(calls.reason)
  t.deepEqual(calls.resetsAt, new Date(32_503_680_000_000))
  t.true(calls.ageMs >= 0 && calls.ageMs < 5_000 && calls.asOf.getTime() > 0)
  t.like(await tollgate.check({ customer: 'anna', entitlement: 'other' }), { allowed: false, reason: 'not_granted' })
  t.like(await tollgate.check({ customer: 'nobody', entitlement: 'sso' }), { allowed: false, reason: 'customer_unknown', revision: 0 })

  const all = await tollgate.list({ customer: 'anna' })
  t.true(all.customerKnown)
  t.deepEqual([...all.entitlements.keys()], ['sso', 'seats', 'hours', 'calls'])
  t.like(all.entitlements.get('calls'), { allowed: true, remaining: 993 })
  t.like(await tollgate.list({ customer: 'nobody' }), { customerKnown: false })
  await feed.putSet(setOf('anna', 2))
  t.like(await tollgate.check({ ...asks, minRevision: 2 }), { revision: 2 })
  await failsWith(t, tollgate.check({ ...asks, minRevision: 3 }, { timeoutMs: 1_000 }), 'revision_not_reached')
})

test('by a Unix socket, and by TLS with a certificate of the client’s own', async (t) => {
  const feed = createInProcessFeed({ clock: systemClock })
  await feed.putSet(setOf('anna'))
  const socket = join(mkdtempSync(join(tmpdir(), 'tollgate-client-')), 'sidecar.sock')
  await openSidecar({ GRPC_SOCKET: socket }, { feed })
  t.like(await clientOf(t, { socket }).check(asks), { allowed: true })

  const { certFile, keyFile, caFile, ca, client } = makeCertificates()
  const { address } = await openSidecar({ TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile, TLS_CLIENT_CA_FILE: caFile }, { feed })
  t.like(await clientOf(t, { address, tls: { ca, ...client } }).check(asks), { allowed: true })
  t.like(await clientOf(t, { address, tls: { ca, ...client }, cache: {} }).check(asks), { allowed: true })
  await failsWith(t, clientOf(t, { address, tls: { ca } }).check(asks), 'unavailable')
  await failsWith(t, clientOf(t, { address, tls: true }).check(asks), 'unavailable')
  t.throws(() => clientOf(t, { address, tls: { ca, cert: client.cert } }), { message: /^tls: cert and key/ })
  t.throws(() => clientOf(t, { address, tls: { ca, cert: 'no', key: 'pem' } }), { message: /^tls: / })
})

test('a key that is wrong is an error with a code, at once, whatever is done about the unknown; and it is never shown', async (t) => {
  const { address } = await openSidecar({ SIDECAR_KEYS: '{"a-key-for-acme-only":["acme"],"a-key-for-others":["other"]}' })
  for (const cache of [false, {}] as const) {
    const right = clientOf(t, { address, key: 'a-key-for-acme-only', cache })
    t.like(await right.check(asks), { reason: 'customer_unknown' })
    const wrong = clientOf(t, { address, key: 'a-wrong-key-that-is-secret', onUnknown: 'allow', cache })
    await failsWith(t, wrong.check(asks), 'unauthenticated')
    await failsWith(t, wrong.list(asks), 'unauthenticated')
    await failsWith(t, wrong.watch(asks)[Symbol.asyncIterator]().next(), 'unauthenticated')
    const error = await t.throwsAsync(wrong.check(asks))
    for (const shown of [inspect(error, { depth: 20, showHidden: true }), inspect(wrong, { depth: 20, showHidden: true }), JSON.stringify([error, wrong])])
      t.false(shown.includes('a-wrong-key-that-is-secret'), shown)
    await failsWith(t, clientOf(t, { address, cache }).check(asks), 'unauthenticated', /requires a key/)
    await failsWith(t, clientOf(t, { address, key: 'a-key-for-others', onUnknown: 'deny', cache }).check(asks), 'forbidden')
  }
})

test('what a sidecar could not say a moment ago is asked again, within the deadline; a refusal is not', async (t) => {
  const stub = await openStub((_, callback, nth) => (nth <= 2 ? callback(refusal(Status.UNAVAILABLE)) : callback(null, allowed())))
  t.like(await clientOf(t, { address: stub.address }).check(asks), { allowed: true })
  t.is(stub.asked.length, 3)
  for (const [status, code] of [
    [Status.UNAUTHENTICATED, 'unauthenticated'],
    [Status.PERMISSION_DENIED, 'forbidden'],
    [Status.INVALID_ARGUMENT, 'invalid_request'],
    [Status.INTERNAL, 'internal'],
    [Status.FAILED_PRECONDITION, 'revision_not_reached'],
    [Status.UNIMPLEMENTED, 'unsupported'],
  ] as const) {
    const refuses = await openStub((_, callback) => callback(refusal(status)))
    await failsWith(t, clientOf(t, { address: refuses.address }).check(asks), code, /the test says so/)
    t.is(refuses.asked.length, 1, code)
  }
  const away = await openStub((_, callback) => callback(refusal(Status.UNAVAILABLE)))
  await failsWith(t, clientOf(t, { address: away.address }).check(asks), 'unavailable')
  t.is(away.asked.length, 3)
})

test('a sidecar that does not answer is waited for until the deadline, and no longer', async (t) => {
  const stub = await openStub(() => undefined)
  const tollgate = clientOf(t, { address: stub.address, timeoutMs: 200 })
  const since = performance.now()
  await failsWith(t, tollgate.check(asks), 'timed_out')
  // Long before the test's own time is over, also on a busy machine.
  t.true(performance.now() - since < 10_000)
  await failsWith(t, tollgate.check(asks, { timeoutMs: 50 }), 'timed_out')
  t.like(await clientOf(t, { address: stub.address, timeoutMs: 50, onUnknown: 'deny' }).check(asks), { allowed: false, reason: 'unknown' })
  const answer = await clientOf(t, { address: stub.address, timeoutMs: 50, onUnknown: 'allow' }).check(asks)
  t.like(answer, { allowed: true, reason: 'unknown' })
  t.true(answer.reason === 'unknown' && answer.error.code === 'timed_out')
})

test('a signal ends a call: before it, during it, and between two tries', async (t) => {
  const silent = await openStub(() => undefined)
  const away = await openStub((_, callback) => callback(refusal(Status.UNAVAILABLE)))
  const reason = new Error('the request has gone')
  const early = await t.throwsAsync(clientOf(t, { address: silent.address, onUnknown: 'allow' }).check(asks, { signal: AbortSignal.abort(reason) }))
  t.is(early, reason)
  t.is(silent.asked.length, 0)
  for (const stub of [silent, away]) {
    const stop = new AbortController()
    const call = clientOf(t, { address: stub.address, timeoutMs: 10_000 }).check(asks, { signal: stop.signal })
    await eventually(() => stub.asked.length > 0)
    stop.abort(reason)
    t.is(await t.throwsAsync(call), reason)
    const { length } = stub.asked
    await new Promise((resolve) => setTimeout(resolve, 700))
    t.is(stub.asked.length, length, 'nobody asks any more')
  }
})

test('closing ends what is under way, and what comes later', async (t) => {
  const stub = await openStub(() => undefined)
  for (const cache of [false, {}] as const) {
    const tollgate = clientOf(t, { address: stub.address, timeoutMs: 10_000, onUnknown: 'allow', cache })
    const { length } = stub.asked
    const call = tollgate.check(asks)
    const watch = tollgate.watch(asks)[Symbol.asyncIterator]().next()
    await eventually(() => stub.asked.length > length)
    tollgate.close()
    await failsWith(t, call, 'closed')
    await failsWith(t, watch, 'closed')
    await failsWith(t, tollgate.check(asks), 'closed')
    await failsWith(t, tollgate.list(asks), 'closed')
    tollgate.close()
  }
})

test('questions and options that cannot be meant are refused before anybody is asked, by the rules of the sidecar', async (t) => {
  const stub = await openStub((_, callback) => callback(null, allowed()))
  const tollgate = clientOf(t, { address: stub.address, onUnknown: 'allow' })
  const wrong: [question: object, message: RegExp][] = [
    [{ customer: '' }, /^customer: must be set/],
    [{ customer: undefined }, /^customer: must be set/],
    [{ customer: 'x'.repeat(129) }, /^customer: must not be longer than 128/],
    [{ entitlement: '' }, /^entitlement/],
    [{ amount: -1 }, /^amount/],
    [{ amount: 0.5 }, /^amount/],
    [{ amount: 2 ** 53 }, /^amount/],
    [{ minRevision: -1 }, /^minRevision/],
  ]
  for (const [question, message] of wrong) await failsWith(t, tollgate.check({ ...asks, ...question }), 'invalid_request', message)
  t.is(stub.asked.length, 0)
  t.like(await tollgate.check({ ...asks, customer: '😀'.repeat(128), amount: 0 }), { allowed: true })
  const options: [TollgateOptions, RegExp][] = [
    [{ tenant: '', storefront: 'us' }, /^tenant/],
    [{ tenant: 'acme', storefront: '' }, /^storefront/],
    [{ tenant: 'acme', storefront: 'us', address: 'http://localhost:1' }, /^address: must be host:port/],
    [{ tenant: 'acme', storefront: 'us', address: 'localhost' }, /^address/],
    [{ tenant: 'acme', storefront: 'us', address: 'localhost:1', socket: '/tmp/s' }, /^address: must not be given together/],
    [{ tenant: 'acme', storefront: 'us', key: 'a-key-from-a-file\n' }, /^key: must be of visible ASCII characters; does it end in a line break\?$/],
    [{ tenant: 'acme', storefront: 'us', cache: { maxCustomers: 0 } }, /^cache.maxCustomers/],
    [{ tenant: 'acme', storefront: 'us', cache: { maxCustomers: 100_001 } }, /^cache.maxCustomers/],
  ]
  for (const [one, message] of options) t.throws(() => createTollgate(one), { instanceOf: TollgateError, message })
})

test('a reason or kind of a newer sidecar is an answer all the same', async (t) => {
  for (const newer of [{ reason: 99 }, { kind: 99 }, { allowed: false, reason: 99, kind: 0 }] as object[]) {
    const stub = await openStub((_, callback) => callback(null, allowed(newer)))
    const answer = await clientOf(t, { address: stub.address }).check(asks)
    t.like(answer, { allowed: !('allowed' in newer), reason: 'other', revision: 1 })
  }
})
