/** The one place where an error becomes an HTTP answer: RFC 9457 `application/problem+json` with a stable code. */
import type { z } from 'zod'
import { AppError, type ErrorCode, type FieldError } from '../../common/errors.ts'

export const statuses: Record<ErrorCode, number> = {
  invalid_request: 400,
  malformed_json: 400,
  unauthenticated: 401,
  signature_invalid: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  already_exists: 409,
  revision_conflict: 409,
  not_allowed_in_state: 409,
  idempotency_in_progress: 409,
  precondition_failed: 412,
  revision_not_reached: 412,
  request_timeout: 408,
  body_too_large: 413,
  unsupported_media_type: 415,
  unknown_reference: 422,
  no_eligible_psp: 422,
  unsupported_by_provider: 422,
  refused_by_provider: 422,
  idempotency_key_reused: 422,
  set_too_large: 422,
  rate_limited: 429,
  headers_too_large: 431,
  internal: 500,
  unavailable: 503,
  newer_version: 503,
}

export interface Problem {
  type: string
  title: string
  status: number
  code: ErrorCode
  detail: string
  /** The first of `errors`, for those who show one. */
  field?: string
  errors?: readonly FieldError[]
  requestId: string
}

export const toProblem = (error: unknown, requestId: string): Problem => {
  // What we did not foresee is told to the log, not to the caller.
  const { code, message, errors } =
    error instanceof AppError ? error : new AppError('internal', 'something went wrong on our side; search the log for the request id')
  const field = errors[0]?.field
  return {
    type: `urn:tollgate:error:${code}`,
    title: code.replaceAll('_', ' '),
    status: statuses[code],
    code,
    detail: message,
    ...(field === undefined ? {} : { field }),
    ...(errors.length > 0 ? { errors } : {}),
    requestId,
  }
}

/** The name of a field's part: `pricing.currency`, `checks[3]`. */
export const under = (name: string, key: PropertyKey): string =>
  typeof key === 'number' ? `${name}[${key}]` : name === '' ? String(key) : `${name}.${String(key)}`

const fieldName = (path: readonly PropertyKey[]): string => path.reduce<string>(under, '')

/** An answer lists so many mistakes, and the others when these are corrected: it is never larger than its question by much. */
const MOST_ERRORS = 20
/** Characters of a field's name, which may be the caller's own invention. */
export const MOST_NAME = 200

/** The issues of a failed validation, each with its field. */
export const validationError = (issues: readonly z.core.$ZodIssue[], part: 'body' | 'query' | 'path'): AppError => {
  const errors = issues.flatMap((issue): FieldError[] => {
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({ field: fieldName([...issue.path, key]), message: 'is not a field of this request' }))
    }
    return [{ field: fieldName(issue.path) || part, message: issue.message }]
  })
  const told = errors.slice(0, MOST_ERRORS).map(({ field, message }) => ({ field: field.slice(0, MOST_NAME), message }))
  const more = errors.length > told.length ? `; and ${errors.length - told.length} more` : ''
  return new AppError('invalid_request', `${told.map(({ field, message }) => `${field}: ${message}`).join('; ')}${more}`, told)
}
