/**
 * One error class for everything that a caller can be told. `http/` maps a code to a status, the sidecar's
 * server maps it to a gRPC status. Code that retries a compare-and-set looks for its codes too. Any other thrown value is a fault of ours and is
 * answered as `internal` with no detail.
 */
export type ErrorCode =
  | 'invalid_request'
  | 'malformed_json'
  | 'unauthenticated'
  | 'forbidden'
  | 'not_found'
  | 'method_not_allowed'
  | 'already_exists'
  | 'revision_conflict'
  | 'precondition_failed'
  | 'request_timeout'
  | 'body_too_large'
  | 'headers_too_large'
  | 'unsupported_media_type'
  | 'unknown_reference'
  | 'not_allowed_in_state'
  | 'no_eligible_psp'
  | 'unsupported_by_provider'
  | 'refused_by_provider'
  | 'idempotency_key_reused'
  | 'idempotency_in_progress'
  | 'signature_invalid'
  | 'revision_not_reached'
  | 'set_too_large'
  | 'rate_limited'
  | 'unavailable'
  | 'newer_version'
  | 'internal'

export interface FieldError {
  /** Path in the request, for example `pricing.currency` or `checks[3].customer_id`. */
  field: string
  message: string
}

export class AppError extends Error {
  readonly code: ErrorCode
  readonly errors: readonly FieldError[]

  constructor(code: ErrorCode, message: string, errors: readonly FieldError[] = [], options?: ErrorOptions) {
    super(message, options)
    this.name = 'AppError'
    this.code = code
    this.errors = errors
  }
}

/** An error about one field: the message says what is wrong and what would be right. */
export const fieldError = (code: ErrorCode, field: string, message: string): AppError => new AppError(code, `${field}: ${message}`, [{ field, message }])

export const isAppError = (error: unknown, ...codes: ErrorCode[]): error is AppError =>
  error instanceof AppError && (codes.length === 0 || codes.includes(error.code))
