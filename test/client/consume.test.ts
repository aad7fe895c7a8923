/** Uses: what is asked of the sidecar, what is repeated and what is not, what memory shows of them, and how they are counted together. */
import { status as Status } from '@grpc/grpc-js'
import test, { type ExecutionContext } from 'ava'
import { createTollgate, type Decided, type Reserved, type Tollgate, TollgateError, type TollgateErrorCode, type TollgateOptions } from '../../client/index.ts'
import { systemClock } from '../../common/clock.ts'
import { encodeSet } from '../../common/entitlements/wire.ts'
import {
  CommitReservationResponse,
  type ConsumeEntitlementRequest,
  ConsumeEntitlementResponse,
  type EntitlementServiceServer,
  type ReleaseEntitlementRequest,
  type ReserveEntitlementRequest,
  ReserveEntitlementResponse,
} from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { httpClient } from '../support/http-client.ts'
import { asLive, openInProcessTollgate } from '../support/in-process-tollgate.ts'
import { openSidecar, setOf } from '../support/sidecar.ts'
import { allowed, message, openStub, refusal } from './stub-sidecar.ts'

const clientOf = (t: ExecutionContext, options: Partial<TollgateOptions>): Tollgate => {
  const tollgate = createTollgate({ tenant: 'acme', storefront: 'us', cache: false, timeoutMs: 10_000, ...options })
  t.teardown(() => tollgate.close())
  return tollgate
}
const failsWith = async (t: ExecutionContext, work: Promise<unknown>, code: TollgateErrorCode, text?: RegExp) =>
  t.like(await t.throwsAsync(work, { instanceOf: TollgateError, ...(text ? { message: text } : {}) }), { code })

const calls = { customer: 'anna', entitlement: 'calls' }
const resetsAt = new Date(32_503_680_000_000)

/** A sidecar that counts one quota, by hand. */
const openCounter = async (limit: number, alreadyUsed = 0, more: Partial<EntitlementServiceServer> = {}, revision = 1n) => {
  const counter = { limit, used: alreadyUsed, asked: [] as ConsumeEntitlementRequest[], checks: 0 }
  const known = new Map<string, ConsumeEntitlementResponse>()
  const decision = (isAllowed: boolean) =>
    allowed({
      allowed: isAllowed,
      reason: isAllowed ? 1 : 5,
      kind: 2,
      limit: BigInt(counter.limit),
      used: BigInt(counter.used),
      remaining: BigInt(Math.max(0, counter.limit - counter.used)),
      resetsAt,
      revision,
    })
  const stub = await openStub(
    ({ amount }, callback) => {
      counter.checks += 1
      callback(null, decision(counter.used + (Number(amount) || 1) <= counter.limit))
    },
    (stream) => {
      stream.write(
        message({ customerId: 'anna', customerKnown: true, revision, asOf: new Date(), set: Buffer.from(encodeSet(setOf('anna', 1, { usage: [] }))) }),
      )
    },
    {
      consumeEntitlement: ({ request }, callback) => {
        counter.asked.push(request)
        const before = known.get(request.idempotencyKey)
        if (before) return callback(null, before)
        const counted = counter.used + Number(request.amount) <= counter.limit
        if (counted) counter.used += Number(request.amount)
        const response = ConsumeEntitlementResponse.fromPartial({ decision: decision(counted), counted, overLimit: false })
        if (counted) known.set(request.idempotencyKey, response)
        callback(null, response)
      },
      ...more,
    },
  )
  return Object.assign(counter, { address: stub.address })
}

test('a use is counted or denied, and says how much is used', async (t) => {
  const counter = await openCounter(5)
  const tollgate = clientOf(t, { address: counter.address })
  t.like(await tollgate.consume({ ...calls, amount: 4 }), { allowed: true, counted: true, overLimit: false, kind: 'quota', used: 4, remaining: 1, resetsAt })
  t.like(await tollgate.consume({ ...calls, amount: 2 }), { allowed: false, counted: false, reason: 'limit_exceeded', used: 4, remaining: 1 })
  t.like(await tollgate.consume(calls), { counted: true, used: 5 }, '1 without an amount')
  const keys = counter.asked.map(({ idempotencyKey }) => idempotencyKey)
  t.is(new Set(keys).size, 3, 'each use has a key of its own')
  t.true(keys.every((key) => key !== '' && key.length <= 128))
  t.like(await tollgate.consume({ customer: 'anna', entitlement: 'seats', holder: 'seat:1', ttlMs: 1_500, minRevision: 7, idempotencyKey: 'k' }), {
    counted: false,
  })
  t.like(counter.asked.at(-1), { idempotencyKey: 'k', holder: 'seat:1', minRevision: 7n, ttl: { seconds: 1n, nanos: 500_000_000 } })
  for (const [wrong, text] of [
    [{ customer: '' }, /^customer: must be set/],
    [{ entitlement: '' }, /^entitlement: /],
    [{ amount: -1 }, /^amount: /],
    [{ amount: 0.5 }, /^amount: /],
    [{ idempotencyKey: '' }, /^idempotencyKey: /],
    [{ holder: 'x'.repeat(129) }, /^holder: /],
    [{ ttlMs: 0 }, /^ttlMs: /],
  ] as const) {
    await failsWith(t, tollgate.consume({ ...calls, ...wrong }), 'invalid_request', text)
    await failsWith(t, tollgate.reserve({ ...calls, ...wrong }), 'invalid_request', text)
  }
  t.is(counter.asked.length, 4)
})

test('a soft limit that is passed is said', async (t) => {
  const counter = await openCounter(5, 0, {
    consumeEntitlement: (_, callback) => callback(null, ConsumeEntitlementResponse.fromPartial({ decision: allowed(), counted: true, overLimit: true })),
  })
  t.like(await clientOf(t, { address: counter.address }).consume(calls), { allowed: true, counted: true, overLimit: true })
})

test('a try that is repeated has the same key, so that it counts once', async (t) => {
  let tries = 0
  const requests: ConsumeEntitlementRequest[] = []
  const counter = await openCounter(5, 0, {
    consumeEntitlement: ({ request }, callback) => {
      requests.push(request)
      tries += 1
      if (tries <= 2) callback(refusal(Status.UNAVAILABLE), null)
      else callback(null, ConsumeEntitlementResponse.fromPartial({ decision: allowed(), counted: true }))
    },
  })
  t.like(await clientOf(t, { address: counter.address }).consume(calls), { counted: true })
  t.is(requests.length, 3)
  t.is(new Set(requests.map(({ idempotencyKey }) => idempotencyKey)).size, 1)
})

test('what nobody can say is thrown, or decided by the policy, which counts nothing', async (t) => {
  let asked = 0
  const counter = await openCounter(5, 0, {
    consumeEntitlement: (_, callback) => {
      asked += 1
      callback(refusal(asked === 1 ? Status.DEADLINE_EXCEEDED : Status.INVALID_ARGUMENT), null)
    },
  })
  await failsWith(t, clientOf(t, { address: counter.address }).consume(calls), 'timed_out')
  asked = 0
  for (const onUnknown of ['deny', 'allow'] as const) {
    const tollgate = clientOf(t, { address: counter.address, onUnknown })
    const answer = await tollgate.consume(calls)
    t.like(answer, { allowed: onUnknown === 'allow', reason: 'unknown' })
    t.is(answer.counted, undefined)
    await failsWith(t, tollgate.consume(calls), 'invalid_request')
    asked = 0
  }
  const hanging = await openCounter(5, 0, { consumeEntitlement: () => undefined })
  const tollgate = clientOf(t, { address: hanging.address })
  await failsWith(t, tollgate.consume(calls, { timeoutMs: 50 }), 'timed_out')
  const stop = new AbortController()
  const reason = new Error('enough')
  const waiting = tollgate.consume(calls, { signal: stop.signal })
  stop.abort(reason)
  t.is(await t.throwsAsync(waiting), reason)
  tollgate.close()
  await failsWith(t, tollgate.consume(calls), 'closed')
})

test('memory shows a use at once, asks when others may have used more, and when little is left', async (t) => {
  const counter = await openCounter(1_000)
  const tollgate = clientOf(t, { address: counter.address, cache: {} })
  const check = async (amount = 1) => (await tollgate.check({ ...calls, amount })) as Decided
  await eventually(async () => (await check()).from === 'memory')
  t.like(await check(), { used: 0, remaining: 1_000 })
  await tollgate.consume({ ...calls, amount: 300 })
  const asked = counter.checks
  t.like(await check(), { from: 'memory', used: 300, remaining: 700, resetsAt })
  t.is(counter.checks, asked)
  t.like(await tollgate.check({ customer: 'anna', entitlement: 'sso' }), { from: 'memory', allowed: true })
  // The set of the stream does not have it: what is listed comes from the sidecar, which is one that cannot list here.
  await failsWith(t, tollgate.list(calls), 'unsupported')
  // Others use: after a second it is known.
  counter.used = 500
  await eventually(async () => {
    const answer = await check()
    return 'used' in answer && answer.used === 500
  })
  t.is((await check()).from, 'memory', 'the sidecar’s answer holds for a second, too')
  t.like(await check(401), { from: 'sidecar', allowed: true, used: 500 }, 'less than a tenth would be left')
  counter.used = 700
  t.like(await check(401), { from: 'sidecar', allowed: false, used: 700 })
  await tollgate.consume({ ...calls, amount: 300 })
  t.like(await check(), { from: 'sidecar', allowed: false, used: 1_000 })
})

test('a set that says as much is believed again', async (t) => {
  let send = (_used: number) => {}
  const stub = await openStub(
    (_, callback) => callback(null, allowed({ kind: 2, limit: 1_000n, used: 0n, remaining: 1_000n, resetsAt })),
    (stream) => {
      send = (used) => {
        const usage = used === 0 ? [] : [{ key: 'calls', used, untilMs: resetsAt.getTime() }]
        stream.write(
          message({ customerId: 'anna', customerKnown: true, revision: 1n, asOf: new Date(), set: Buffer.from(encodeSet(setOf('anna', 1, { usage }))) }),
        )
      }
      send(0)
    },
    {
      consumeEntitlement: (_, callback) =>
        callback(
          null,
          ConsumeEntitlementResponse.fromPartial({
            decision: allowed({ kind: 2, limit: 1_000n, used: 10n, remaining: 990n, resetsAt }),
            counted: true,
          }),
        ),
    },
  )
  const tollgate = clientOf(t, { address: stub.address, cache: {} })
  const check = async () => (await tollgate.check(calls)) as Decided & { used: number }
  await eventually(async () => (await check()).from === 'memory')
  await tollgate.consume({ ...calls, amount: 10 })
  t.like(await check(), { from: 'memory', used: 10 })
  send(12)
  await eventually(async () => (await check()).used === 12)
  const asked = stub.asked.length
  await new Promise((resolve) => setTimeout(resolve, 1_200))
  t.like(await check(), { from: 'memory', used: 12 })
  t.is(stub.asked.length, asked)
})

test('uses that come within a moment are one call', async (t) => {
  const counter = await openCounter(1_000)
  const tollgate = clientOf(t, { address: counter.address })
  const use = (amount: number, more: object = {}) => tollgate.consume({ ...calls, amount, ...more }, { batchMs: 20 })
  const answers = await Promise.all([use(1), use(2), use(0), use(5, { customer: 'ben' })])
  t.true(answers.every(({ counted }) => counted))
  t.deepEqual(counter.asked.map(({ customerId, amount }) => `${customerId} ${amount}`).sort(), ['anna 4', 'ben 5'])
  t.true((await use(1)).counted)
  t.is(counter.used, 10)
  for (const own of [{ idempotencyKey: 'k' }, { holder: 'h' }, { ttlMs: 1 }])
    await failsWith(t, use(1, own), 'invalid_request', /must not be given together with batchMs/)
  await failsWith(t, tollgate.consume(calls, { batchMs: 1_000, timeoutMs: 1_000 }), 'invalid_request', /^batchMs: must be less/)
  await failsWith(t, tollgate.consume(calls, { batchMs: -1 }), 'invalid_request', /^batchMs/)
})

test('nobody is refused while there is enough for him, though there is not enough for all', async (t) => {
  const counter = await openCounter(10, 3)
  const tollgate = clientOf(t, { address: counter.address })
  const amounts = [4, 5, 2, 1, 1]
  const answers = await Promise.all(amounts.map((amount) => tollgate.consume({ ...calls, amount }, { batchMs: 10 })))
  t.deepEqual(
    answers.map(({ counted }) => counted),
    [true, false, true, true, false],
  )
  t.is(counter.used, 10)
  t.deepEqual(
    counter.asked.map(({ amount }) => Number(amount)),
    [13, ...amounts],
  )
})

test('a batch is not asked twice for what no single use would change, and tells all of an error', async (t) => {
  let asked = 0
  const counter = await openCounter(10, 0, {
    consumeEntitlement: (_, callback) => {
      asked += 1
      if (asked === 1) callback(null, ConsumeEntitlementResponse.fromPartial({ decision: allowed({ allowed: false, reason: 2, kind: 0 }) }))
      else callback(refusal(Status.INVALID_ARGUMENT), null)
    },
  })
  const tollgate = clientOf(t, { address: counter.address })
  const both = () => [1, 2].map((amount) => tollgate.consume({ ...calls, amount }, { batchMs: 5 }))
  for (const answer of await Promise.all(both())) t.like(answer, { allowed: false, counted: false, reason: 'not_granted' })
  t.is(asked, 1)
  for (const one of both()) await failsWith(t, one, 'invalid_request')
  t.is(asked, 2)
})

test('who leaves before a batch is sent is not counted', async (t) => {
  const counter = await openCounter(10)
  const tollgate = clientOf(t, { address: counter.address })
  const stop = new AbortController()
  const reason = new Error('enough')
  const leaves = tollgate.consume({ ...calls, amount: 3 }, { batchMs: 30, signal: stop.signal })
  const stays = tollgate.consume({ ...calls, amount: 4 }, { batchMs: 30 })
  stop.abort(reason)
  t.is(await t.throwsAsync(leaves), reason)
  t.true((await stays).counted)
  t.is(counter.used, 4)
  const alone = tollgate.consume(calls, { batchMs: 10, signal: AbortSignal.abort(reason) })
  t.is(await t.throwsAsync(alone), reason)
})

/** A sidecar that reserves. */
const openReserver = async () => {
  const heard: string[] = []
  const reserved: ReserveEntitlementRequest[] = []
  const released: ReleaseEntitlementRequest[] = []
  const commitKeys = new Set<string>()
  let fail: Status | undefined
  const { address } = await openCounter(10, 0, {
    reserveEntitlement: ({ request }, callback) => {
      reserved.push(request)
      const isAllowed = request.amount <= 10n
      callback(
        null,
        ReserveEntitlementResponse.fromPartial({
          decision: allowed({ allowed: isAllowed, reason: isAllowed ? 1 : 5, kind: 2, limit: 10n, used: 0n, remaining: 10n, resetsAt }),
          ...(isAllowed ? { reservationId: 'r1', expiresAt: new Date(60_000) } : {}),
        }),
      )
    },
    commitReservation: ({ request: { reservationId, amount, idempotencyKey } }, callback) => {
      heard.push(`commit ${reservationId} ${amount}`)
      commitKeys.add(idempotencyKey)
      if (fail !== undefined) callback(refusal(fail), null)
      else callback(null, CommitReservationResponse.fromPartial({ used: amount ?? 5n, overLimit: (amount ?? 0n) > 10n }))
    },
    releaseReservation: ({ request: { reservationId } }, callback) => {
      heard.push(`release ${reservationId}`)
      if (fail !== undefined) callback(refusal(fail), null)
      else callback(null, {})
    },
    releaseEntitlement: ({ request }, callback) => {
      released.push(request)
      callback(null, { used: 3n })
    },
  })
  return {
    address,
    heard,
    reserved,
    released,
    commitKeys,
    failWith: (status: Status | undefined) => {
      fail = status
    },
  }
}
const held = (reserved: Reserved) => {
  if (!reserved.allowed) throw new Error(reserved.reason)
  return reserved
}

test('what is reserved is committed, in whole or as it came to be, or released', async (t) => {
  const sidecar = await openReserver()
  const tollgate = clientOf(t, { address: sidecar.address })
  const first = held(await tollgate.reserve({ ...calls, amount: 5, ttlMs: 30_000 }))
  t.like(first, { allowed: true, kind: 'quota', remaining: 10, expiresAt: new Date(60_000) })
  t.like(sidecar.reserved[0], { amount: 5n, ttl: { seconds: 30n, nanos: 0 } })
  t.not(sidecar.reserved[0]?.idempotencyKey, '')
  t.deepEqual(await first.commit(), { used: 5, overLimit: false })
  t.deepEqual(await first.commit(12), { used: 12, overLimit: true })
  t.is(sidecar.commitKeys.size, 1, 'a repeat counts once')
  await held(await tollgate.reserve(calls)).release()
  await failsWith(t, first.commit(-1), 'invalid_request', /^amount: /)
  t.deepEqual(sidecar.heard, ['commit r1 undefined', 'commit r1 12', 'release r1'])
  const denied = await tollgate.reserve({ ...calls, amount: 11 })
  t.like(denied, { allowed: false, reason: 'limit_exceeded', remaining: 10 })
  t.false('commit' in denied)
  sidecar.failWith(Status.NOT_FOUND)
  await failsWith(t, first.commit(), 'not_found')
  const cache = clientOf(t, { address: sidecar.address, onUnknown: 'allow' })
  sidecar.failWith(Status.UNAVAILABLE)
  await failsWith(t, held(await cache.reserve(calls)).commit(), 'unavailable')
})

test('at the end of its block, what was not committed is released', async (t) => {
  const sidecar = await openReserver()
  const tollgate = clientOf(t, { address: sidecar.address })
  {
    await using reserved = await tollgate.reserve({ ...calls, amount: 5 })
    t.true(reserved.allowed)
  }
  t.deepEqual(sidecar.heard.splice(0), ['release r1'])
  {
    await using reserved = await tollgate.reserve({ ...calls, amount: 5 })
    if (reserved.allowed) await reserved.commit(2)
  }
  t.deepEqual(sidecar.heard.splice(0), ['commit r1 2'])
  {
    await using reserved = await tollgate.reserve({ ...calls, amount: 11 })
    t.false(reserved.allowed)
  }
  t.deepEqual(sidecar.heard, [])
  const fails = async (status: Status) => {
    await using reserved = await tollgate.reserve(calls)
    sidecar.failWith(status)
    return reserved.allowed
  }
  t.true(await fails(Status.NOT_FOUND), 'it has expired')
  t.true(await fails(Status.UNAVAILABLE), 'it will')
  await failsWith(t, fails(Status.UNAUTHENTICATED), 'unauthenticated')
})

test('places of a capacity are given back, by holder or by number', async (t) => {
  const sidecar = await openReserver()
  const tollgate = clientOf(t, { address: sidecar.address })
  t.deepEqual(await tollgate.release({ customer: 'anna', entitlement: 'seats', holder: 'seat:1' }), { used: 3 })
  await tollgate.release({ customer: 'anna', entitlement: 'seats', amount: 2, idempotencyKey: 'k' })
  t.like(sidecar.released[0], { holder: 'seat:1', amount: 0n, customerId: 'anna', entitlement: 'seats' })
  t.not(sidecar.released[0]?.idempotencyKey, '')
  t.like(sidecar.released[1], { holder: '', amount: 2n, idempotencyKey: 'k' })
})

test('what others use is known in memory within a moment, without a question', async (t) => {
  await using tollgate = await openInProcessTollgate()
  const storefronts = [{ id: 'us', region: 'US', currency: 'USD' }]
  const created = await httpClient(tollgate.http).post('/tenants', { id: 'acme', name: 'Acme', mode: 'sandbox', storefronts })
  const api = httpClient(tollgate.http, { key: created.body.apiKey })
  await api.put('/test-clock', { now: systemClock.now().toISOString() })
  await api.post('/customers', { id: 'anna', storefrontId: 'us' })
  const entitlements = [{ key: 'calls', kind: 'quota', limit: 1_000, per: 'year' }]
  t.is((await api.post('/storefronts/us/customers/anna/grants', { entitlements, reason: 'a test' })).status, 201)
  const sidecar = await openSidecar({}, { feed: asLive(tollgate.feed, systemClock) })
  const [uses, looks] = [clientOf(t, { address: sidecar.address, cache: {} }), clientOf(t, { address: sidecar.address, cache: {} })]
  const isShown = (used: number) =>
    eventually(async () => {
      const answer = (await looks.check(calls)) as Decided
      return answer.from === 'memory' && 'used' in answer && answer.used === used
    })
  await isShown(0)
  t.like(await uses.consume({ ...calls, amount: 5 }), { counted: true, used: 5 })
  await isShown(5)
  t.is((await api.post('/usage', { storefrontId: 'us', customerId: 'anna', entitlement: 'calls', amount: 2 })).status, 201)
  await isShown(7)
  await sidecar.close()
})
