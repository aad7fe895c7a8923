/** Decisions as the messages of `proto/entitlement/v1`; the only place that maps them. */
import type { Decision } from '../../common/entitlements/decide.ts'
import type { Explanation } from '../../common/entitlements/explanation.ts'
import { wireKinds, wireReasons } from '../../common/entitlements/wire-names.ts'
import * as wire from '../../proto/gen/entitlement/v1/entitlement.ts'
import type { DecidedCheck, Freshness } from '../check.ts'
import type { Holdings } from './decisions.ts'

/** Exact, or not at all. @throws RangeError for what a number does not hold exactly. */
const countOf = (count = 0): bigint => {
  if (!Number.isSafeInteger(count)) throw new RangeError(`${count} cannot be answered exactly`)
  return BigInt(count)
}

/** @throws RangeError for what is no time. */
const timeOf = (ms: number): Date => {
  const date = new Date(ms)
  if (Number.isNaN(date.getTime())) throw new RangeError(`${ms} is not a valid time`)
  return date
}
const dateOf = (ms: number | undefined): Date | undefined => (ms === undefined ? undefined : timeOf(ms))

/** @throws RangeError when it cannot be answered exactly: the call fails then, and no other. */
export const toCheckResponse = (decision: Decision, freshness: Freshness): wire.CheckEntitlementResponse => ({
  allowed: decision.allowed,
  reason: wireReasons[decision.reason],
  kind: decision.kind ? wireKinds[decision.kind] : wire.Kind.KIND_UNSPECIFIED,
  limit: countOf(decision.limit),
  used: countOf(decision.used),
  remaining: countOf(decision.remaining),
  unlimited: decision.unlimited,
  resetsAt: dateOf(decision.resetsAtMs),
  value: decision.value ?? '',
  validUntil: dateOf(decision.validUntilMs),
  bundleId: decision.bundleId ?? '',
  subscriptionId: decision.subscriptionId ?? '',
  revision: countOf(freshness.revision),
  asOf: timeOf(freshness.asOfMs),
  stale: freshness.stale,
})

/** @throws RangeError when one of them cannot be answered exactly. */
export const toListResponse = ({ decided, freshness, customerKnown }: Holdings): wire.ListEntitlementsResponse => ({
  entitlements: decided.map(({ key, decision }) => ({ key, decision: toCheckResponse(decision, freshness) })),
  revision: countOf(freshness.revision),
  asOf: timeOf(freshness.asOfMs),
  stale: freshness.stale,
  customerKnown,
})

export const toExplainResponse = ({ decision, freshness }: DecidedCheck, { holdings, offers, sources }: Explanation): wire.ExplainEntitlementResponse => ({
  decision: toCheckResponse(decision, freshness),
  holdings: holdings.map(({ periodStart, periodEnd, paymentId = '', paymentStatus = '', ...holding }) => ({
    ...holding,
    periodStart: timeOf(Date.parse(periodStart)),
    periodEnd: timeOf(Date.parse(periodEnd)),
    paymentId,
    paymentStatus,
  })),
  offers: offers.map(({ kind, limit, value = '', ...offer }) => ({
    ...offer,
    kind: wireKinds[kind],
    limit: countOf(limit ?? 0),
    unlimited: limit === null,
    value,
  })),
  sources: sources.map(({ from, until, kind, enabled = false, limit, value = '', ...source }) => ({
    ...source,
    from: timeOf(Date.parse(from)),
    until: until === undefined ? undefined : timeOf(Date.parse(until)),
    kind: wireKinds[kind],
    enabled,
    limit: countOf(limit ?? 0),
    unlimited: limit === null,
    value,
  })),
})
