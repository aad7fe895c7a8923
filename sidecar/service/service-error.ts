/** Our errors as those of gRPC, and what a call brings with it. */
import type { EventEmitter } from 'node:events'
import { type Metadata, status as Status } from '@grpc/grpc-js'
import type { Clock } from '../../common/clock.ts'
import { AppError } from '../../common/errors.ts'
import type { Faults } from '../../common/faults.ts'

/** How long a call waits if the caller sets no deadline, and the longest it waits whatever deadline is set. */
const DEFAULT_WAIT_MS = 5_000
const MAX_WAIT_MS = 30_000
/**
 * The answer has to travel back before the caller's own clock calls the call dead: a quarter of what is left is kept
 * for that, within these bounds.
 */
const [LEAST_MARGIN_MS, MOST_MARGIN_MS] = [20, 250]

export interface ServiceError {
  code: Status
  details: string
}

const codes = {
  invalid_request: Status.INVALID_ARGUMENT,
  unauthenticated: Status.UNAUTHENTICATED,
  forbidden: Status.PERMISSION_DENIED,
  not_found: Status.NOT_FOUND,
  revision_not_reached: Status.FAILED_PRECONDITION,
  unavailable: Status.UNAVAILABLE,
} as const

class HungUp extends Error {
  constructor() {
    super('the caller has hung up')
  }
}

export const toServiceError = (error: unknown, faults: Faults): ServiceError => {
  const code = error instanceof AppError && Object.hasOwn(codes, error.code) ? codes[error.code as keyof typeof codes] : undefined
  if (code !== undefined) return { code, details: (error as AppError).message }
  if (error instanceof HungUp) return { code: Status.CANCELLED, details: error.message }
  faults.tell(error, 'a call failed')
  return { code: Status.INTERNAL, details: 'something went wrong on our side' }
}

/** The first value that a call has under a name. */
export const first = (metadata: Metadata, name: string): string | undefined => metadata.get(name)[0]?.toString()

/** The time by which the answer has to be known, in epoch milliseconds. */
export const deadlineOf = (call: { getDeadline(): Date | number }, clock: Clock): number => {
  const deadline = Number(call.getDeadline())
  if (!Number.isFinite(deadline)) return clock.nowMs() + DEFAULT_WAIT_MS
  const latest = Math.min(deadline, clock.nowMs() + MAX_WAIT_MS)
  return latest - Math.min(MOST_MARGIN_MS, Math.max(LEAST_MARGIN_MS, (latest - clock.nowMs()) / 4))
}

/** Aborts when the caller of a call hangs up. */
export const hangUpOf = (call: Pick<EventEmitter, 'on'>): AbortSignal => {
  const controller = new AbortController()
  call.on('cancelled', () => controller.abort(new HungUp()))
  return controller.signal
}
