/** What is sold has to be sent to sidecars: how large a customer's set may become. */
import test from 'ava'
import fc from 'fast-check'
import { deriveGrants } from '../../common/entitlements/derive.ts'
import { type Entitlement, type Grant, grantModes, grantSources, type Usage } from '../../common/entitlements/model.ts'
import { encodeSet } from '../../common/entitlements/wire.ts'
import { isAppError } from '../../common/errors.ts'
import { MAX_SET_BYTES } from '../../common/feed/feed.ts'
import { checkSetFits, setBytesAtMost } from '../../control-plane/entitlements/check-set-fits.ts'
import { ownKeysOf } from '../../control-plane/keys.ts'
import type { Subscription } from '../../control-plane/schemas/subscription.ts'
import { createSqliteStorage } from '../../control-plane/storage/sqlite.ts'
import type { NewDocument } from '../../control-plane/storage/storage.ts'

const customer = { tenantId: 't', storefrontId: 's', customerId: 'c' }
const at = new Date('2024-03-15T10:00:00Z')
const clock = { now: () => at, nowMs: () => at.getTime() }

const instant = fc.integer({ min: -8.64e15, max: 8.64e15 })
const text = fc.string({ unit: 'grapheme', maxLength: 128 })
const limit = fc.oneof(fc.constant(null), fc.maxSafeNat())
const entitlement = fc.oneof(
  fc.record({ key: text, kind: fc.constant('flag' as const), enabled: fc.boolean() }),
  fc.record({ key: text, kind: fc.constant('quota' as const), limit, per: fc.constantFrom('day' as const, 'quarter' as const) }),
  fc.record({ key: text, kind: fc.constant('capacity' as const), limit }),
  fc.record({ key: text, kind: fc.constant('value' as const), value: text }),
)
/** A subscription, or a grant by hand. */
const whose = fc.oneof(
  fc.record({ subscriptionId: text, bundleId: text }),
  fc.record(
    {
      subscriptionId: fc.constant(''),
      bundleId: fc.constant(''),
      source: fc.record({ type: fc.constantFrom(...grantSources), id: text }),
      mode: fc.constantFrom(...grantModes),
    },
    { requiredKeys: ['subscriptionId', 'bundleId', 'source'] },
  ),
)
const state = fc.record({
  access: fc.constantFrom('on' as const, 'off' as const, 'ended' as const),
  fromMs: instant,
  untilMs: instant,
  anchorMs: instant.map((ms) => () => ms),
  timeZone: fc.constant('America/Argentina/ComodRivadavia'),
  entitlements: fc.array(entitlement, { maxLength: 6 }),
})

const access = fc.tuple(state, whose).map(([one, from]) => ({ ...one, ...from }))

test('a set never becomes larger than estimated: not by usage, not by an end, not by its revision', (t) => {
  fc.assert(
    fc.property(fc.array(access, { maxLength: 4 }), fc.maxSafeNat(), (held, used) => {
      const grants = deriveGrants(held)
      const most = setBytesAtMost(customer, grants)
      const isMetered = ({ terms }: Grant) => terms.kind === 'quota' || terms.kind === 'capacity'
      const usage = grants.filter(isMetered).map(({ key, subscriptionId, source }): Usage => {
        return { key, used, untilMs: 8.64e15, subscriptionId, ...(source ? { sourceId: source.id } : {}) }
      })
      for (const change of [{}, { untilMs: 8.64e15, inactive: true }, { untilMs: -8.64e15 }]) {
        const set = { ...customer, revision: Number.MAX_SAFE_INTEGER, sandbox: true, grants: grants.map((grant) => ({ ...grant, ...change })), usage }
        t.true(encodeSet(set).length <= most)
      }
    }),
    { numRuns: 300 },
  )
})

const values = (count: number): Extract<Entitlement, { kind: 'value' }>[] =>
  Array.from({ length: count }, (_, n) => ({ key: `k${n}`, kind: 'value', value: 'x'.repeat(1_000) }))

const subscription = (id: string, change: Partial<Subscription> = {}): NewDocument<Subscription> => ({
  ...{ _id: `t/${id}`, tenantId: 't', id, storefrontId: 's', customerId: 'c', bundleId: 'b', bundleVersion: 1, quantity: 1 },
  pricing: { amountMinor: 2900, currency: 'USD', interval: 'month', intervalCount: 1 },
  entitlements: [],
  ...{ status: 'active', anchor: at, timeZone: 'UTC', refundEndsAccess: false, billMissed: false, cancelAtPeriodEnd: false },
  currentPeriod: { index: 0, start: at, end: at, wholeStart: at, wholeEnd: at, ownBill: 0, firstBill: 0, creditableMinor: 0, refunds: [] },
  billing: { graceHours: 72, retryHours: [24], firstPaymentHours: 23, proration: 'day', maxAttempts: 15, maxAttemptsDays: 30 },
  ...{ creditMinor: 0, creditRefundedMinor: 0, billsMade: 0, bills: [], events: [], eventsMade: 0, recentCommands: [] },
  ...{ clock: 'system', createdAt: at },
  ...change,
})

test("an addition that would not fit with the customer's set is refused; one that fits, or makes it smaller, is not", async (t) => {
  const storage = createSqliteStorage({ path: ':memory:', clock })
  const of = { storage, keys: ownKeysOf(customer.tenantId) }
  const planned = (id: string, entitlements: Entitlement[], change: Partial<Subscription> = {}) => subscription(id, { entitlements, ...change }) as Subscription
  const fits = (one: Subscription) => checkSetFits(of, customer, [one])
  const refused = async (one: Subscription) => {
    const error = await t.throwsAsync(fits(one))
    t.true(isAppError(error, 'set_too_large'), String(error))
    t.regex(error?.message ?? '', new RegExp(`${MAX_SET_BYTES}`))
  }
  const half = Math.ceil(MAX_SET_BYTES / 2_000)
  await fits(planned('s1', values(half)))
  await refused(planned('s1', values(2 * half)))
  // It gives nothing yet, and will.
  await refused(planned('s1', values(2 * half), { status: 'incomplete' }))
  await storage.subscriptions.insert(subscription('s1', { entitlements: values(half) }))
  await storage.subscriptions.insert(subscription('another', { _id: 't/another', customerId: 'd', entitlements: values(half) }))
  await refused(planned('s2', values(half)))
  await fits(planned('s2', values(10)))
  await fits(planned('s1', values(half + 10)))
  // Before there was a limit more was sold: whoever has too much may still have less, and no more.
  await storage.subscriptions.insert(subscription('s3', { entitlements: values(2 * half) }))
  await refused(planned('s3', values(2 * half + 1)))
  await fits(planned('s3', values(2 * half - 1)))
  await storage.close()
})
