/**
 * The four calls of `entitlement.v1`, over the replica. A check whose customer is in memory is answered in the same
 * turn of the event loop; only what has to be fetched or waited for is asynchronous.
 */
import type { handleUnaryCall, ServerWritableStream, sendUnaryData } from '@grpc/grpc-js'
import { status as Status } from '@grpc/grpc-js'
import type { Clock } from '../common/clock.ts'
import { type Decision, decide, decideAll } from '../common/entitlements/decide.ts'
import type { CustomerKey } from '../common/entitlements/model.ts'
import { AppError } from '../common/errors.ts'
import type { Log } from '../common/log.ts'
import type { EntitlementServiceServer, WatchEntitlementsRequest, WatchEntitlementsResponse } from '../proto/gen/entitlement/v1/entitlement.ts'
import type { Known, Replica } from './replica.ts'
import { type Check, readBatch, readCheck, readCustomer } from './requests.ts'
import { type Freshness, toCheckResponse } from './to-wire.ts'

/** How long `min_revision` is waited for when the caller sets no deadline. */
const DEFAULT_WAIT_MS = 5_000
/**
 * The answer has to travel back before the caller's own clock calls the call dead: a quarter of what is left is kept
 * for that, within these bounds.
 */
const [LEAST_MARGIN_MS, MOST_MARGIN_MS] = [20, 250]

export interface EntitlementServiceOptions {
  replica: Replica
  clock: Clock
  maxStalenessMs: number
  log: Log
}

export interface EntitlementService {
  handlers: EntitlementServiceServer
  /** Ends the watches, so that a drain does not wait for callers that never hang up. */
  endWatches(): void
}

const customerUnknown: Decision = { allowed: false, reason: 'customer_unknown', unlimited: false }

const toServiceError = (error: unknown, log: Log): { code: Status; details: string } => {
  if (!(error instanceof AppError)) {
    log.error({ err: error }, 'a call failed')
    return { code: Status.INTERNAL, details: 'something went wrong on our side' }
  }
  const details = error.message
  switch (error.code) {
    case 'invalid_request':
      return { code: Status.INVALID_ARGUMENT, details }
    case 'unauthenticated':
      return { code: Status.UNAUTHENTICATED, details }
    case 'forbidden':
      return { code: Status.PERMISSION_DENIED, details }
    case 'revision_not_reached':
      return { code: Status.FAILED_PRECONDITION, details }
    case 'unavailable':
      return { code: Status.UNAVAILABLE, details }
    default:
      log.error({ err: error }, 'a call failed')
      return { code: Status.INTERNAL, details: 'something went wrong on our side' }
  }
}

export const createEntitlementService = ({ replica, clock, maxStalenessMs, log }: EntitlementServiceOptions): EntitlementService => {
  const watches = new Set<ServerWritableStream<WatchEntitlementsRequest, WatchEntitlementsResponse>>()

  const freshness = (known: Known): Freshness => {
    const asOfMs = replica.asOfMs(known)
    return { revision: known.set?.revision ?? 0, asOfMs, stale: clock.nowMs() - asOfMs > maxStalenessMs }
  }
  const answer = (check: Check, known: Known, nowMs: number) =>
    toCheckResponse(known.set ? decide(known.set, check.entitlement, check.amount, nowMs) : customerUnknown, freshness(known))

  /** Undefined when something has to be fetched or waited for. */
  const answerNow = (check: Check) => {
    const known = replica.peek(check.customer)
    if (!known || (known.set?.revision ?? 0) < check.minRevision) return undefined
    const nowMs = replica.peekNowMs(known)
    return nowMs === undefined ? undefined : answer(check, known, nowMs)
  }
  const find = (customer: CustomerKey, minRevision: number, deadlineMs: number): Promise<Known> =>
    minRevision > 0 ? replica.waitFor(customer, minRevision, deadlineMs) : replica.load(customer)
  const answerLater = async (check: Check, deadlineMs: number) => {
    const known = await find(check.customer, check.minRevision, deadlineMs)
    return answer(check, known, await replica.loadNowMs(known))
  }
  const everything = async (customer: CustomerKey, minRevision: number, deadlineMs: number) => {
    const known = await find(customer, minRevision, deadlineMs)
    const nowMs = await replica.loadNowMs(known)
    const fresh = freshness(known)
    const entitlements = known.set ? decideAll(known.set, nowMs).map(({ key, decision }) => ({ key, decision: toCheckResponse(decision, fresh) })) : []
    return { entitlements, revision: BigInt(fresh.revision), asOf: new Date(fresh.asOfMs), stale: fresh.stale, customerKnown: known.set !== null }
  }

  const deadlineOf = (call: { getDeadline(): Date | number }): number => {
    const deadline = Number(call.getDeadline())
    if (!Number.isFinite(deadline)) return clock.nowMs() + DEFAULT_WAIT_MS
    return deadline - Math.min(MOST_MARGIN_MS, Math.max(LEAST_MARGIN_MS, (deadline - clock.nowMs()) / 4))
  }

  /** @param now answers without waiting, or undefined; it throws only AppErrors about the request. */
  const unary =
    <Request, Response>(
      now: (request: Request) => Response | undefined,
      later: (request: Request, deadlineMs: number) => Promise<Response>,
    ): handleUnaryCall<Request, Response> =>
    (call, callback: sendUnaryData<Response>) => {
      const fail = (error: unknown) => callback(toServiceError(error, log), null)
      try {
        const response = now(call.request)
        if (response !== undefined) callback(null, response)
        else later(call.request, deadlineOf(call)).then((late) => callback(null, late), fail)
      } catch (error) {
        fail(error)
      }
    }

  const watchEntitlements = (call: ServerWritableStream<WatchEntitlementsRequest, WatchEntitlementsResponse>) => {
    watches.add(call)
    /** A change came while the last answer was still on its way: only the newest state is worth sending. */
    let changed = false
    let sending = false
    let ended = false
    let stop = () => {}
    const end = () => {
      ended = true
      stop()
      watches.delete(call)
    }
    const fail = (error: unknown) => {
      end()
      call.emit('error', toServiceError(error, log))
    }
    const send = async (customer: CustomerKey, minRevision: number) => {
      changed = true
      if (sending) return
      sending = true
      try {
        while (changed && !ended) {
          changed = false
          const response = await everything(customer, minRevision, deadlineOf(call))
          if (!ended && !call.write(response)) await new Promise<void>((resolve) => call.once('drain', resolve).once('close', resolve))
        }
      } catch (error) {
        fail(error)
      }
      sending = false
    }
    call.on('cancelled', end)
    call.on('close', end)
    try {
      const { customer, minRevision } = readCustomer(call.request)
      stop = replica.onChange(customer, () => void send(customer, 0))
      void send(customer, minRevision)
    } catch (error) {
      fail(error)
    }
  }

  return {
    handlers: {
      checkEntitlement: unary(
        (request) => answerNow(readCheck(request)),
        (request, deadlineMs) => answerLater(readCheck(request), deadlineMs),
      ),
      batchCheckEntitlements: unary(
        (request) => {
          const results = readBatch(request.checks).map(answerNow)
          return results.every((result) => result !== undefined) ? { results } : undefined
        },
        async (request, deadlineMs) => ({
          results: await Promise.all(readBatch(request.checks).map(async (check) => answerNow(check) ?? answerLater(check, deadlineMs))),
        }),
      ),
      listEntitlements: unary(
        () => undefined,
        async (request, deadlineMs) => {
          const { customer, minRevision } = readCustomer(request)
          return everything(customer, minRevision, deadlineMs)
        },
      ),
      watchEntitlements,
    },
    endWatches: () => {
      for (const call of watches) call.emit('error', { code: Status.UNAVAILABLE, details: 'the sidecar is shutting down; watch again elsewhere' })
      watches.clear()
    },
  }
}
