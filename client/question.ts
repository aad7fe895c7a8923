/** Questions are checked here by the sidecar's own rules, since an answer from memory never gets to a sidecar. */
import { isTooLong, MAX_ID } from '../common/entitlements/model.ts'
import { TollgateError } from './errors.ts'

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
