/** Questions are checked here by the sidecar's own rules, since an answer from memory never gets to a sidecar. */
import { isTooLong, MAX_ID } from '../common/entitlements/model.ts'
import { TollgateError } from './errors.ts'
import type { Use } from './tollgate.ts'

/** @throws TollgateError `invalid_request`. */
export const checkId = (field: string, id: unknown): string => {
  if (typeof id !== 'string' || id === '') throw new TollgateError('invalid_request', `${field}: must be set`)
  if (isTooLong(id)) throw new TollgateError('invalid_request', `${field}: must not be longer than ${MAX_ID} characters`)
  return id
}

/** @throws TollgateError `invalid_request`. */
export const checkCount = (field: string, count: number): number => {
  if (!Number.isSafeInteger(count) || count < 0)
    throw new TollgateError('invalid_request', `${field}: must be a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`)
  return count
}

/** @throws TollgateError `invalid_request`. */
export const checkUse = ({ customer, entitlement, amount = 1, minRevision = 0, idempotencyKey, holder, ttlMs }: Use): void => {
  checkId('customer', customer)
  checkId('entitlement', entitlement)
  checkCount('amount', amount)
  checkCount('minRevision', minRevision)
  if (idempotencyKey !== undefined) checkId('idempotencyKey', idempotencyKey)
  if (holder !== undefined) checkId('holder', holder)
  if (ttlMs !== undefined && checkCount('ttlMs', ttlMs) === 0) throw new TollgateError('invalid_request', 'ttlMs: must be at least 1')
}
