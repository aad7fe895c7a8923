/**
 * The calls that count. Each has an idempotency key, its own or one that is made up for it, so that a try that is repeated
 * within the call counts once: at the same sidecar, which is who knows the key.
 */
import { randomUUID } from 'node:crypto'
import { systemClock } from '../common/clock.ts'
import type {
  CommitReservationResponse,
  ConsumeEntitlementResponse,
  ReleaseEntitlementResponse,
  ReleaseReservationResponse,
  ReserveEntitlementResponse,
} from '../proto/gen/entitlement/v1/entitlement.ts'
import type { Duration } from '../proto/gen/google/protobuf/duration.ts'
import { type Consumed, type Decided, type Reservation, type Reserved, readAnswer } from './answer.ts'
import type { CallOptions } from './call-options.ts'
import type { Connection } from './connection.ts'
import { isUnknown, TollgateError } from './errors.ts'
import { checkCount, checkUse } from './question.ts'
import type { GivenBack, Use } from './tollgate.ts'

export interface Counting {
  /** @throws TollgateError; the signal's reason. */
  consume(use: Use, options: CallOptions): Promise<Decided & Consumed>
  /** @throws as `consume`. */
  reserve(use: Use, options: CallOptions): Promise<Reserved>
  /** @throws as `consume`. */
  release(places: GivenBack, options: CallOptions): Promise<{ used: number }>
}

export interface CountingOptions {
  connection: Pick<Connection, 'call'>
  tenantId: string
  storefrontId: string
  timeoutMs: number
  /** The sidecar has said how much is used; or it is to be asked, if there is no answer. */
  onCount(customerId: string, entitlement: string, answer?: Decided): void
}

const durationOf = (ms: number | undefined): Duration | undefined =>
  ms === undefined ? undefined : { seconds: BigInt(Math.floor(ms / 1_000)), nanos: (ms % 1_000) * 1_000_000 }

const decisionIn = ({ decision }: { decision: Parameters<typeof readAnswer>[0] | undefined }): Decided => {
  if (!decision) throw new TollgateError('internal', 'the sidecar answered without a decision')
  return readAnswer(decision, systemClock.nowMs())
}

export const createCounting = ({ connection, tenantId, storefrontId, timeoutMs, onCount }: CountingOptions): Counting => {
  const requestOf = ({ customer, entitlement, amount = 1, minRevision = 0, idempotencyKey = randomUUID(), holder = '', ttlMs }: Use) => ({
    tenantId,
    storefrontId,
    customerId: customer,
    entitlement,
    amount: BigInt(amount),
    minRevision: BigInt(minRevision),
    idempotencyKey,
    holder,
    ttl: durationOf(ttlMs),
  })
  const call = <Response>(start: Parameters<typeof connection.call<Response>>[0], options: CallOptions): Promise<Response> =>
    connection.call(start, options.timeoutMs ?? timeoutMs, options.signal)
  /** A call that counts. How one that fails ended, nobody knows. */
  const count = async <Response extends { decision: Parameters<typeof readAnswer>[0] | undefined }>(
    { customer, entitlement }: Use,
    calling: Promise<Response>,
  ): Promise<{ answer: Decided; response: Response }> => {
    try {
      const response = await calling
      const answer = decisionIn(response)
      onCount(customer, entitlement, answer)
      return { answer, response }
    } catch (error) {
      onCount(customer, entitlement)
      throw error
    }
  }

  const reservationOf = (use: Use, { reservationId, expiresAt = new Date(Number.NaN) }: ReserveEntitlementResponse): Reservation & AsyncDisposable => {
    const idempotencyKey = randomUUID()
    let isSettled = false
    const settle = async <Response>(settling: Promise<Response>): Promise<Response> => {
      // A commit that failed may have come through, and is not to be taken back: then it can be repeated.
      isSettled = true
      try {
        return await settling
      } finally {
        // How much is used now, the answer does not say.
        onCount(use.customer, use.entitlement)
      }
    }
    const release = async (options: CallOptions = {}): Promise<void> => {
      await settle(call<ReleaseReservationResponse>((service, ...how) => service.releaseReservation({ reservationId }, ...how), options))
    }
    return {
      expiresAt,
      commit: async (amount, options = {}) => {
        if (amount !== undefined) checkCount('amount', amount)
        const request = { reservationId, amount: amount === undefined ? undefined : BigInt(amount), idempotencyKey }
        const { used, overLimit } = await settle(call<CommitReservationResponse>((service, ...how) => service.commitReservation(request, ...how), options))
        return { used: Number(used), overLimit }
      },
      release,
      [Symbol.asyncDispose]: async () => {
        if (isSettled) return
        await release().catch((error) => {
          // It expires by itself, and has perhaps.
          if (!isUnknown(error) && !(error instanceof TollgateError && error.code === 'not_found')) throw error
        })
      },
    }
  }

  return {
    consume: async (use, options) => {
      checkUse(use)
      const request = requestOf(use)
      const calling = call<ConsumeEntitlementResponse>((service, ...how) => service.consumeEntitlement(request, ...how), options)
      const { answer, response } = await count(use, calling)
      return { ...answer, counted: response.counted, overLimit: response.overLimit }
    },
    reserve: async (use, options) => {
      checkUse(use)
      const request = requestOf(use)
      const calling = call<ReserveEntitlementResponse>((service, ...how) => service.reserveEntitlement(request, ...how), options)
      const { answer, response } = await count(use, calling)
      if (response.reservationId === '') return { ...answer, allowed: false, [Symbol.asyncDispose]: async () => {} } as Reserved
      return { ...answer, allowed: true, ...reservationOf(use, response) } as Reserved
    },
    release: async (places, options) => {
      checkUse(places)
      // 0 is all that the holder occupies.
      const { minRevision: _, ttl: __, ...request } = requestOf({ ...places, amount: places.amount ?? 0 })
      const { used } = await call<ReleaseEntitlementResponse>((service, ...how) => service.releaseEntitlement(request, ...how), options)
      onCount(places.customer, places.entitlement)
      return { used: Number(used) }
    },
  }
}
