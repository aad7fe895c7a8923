/** The words of decisions as `proto/entitlement/v1` numbers them, for who writes them and who reads them. */
import * as wire from '../../proto/gen/entitlement/v1/entitlement.ts'
import type { Reason } from './decide.ts'
import type { Kind } from './model.ts'

export const wireReasons: Record<Reason, wire.Reason> = {
  granted: wire.Reason.REASON_GRANTED,
  not_granted: wire.Reason.REASON_NOT_GRANTED,
  disabled: wire.Reason.REASON_DISABLED,
  expired: wire.Reason.REASON_EXPIRED,
  limit_exceeded: wire.Reason.REASON_LIMIT_EXCEEDED,
  customer_unknown: wire.Reason.REASON_CUSTOMER_UNKNOWN,
  subscription_inactive: wire.Reason.REASON_SUBSCRIPTION_INACTIVE,
  fallback: wire.Reason.REASON_FALLBACK,
  blocked: wire.Reason.REASON_BLOCKED,
}

export const wireKinds: Record<Kind, wire.Kind> = {
  flag: wire.Kind.KIND_FLAG,
  quota: wire.Kind.KIND_QUOTA,
  capacity: wire.Kind.KIND_CAPACITY,
  value: wire.Kind.KIND_VALUE,
}
