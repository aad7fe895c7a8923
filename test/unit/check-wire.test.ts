import test from 'ava'
import fc from 'fast-check'
import type { Decision } from '../../common/entitlements/decide.ts'
import { kinds } from '../../common/entitlements/model.ts'
import { wireReasons } from '../../common/entitlements/wire-names.ts'
import { CheckEntitlementRequest, CheckEntitlementResponse } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { CheckRequest, isPlain, MAX_ANSWER_BYTES, writeAnswer } from '../../sidecar/service/check-wire.ts'
import { toCheckResponse } from '../../sidecar/service/to-wire.ts'

const count = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 300 }), fc.maxSafeNat())
const instant = fc.oneof(fc.integer({ min: 0, max: 8_000_000_000_000 }), fc.constant(8.64e15))
/** What no answer may hold, and a stored set might. */
const wild = fc.oneof(fc.double(), fc.constantFrom(2 ** 53, 2 ** 60, 2 ** 63, 2 ** 64, 1e300, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY))
const text = fc.oneof(fc.constant(''), fc.string({ maxLength: 128 }), fc.string({ unit: 'grapheme', maxLength: 40 }))

test('answers are written as the generated code writes them', (t) => {
  const decision = fc.record(
    {
      allowed: fc.boolean(),
      reason: fc.constantFrom(...(Object.keys(wireReasons) as (keyof typeof wireReasons)[])),
      unlimited: fc.boolean(),
      kind: fc.constantFrom(...kinds),
      limit: count,
      used: count,
      remaining: count,
      resetsAtMs: instant,
      value: text,
      validUntilMs: instant,
      bundleId: text,
      subscriptionId: text,
    },
    { requiredKeys: ['allowed', 'reason', 'unlimited'] },
  )
  const into = Buffer.alloc(MAX_ANSWER_BYTES + 3)
  fc.assert(
    fc.property(decision, count, instant, fc.boolean(), (made, revision, asOfMs, stale) => {
      if (!isPlain(made as Decision)) return
      const freshness = { revision, asOfMs, stale }
      const end = writeAnswer(into, 3, made as Decision, freshness)
      t.true(end <= MAX_ANSWER_BYTES + 3)
      t.deepEqual(into.subarray(3, end), Buffer.from(CheckEntitlementResponse.encode(toCheckResponse(made as Decision, freshness)).finish()))
    }),
    { numRuns: 2_000 },
  )
})

test('a number that cannot be written exactly is not written in place, and nowhere as another number', (t) => {
  const into = Buffer.alloc(MAX_ANSWER_BYTES)
  const freshness = { revision: 1, asOfMs: 0, stale: false }
  const fields = fc.constantFrom('limit' as const, 'used' as const, 'remaining' as const, 'validUntilMs' as const, 'resetsAtMs' as const)
  fc.assert(
    fc.property(fields, wild, (field, value) => {
      const made: Decision = { allowed: true, reason: 'granted', kind: 'quota', unlimited: false, [field]: value }
      const isTime = field.endsWith('Ms')
      if (isPlain(made)) {
        t.true(Number.isSafeInteger(value) && value >= 0 && (!isTime || value <= 8.64e15))
        const end = writeAnswer(into, 0, made, freshness)
        t.deepEqual(into.subarray(0, end), Buffer.from(CheckEntitlementResponse.encode(toCheckResponse(made, freshness)).finish()))
      } else if (isTime ? !(Math.abs(value) <= 8.64e15) : !Number.isSafeInteger(value)) {
        t.throws(() => toCheckResponse(made, freshness), { instanceOf: RangeError })
      } else if (!isTime) t.is(toCheckResponse(made, freshness)[field as 'limit'], BigInt(value))
    }),
    { numRuns: 2_000 },
  )
})

test('the short way reads what the generated code reads, and leaves unusual requests to it', (t) => {
  const request = new CheckRequest()
  let plain = 0
  const any = fc.record({
    tenantId: text,
    storefrontId: text,
    customerId: text,
    entitlement: text,
    amount: fc.bigInt({ min: -5n, max: 2n ** 62n }),
    minRevision: fc.bigInt({ min: 0n, max: 2n ** 63n }),
  })
  const usual = any.map((one) => ({
    ...one,
    tenantId: 'acme',
    storefrontId: 'us',
    customerId: 'john@example.com',
    entitlement: 'seats',
    amount: BigInt.asUintN(40, one.amount),
    minRevision: BigInt.asUintN(48, one.minRevision),
  }))
  fc.assert(
    fc.property(fc.oneof(any, usual), (one) => {
      const bytes = Buffer.concat([Buffer.alloc(7, 0xff), CheckEntitlementRequest.encode(one).finish(), Buffer.alloc(2, 0xff)])
      if (!request.read(bytes, 7, bytes.length - 2)) return
      plain += 1
      const read = [0, 2, 4, 6].map((n) => bytes.toString('utf8', request.texts[n], request.texts[n + 1]))
      t.deepEqual(read, [one.tenantId, one.storefrontId, one.customerId, one.entitlement])
      t.is(request.amount, Number(one.amount) || 1)
      t.is(request.minRevision, Number(one.minRevision))
      const entitlement = request.entitlement(bytes)
      if (entitlement !== undefined) t.is(entitlement, one.entitlement)
    }),
    { numRuns: 2_000 },
  )
  t.true(plain > 800)
})

test('a request that is cut off, or goes on, is read as the generated code reads it, or left to it', (t) => {
  const request = new CheckRequest()
  const whole = CheckEntitlementRequest.encode({
    tenantId: 't',
    storefrontId: 's',
    customerId: 'c',
    entitlement: 'a',
    amount: 300n,
    minRevision: 70_000n,
  }).finish()
  const tails = [[], [0x22], [0x22, 1], [0x22, 1, 97, 0x22], [0x0a], [0x28], [0x28, 128], [0x30]]
  let plain = 0
  for (let cut = 0; cut <= whole.length; cut += 1) {
    for (const tail of tails) {
      const message = Uint8Array.from([...whole.subarray(0, cut), ...tail])
      // Alone, and with other bytes behind it.
      for (const bytes of [Buffer.from(message), Buffer.concat([message, Buffer.alloc(9, 1)])]) {
        if (!request.read(bytes, 0, message.length)) continue
        plain += 1
        const { tenantId, storefrontId, entitlement, customerId } = CheckEntitlementRequest.decode(message)
        t.deepEqual(
          [0, 1, 2, 3].map((n) => request.text(bytes, n)),
          [tenantId, storefrontId, customerId, entitlement],
        )
      }
    }
  }
  t.true(plain > 10)
})

test('any bytes at all are read, or left to the generated code', (t) => {
  const request = new CheckRequest()
  t.false(request.read(Uint8Array.of(0x0a, 200), 0, 2))
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.constantFrom(0x0a, 0x12, 0x1a, 0x22, 1, 2, 3), fc.integer({ min: 0, max: 255 })), { maxLength: 40 }), (raw) => {
      const bytes = Uint8Array.from(raw)
      if (!request.read(bytes, 0, bytes.length)) return
      for (let n = 0; n < 8; n += 2) t.true((request.texts[n] as number) < (request.texts[n + 1] as number) && (request.texts[n + 1] as number) <= bytes.length)
    }),
    { numRuns: 20_000 },
  )
})
