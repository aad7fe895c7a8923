/** What can go wrong with a question, as one class with a code. A denial is an answer, and never an error. */
import { type ServiceError, status as Status } from '@grpc/grpc-js'

export type TollgateErrorCode =
  /** No sidecar can be reached, or it does not know and cannot ask. */
  | 'unavailable'
  /** No answer within `timeoutMs`. */
  | 'timed_out'
  /** The customer's set did not reach `minRevision` in time, or the sidecar is behind what this client has answered before. */
  | 'revision_not_reached'
  /** The sidecar failed. Its log says why. */
  | 'internal'
  /** The sidecar requires a key, and `key` is not one of its keys. */
  | 'unauthenticated'
  /** `key` is not for this tenant. */
  | 'forbidden'
  /** A reservation was released, has been forgotten, or is another sidecar's. */
  | 'not_found'
  /** A field is wrong; the message begins with its name. */
  | 'invalid_request'
  /** The sidecar is older than this client, and does not have the call. */
  | 'unsupported'
  /** `close()` has been called. */
  | 'closed'

export class TollgateError extends Error {
  readonly code: TollgateErrorCode

  constructor(code: TollgateErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TollgateError'
    this.code = code
  }
}

/** Trying later may help. The other codes say that something is set up wrongly, and nobody should take that for an answer. */
const passing: ReadonlySet<TollgateErrorCode> = new Set(['unavailable', 'timed_out', 'revision_not_reached', 'internal'])

/** Whether an error means that nobody could say, in contrast to a question that was wrong. */
export const isUnknown = (error: unknown): error is TollgateError => error instanceof TollgateError && passing.has(error.code)

const codes: Partial<Record<Status, TollgateErrorCode>> = {
  [Status.UNAVAILABLE]: 'unavailable',
  [Status.RESOURCE_EXHAUSTED]: 'unavailable',
  [Status.CANCELLED]: 'unavailable',
  [Status.DEADLINE_EXCEEDED]: 'timed_out',
  [Status.FAILED_PRECONDITION]: 'revision_not_reached',
  [Status.UNAUTHENTICATED]: 'unauthenticated',
  [Status.PERMISSION_DENIED]: 'forbidden',
  [Status.NOT_FOUND]: 'not_found',
  [Status.INVALID_ARGUMENT]: 'invalid_request',
  [Status.UNIMPLEMENTED]: 'unsupported',
}

export const toTollgateError = (error: ServiceError, where: string): TollgateError => {
  const code = codes[error.code] ?? 'internal'
  return new TollgateError(code, code === 'invalid_request' ? error.details : `the sidecar at ${where}: ${error.details}`, { cause: error })
}
