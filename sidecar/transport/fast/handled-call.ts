/** The parts that calls which are given to handlers of grpc-js have in common. */
import { Metadata, status as Status } from '@grpc/grpc-js'
import type { Field } from './request-headers.ts'

/** An error as handlers say it. */
export interface HandlerError {
  code?: Status
  details?: string
  message?: string
}

export const tooLate: HandlerError = { code: Status.DEADLINE_EXCEEDED, details: 'the deadline has passed' }
export const ourFault: HandlerError = { code: Status.INTERNAL, details: 'something went wrong on our side' }

export const statusCodeOf = (error: HandlerError): Status => (typeof error.code === 'number' && error.code in Status ? error.code : Status.UNKNOWN)

export const metadataOf = (headers: readonly Field[]): Metadata => {
  const metadata = new Metadata()
  for (const { name, value } of headers) {
    if (name.startsWith(':') || name.startsWith('grpc-') || name === 'te' || name === 'content-type') continue
    try {
      metadata.add(name, name.endsWith('-bin') ? Buffer.from(value, 'base64') : value)
    } catch {
      // What gRPC has no name or value for is not part of the call.
    }
  }
  return metadata
}

/** Timers take no longer times. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1

export const afterTimeout = (timeoutMs: number | undefined, act: () => void): NodeJS.Timeout | undefined =>
  timeoutMs === undefined ? undefined : setTimeout(act, Math.min(timeoutMs, MAX_TIMEOUT_MS))
