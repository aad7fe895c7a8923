/** Decisions as the messages of `proto/entitlement/v1`; the only place that maps them. */
import type { Decision, Reason } from '../../common/entitlements/decide.ts'
import type { Explanation } from '../../common/entitlements/explanation.ts'
import type { Kind } from '../../common/entitlements/model.ts'
import * as wire from '../../proto/gen/entitlement/v1/entitlement.ts'
import type { Answered, Freshness, Holdings } from './answered.ts'

export const reasons: Record<Reason, wire.Reason> = {
  granted: wire.Reason.REASON_GRANTED,
  not_granted: wire.Reason.REASON_NOT_GRANTED,
  disabled: wire.Reason.REASON_DISABLED,
  expired: wire.Reason.REASON_EXPIRED,
  limit_exceeded: wire.Reason.REASON_LIMIT_EXCEEDED,
  customer_unknown: wire.Reason.REASON_CUSTOMER_UNKNOWN,
  subscription_inactive: wire.Reason.REASON_SUBSCRIPTION_INACTIVE,
  fallback: wire.Reason.REASON_FALLBACK,
}

export const kinds: Record<Kind, wire.Kind> = {
  flag: wire.Kind.KIND_FLAG,
  quota: wire.Kind.KIND_QUOTA,
  capacity: wire.Kind.KIND_CAPACITY,
  value: wire.Kind.KIND_VALUE,
}

const dateOf = (ms: number | undefined): Date | undefined => (ms === undefined ? undefined : new Date(ms))

export const toCheckResponse = (decision: Decision, freshness: Freshness): wire.CheckEntitlementResponse => ({
  allowed: decision.allowed,
  reason: reasons[decision.reason],
  kind: decision.kind ? kinds[decision.kind] : wire.Kind.KIND_UNSPECIFIED,
  limit: BigInt(decision.limit ?? 0),
  used: BigInt(decision.used ?? 0),
  remaining: BigInt(decision.remaining ?? 0),
  unlimited: decision.unlimited,
  resetsAt: dateOf(decision.resetsAtMs),
  value: decision.value ?? '',
  validUntil: dateOf(decision.validUntilMs),
  bundleId: decision.bundleId ?? '',
  subscriptionId: decision.subscriptionId ?? '',
  revision: BigInt(freshness.revision),
  asOf: new Date(freshness.asOfMs),
  stale: freshness.stale,
})

export const toListResponse = ({ decided, freshness, customerKnown }: Holdings): wire.ListEntitlementsResponse => ({
  entitlements: decided.map(({ key, decision }) => ({ key, decision: toCheckResponse(decision, freshness) })),
  revision: BigInt(freshness.revision),
  asOf: new Date(freshness.asOfMs),
  stale: freshness.stale,
  customerKnown,
})

export const toExplainResponse = ({ decision, freshness }: Answered, { holdings, offers }: Explanation): wire.ExplainEntitlementResponse => ({
  decision: toCheckResponse(decision, freshness),
  holdings: holdings.map(({ periodStart, periodEnd, paymentId = '', paymentStatus = '', ...holding }) => ({
    ...holding,
    periodStart: new Date(periodStart),
    periodEnd: new Date(periodEnd),
    paymentId,
    paymentStatus,
  })),
  offers: offers.map(({ kind, limit, value = '', ...offer }) => ({
    ...offer,
    kind: kinds[kind],
    limit: BigInt(limit ?? 0),
    unlimited: limit === null,
    value,
  })),
})
