/**
 * The calls of `entitlement.v1`. A check whose customer is in memory is answered in the same turn of the event
 * loop; only what has to be fetched or waited for is asynchronous.
 */
import type { handleUnaryCall, Metadata, ServerWritableStream, sendUnaryData } from '@grpc/grpc-js'
import { status as Status } from '@grpc/grpc-js'
import type { Clock } from '../../common/clock.ts'
import type { ExplainQuestion, Explanation } from '../../common/entitlements/explanation.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import type { Faults } from '../../common/faults.ts'
import type { EntitlementServiceServer, WatchEntitlementsRequest, WatchEntitlementsResponse } from '../../proto/gen/entitlement/v1/entitlement.ts'
import type { Check, DecidedCheck } from '../check.ts'
import type { Consuming } from './consuming.ts'
import type { CheckCall, Decisions } from './decisions.ts'
import { MAX_HOLDER_TTL_MS, MAX_RESERVATION_TTL_MS, readBatch, readCheck, readCommit, readCustomer, readId, readRelease, readUse } from './requests.ts'
import { deadlineOf, first, hangUpOf, toServiceError } from './service-error.ts'
import { toCheckResponse, toExplainResponse, toListResponse } from './to-wire.ts'
import { untilDrained } from './until-drained.ts'
import { createSetWatches, type SetWatchesOptions } from './watch-entitlement-sets.ts'

export interface EntitlementServiceOptions {
  decisions: Decisions
  consuming: Consuming
  /** Asks the control plane. @throws AppError `unavailable`. */
  explain(question: ExplainQuestion, timeoutMs: number): Promise<Explanation>
  replica: SetWatchesOptions['replica']
  maxStalenessMs: number
  clock: Clock
  faults: Faults
}

export interface EntitlementService {
  handlers: EntitlementServiceServer
  /** Ends the watches, so that a drain does not wait for callers that never hang up. */
  endWatches(): void
}

type CallWithMetadata = { metadata: Metadata }

/** The time that something may be waited for, and the caller that waits. */
interface Patience {
  /** In epoch milliseconds. */
  deadlineMs: number
  /** Aborts when the caller hangs up. */
  signal: AbortSignal
}

const respond = ({ decision, freshness }: DecidedCheck) => toCheckResponse(decision, freshness)

export const createEntitlementService = ({
  decisions,
  consuming,
  explain,
  replica,
  maxStalenessMs,
  clock,
  faults,
}: EntitlementServiceOptions): EntitlementService => {
  const setWatches = createSetWatches({ replica, mayAsk: decisions.mayAsk, clock, maxStalenessMs, faults })
  const watches = new Set<ServerWritableStream<WatchEntitlementsRequest, WatchEntitlementsResponse>>()

  const callOf = (method: string, check: Check, call: CallWithMetadata): CheckCall => {
    decisions.mayAsk(first(call.metadata, 'authorization'), check.customer.tenantId)
    return { method, check, traceparent: first(call.metadata, 'traceparent') }
  }

  /** @param now answers without waiting, or undefined; it throws only AppErrors about the request. */
  const unary =
    <Request, Response>(
      now: (request: Request, call: CallWithMetadata) => Response | undefined,
      later: (request: Request, patience: Patience, call: CallWithMetadata) => Promise<Response>,
    ): handleUnaryCall<Request, Response> =>
    (call, callback: sendUnaryData<Response>) => {
      const fail = (error: unknown) => callback(toServiceError(error, faults), null)
      try {
        const response = now(call.request, call)
        if (response !== undefined) callback(null, response)
        else {
          const patience = { deadlineMs: deadlineOf(call, clock), signal: hangUpOf(call) }
          // Also what cannot be sent is a failure of this call, and of no other.
          later(call.request, patience, call)
            .then((late) => callback(null, late))
            .catch(fail)
        }
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
      call.emit('error', toServiceError(error, faults))
    }
    const send = async (customer: CustomerKey, minRevision: number) => {
      changed = true
      if (sending) return
      sending = true
      try {
        while (changed && !ended) {
          changed = false
          const response = toListResponse(await decisions.everything(customer, minRevision, deadlineOf(call, clock), hangUp))
          if (!ended && !call.write(response)) await untilDrained(call)
        }
      } catch (error) {
        fail(error)
      }
      sending = false
    }
    call.on('cancelled', end)
    call.on('close', end)
    const hangUp = hangUpOf(call)
    try {
      const { customer, minRevision } = readCustomer(call.request)
      decisions.mayAsk(first(call.metadata, 'authorization'), customer.tenantId)
      stop = replica.onChange(customer, () => void send(customer, 0))
      void send(customer, minRevision)
    } catch (error) {
      fail(error)
    }
  }

  return {
    handlers: {
      checkEntitlement: unary(
        (request, call) => {
          const decided = decisions.now(callOf('CheckEntitlement', readCheck(request), call))
          return decided && respond(decided)
        },
        async (request, { deadlineMs, signal }, call) =>
          respond(await decisions.later(callOf('CheckEntitlement', readCheck(request), call), deadlineMs, signal)),
      ),
      batchCheckEntitlements: unary(
        (request, call) => {
          const calls = readBatch(request.checks).map((check) => callOf('BatchCheckEntitlements', check, call))
          const decided = decisions.allNow(calls)
          return decided && { results: decided.map(respond) }
        },
        async (request, { deadlineMs, signal }, call) => {
          const calls = readBatch(request.checks).map((check) => callOf('BatchCheckEntitlements', check, call))
          return { results: await Promise.all(calls.map(async (one) => respond(decisions.now(one) ?? (await decisions.later(one, deadlineMs, signal))))) }
        },
      ),
      consumeEntitlement: unary(
        () => undefined,
        async (request, { deadlineMs, signal }, call) => {
          const use = readUse(request, MAX_HOLDER_TTL_MS)
          const { counted, overLimit, ...decided } = await consuming.consume({ ...use, ...callOf('ConsumeEntitlement', use.check, call) }, deadlineMs, signal)
          return { decision: respond(decided), counted, overLimit }
        },
      ),
      reserveEntitlement: unary(
        () => undefined,
        async (request, { deadlineMs, signal }, call) => {
          const use = readUse(request, MAX_RESERVATION_TTL_MS)
          const reserved = await consuming.reserve({ ...use, ...callOf('ReserveEntitlement', use.check, call) }, deadlineMs, signal)
          const { reservation } = reserved
          return {
            decision: respond(reserved),
            reservationId: reservation?.id ?? '',
            expiresAt: reservation && new Date(reservation.expiresAtMs),
          }
        },
      ),
      commitReservation: unary(
        () => undefined,
        async (request, { deadlineMs }, call) => {
          const { used, overLimit } = await consuming.commit(readCommit(request), first(call.metadata, 'authorization'), deadlineMs)
          return { used: BigInt(used), overLimit }
        },
      ),
      releaseReservation: unary(
        () => undefined,
        async ({ reservationId }, { deadlineMs }, call) => {
          await consuming.release(readId('reservation_id', reservationId), first(call.metadata, 'authorization'), deadlineMs)
          return {}
        },
      ),
      releaseEntitlement: unary(
        () => undefined,
        async (request, { deadlineMs }, call) => {
          const release = readRelease(request)
          decisions.mayAsk(first(call.metadata, 'authorization'), release.customer.tenantId)
          return { used: BigInt(await consuming.giveBack(release, deadlineMs)) }
        },
      ),
      listEntitlements: unary(
        () => undefined,
        async (request, { deadlineMs, signal }, call) => {
          const { customer, minRevision } = readCustomer(request)
          decisions.mayAsk(first(call.metadata, 'authorization'), customer.tenantId)
          return toListResponse(await decisions.everything(customer, minRevision, deadlineMs, signal))
        },
      ),
      explainEntitlement: unary(
        () => undefined,
        async (request, { deadlineMs, signal }, call) => {
          const one = callOf('ExplainEntitlement', readCheck(request), call)
          const decided = decisions.now(one) ?? (await decisions.later(one, deadlineMs, signal))
          const { customer, entitlement } = one.check
          return toExplainResponse(decided, await explain({ ...customer, entitlement }, Math.max(1, deadlineMs - clock.nowMs())))
        },
      ),
      watchEntitlements,
      watchEntitlementSets: setWatches.watch,
    },
    endWatches: () => {
      const shuttingDown = { code: Status.UNAVAILABLE, details: 'the sidecar is shutting down; watch at another one' }
      for (const call of watches) call.emit('error', shuttingDown)
      watches.clear()
      setWatches.endAll(shuttingDown)
    },
  }
}
