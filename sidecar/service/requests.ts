/** Requests as the domain wants them, or an error that names the field. */
import { DAY_MS, HOUR_MS } from '../../common/durations.ts'
import { type CustomerKey, isTooLong, MAX_ID } from '../../common/entitlements/model.ts'
import { fieldError } from '../../common/errors.ts'
import type {
  CheckEntitlementRequest,
  CommitReservationRequest,
  ConsumeEntitlementRequest,
  ReleaseEntitlementRequest,
} from '../../proto/gen/entitlement/v1/entitlement.ts'
import type { Duration } from '../../proto/gen/google/protobuf/duration.ts'
import type { Check } from '../check.ts'
import type { Commit, Release, Use } from './consuming.ts'

export const MAX_BATCH = 1_000

/** @throws AppError `invalid_request`. */
export const readId = (field: string, text: string): string => {
  if (text === '') throw fieldError('invalid_request', field, 'must be set')
  if (isTooLong(text)) throw fieldError('invalid_request', field, `must not be longer than ${MAX_ID} characters`)
  return text
}

const count = (field: string, value: bigint): number => {
  if (value < 0n) throw fieldError('invalid_request', field, 'must not be negative')
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw fieldError('invalid_request', field, `must not be more than ${Number.MAX_SAFE_INTEGER}`)
  return Number(value)
}

interface CustomerRequest {
  tenantId: string
  storefrontId: string
  customerId: string
  minRevision: bigint
}

/** @param prefix where the request stands, for example `checks[3].`. @throws AppError `invalid_request`. */
export const readCustomer = (request: CustomerRequest, prefix = ''): { customer: CustomerKey; minRevision: number } => ({
  customer: {
    tenantId: readId(`${prefix}tenant_id`, request.tenantId),
    storefrontId: readId(`${prefix}storefront_id`, request.storefrontId),
    customerId: readId(`${prefix}customer_id`, request.customerId),
  },
  minRevision: count(`${prefix}min_revision`, request.minRevision),
})

/** @throws AppError `invalid_request`. */
export const readCheck = (request: CheckEntitlementRequest, prefix = ''): Check => ({
  ...readCustomer(request, prefix),
  entitlement: readId(`${prefix}entitlement`, request.entitlement),
  amount: count(`${prefix}amount`, request.amount) || 1,
})

/** What need not be there. */
const optionalId = (field: string, text: string): string => (text === '' ? '' : readId(field, text))

/** A holder's, and a reservation's. */
export const [MAX_HOLDER_TTL_MS, MAX_RESERVATION_TTL_MS] = [366 * DAY_MS, HOUR_MS]

const readTtl = (ttl: Duration | undefined, mostMs: number): number | undefined => {
  if (ttl === undefined) return undefined
  const ms = Number(ttl.seconds) * 1_000 + Math.round(ttl.nanos / 1e6)
  if (!(ms >= 1 && ms <= mostMs)) throw fieldError('invalid_request', 'ttl', `must be at least 1 ms and at most ${mostMs / 1_000} s`)
  return ms
}

/** @param maxTtlMs of what is asked for. @throws AppError `invalid_request`. */
export const readUse = (request: ConsumeEntitlementRequest, maxTtlMs: number): Omit<Use, 'method' | 'traceparent'> => ({
  check: readCheck(request),
  idempotencyKey: optionalId('idempotency_key', request.idempotencyKey),
  holder: optionalId('holder', request.holder),
  ttlMs: readTtl(request.ttl, maxTtlMs),
})

/** @throws AppError `invalid_request`. */
export const readCommit = ({ reservationId, amount, idempotencyKey }: CommitReservationRequest): Commit => {
  optionalId('idempotency_key', idempotencyKey)
  return { reservationId: readId('reservation_id', reservationId), amount: amount === undefined ? undefined : count('amount', amount) }
}

/** @throws AppError `invalid_request`. */
export const readRelease = (request: ReleaseEntitlementRequest): Release => ({
  customer: readCustomer({ ...request, minRevision: 0n }).customer,
  entitlement: readId('entitlement', request.entitlement),
  holder: optionalId('holder', request.holder),
  amount: count('amount', request.amount),
  idempotencyKey: optionalId('idempotency_key', request.idempotencyKey),
})

/** @throws AppError `invalid_request`, naming the check. */
export const readBatch = (checks: readonly CheckEntitlementRequest[]): Check[] => {
  if (checks.length > MAX_BATCH) throw fieldError('invalid_request', 'checks', `must not have more than ${MAX_BATCH} entries`)
  return checks.map((check, n) => readCheck(check, `checks[${n}].`))
}
