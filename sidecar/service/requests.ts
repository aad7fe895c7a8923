/** Requests as the domain wants them, or an error that names the field. */
import { type CustomerKey, isTooLong, MAX_ID } from '../../common/entitlements/model.ts'
import { fieldError } from '../../common/errors.ts'
import type { CheckEntitlementRequest, ConsumeEntitlementRequest } from '../../proto/gen/entitlement/v1/entitlement.ts'
import type { Check } from '../check.ts'

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

/** @throws AppError `invalid_request`. */
export const readUse = (request: ConsumeEntitlementRequest): { check: Check; idempotencyKey: string } => {
  const { idempotencyKey, holder } = request
  if (isTooLong(idempotencyKey)) throw fieldError('invalid_request', 'idempotency_key', `must not be longer than ${MAX_ID} characters`)
  if (holder !== '') throw fieldError('invalid_request', 'holder', 'must be empty: only capacities have holders, and they are reported by POST /v1/usage')
  return { check: readCheck(request), idempotencyKey }
}

/** @throws AppError `invalid_request`, naming the check. */
export const readBatch = (checks: readonly CheckEntitlementRequest[]): Check[] => {
  if (checks.length > MAX_BATCH) throw fieldError('invalid_request', 'checks', `must not have more than ${MAX_BATCH} entries`)
  return checks.map((check, n) => readCheck(check, `checks[${n}].`))
}
