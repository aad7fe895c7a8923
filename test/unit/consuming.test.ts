import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import type { EntitlementSet } from '../../common/entitlements/model.ts'
import type { Meters } from '../../sidecar/metering/meters.ts'
import { createConsuming, type Use } from '../../sidecar/service/consuming.ts'
import type { Decisions } from '../../sidecar/service/decisions.ts'

const customer = { tenantId: 't', storefrontId: 's', customerId: 'c' }
const terms = { kind: 'quota' as const, limit: null, per: 'month' as const, anchorMs: 0, timeZone: 'UTC' }
const grant = { key: 'calls', subscriptionId: 'sub', bundleId: 'b', inactive: false, fromMs: 0, terms }
const set: EntitlementSet = { ...customer, revision: 1, sandbox: false, grants: [grant], usage: [] }
const freshness = { revision: 1, asOfMs: 0, stale: false }

test('reservations that are over displace none that is still to be committed', async (t) => {
  t.timeout(120_000)
  const decisions = {
    mayAsk: () => {},
    basisNow: () => ({ set, nowMs: Date.now(), freshness }),
    tell: (_: unknown, __: unknown, decision: unknown) => ({ decision, freshness }),
  } as unknown as Decisions
  const meters = {
    consume: () => 'allowed',
    commit: async () => ({ overLimit: false }),
    release: () => {},
    reading: () => undefined,
    found: [],
  } as unknown as Meters
  const consuming = createConsuming({
    decisions,
    meters,
    askHolder: () => Promise.reject(new Error('nobody')),
    policy: { entitlements: {} },
    clock: systemClock,
  })
  const check = { customer, entitlement: 'calls', amount: 1, minRevision: 0 }
  const use: Use = { method: 'ReserveEntitlement', traceparent: undefined, check, idempotencyKey: '', holder: '', ttlMs: 3_600_000 }
  const { signal } = new AbortController()
  const reserve = async () => (await consuming.reserve(use, Date.now() + 1_000, signal)).reservation?.id as string
  const commit = (reservationId: string) => consuming.commit({ reservationId, amount: undefined }, undefined, Date.now() + 1_000)
  const long = await reserve()
  let last = ''
  for (let n = 0; n < 200_000; n += 1) {
    last = await reserve()
    await commit(last)
  }
  t.is((await commit(long)).used, 1)
  t.is((await commit(last)).used, 1, 'a repeat is harmless')
  const released = await reserve()
  await consuming.release(released, undefined, Date.now() + 1_000)
  await consuming.release(released, undefined, Date.now() + 1_000)
  await t.throwsAsync(commit(released), { message: /no such reservation/ })
})
