/** The generated client of Node. */
import { credentials, Metadata, type ServiceError, status as Status } from '@grpc/grpc-js'
import { type CheckEntitlementResponse, EntitlementServiceClient, Kind, Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import type { Said } from './cases.ts'
import type { Call, Driver } from './driver.ts'

const wordOf = (names: Record<string, number | ((...args: never[]) => unknown)>, code: number): string =>
  (Object.entries(names).find(([, value]) => value === code)?.[0] ?? `${code}`).replace(/^[A-Z]+_/, '').toLowerCase()

const saidOf = ({ allowed, reason, kind, unlimited, limit, used, remaining, value, resetsAt, validUntil }: CheckEntitlementResponse): Said => ({
  allowed,
  reason: wordOf(Reason, reason),
  kind: kind === Kind.KIND_UNSPECIFIED ? undefined : wordOf(Kind, kind),
  limit: unlimited ? null : Number(limit),
  used: Number(used),
  remaining: unlimited ? undefined : Number(remaining),
  value,
  resetsAt: resetsAt?.toISOString(),
  validUntil: validUntil?.toISOString(),
})

export const grpcDriver = (name: string, address: string): Driver => {
  const service = new EntitlementServiceClient(address, credentials.createInsecure())
  const reservations = new Map<string, string>()
  const asked = <Response>(start: (metadata: Metadata, options: object, done: (error: ServiceError | null, response: Response) => void) => unknown) =>
    new Promise<Response>((resolve, reject) => {
      start(new Metadata(), { deadline: Date.now() + 10_000 }, (error, response) => (error ? reject(error) : resolve(response)))
    })

  const answer = async ({
    call,
    tenant,
    storefront,
    customer,
    entitlement = '',
    amount,
    idempotencyKey = '',
    holder = '',
    ttlMs,
    ...named
  }: Call): Promise<Said> => {
    const question = { tenantId: tenant, storefrontId: storefront, customerId: customer, entitlement, amount: BigInt(amount ?? 0), minRevision: 0n }
    const ttl = ttlMs === undefined ? undefined : { seconds: BigInt(Math.floor(ttlMs / 1_000)), nanos: (ttlMs % 1_000) * 1e6 }
    const reservationId = reservations.get(named.reservation ?? '') ?? ''
    switch (call) {
      case 'check':
        return saidOf(await asked<CheckEntitlementResponse>((...how) => service.checkEntitlement(question, ...how)))
      case 'consume': {
        const use = { ...question, idempotencyKey, holder, ttl }
        const { decision, counted, overLimit } = await asked<{ decision: CheckEntitlementResponse | undefined; counted: boolean; overLimit: boolean }>(
          (...how) => service.consumeEntitlement(use, ...how),
        )
        return { ...(decision && saidOf(decision)), counted, overLimit }
      }
      case 'reserve': {
        const use = { ...question, idempotencyKey, holder, ttl }
        const { decision, reservationId } = await asked<{ decision: CheckEntitlementResponse | undefined; reservationId: string }>((...how) =>
          service.reserveEntitlement(use, ...how),
        )
        if (named.as !== undefined) reservations.set(named.as, reservationId)
        return { ...(decision && saidOf(decision)) }
      }
      case 'commit': {
        const request = { reservationId, amount: amount === undefined ? undefined : BigInt(amount), idempotencyKey }
        const { used, overLimit } = await asked<{ used: bigint; overLimit: boolean }>((...how) => service.commitReservation(request, ...how))
        return { used: Number(used), overLimit }
      }
      case 'release':
        await asked((...how) => service.releaseReservation({ reservationId }, ...how))
        return {}
      case 'giveBack': {
        const { minRevision: _, ...places } = question
        const { used } = await asked<{ used: bigint }>((...how) => service.releaseEntitlement({ ...places, idempotencyKey, holder }, ...how))
        return { used: Number(used) }
      }
      default:
        return call satisfies never
    }
  }
  return {
    name,
    ask: (call) => answer(call).catch((error: ServiceError) => ({ error: Status[error.code], details: error.details })),
    close: () => service.close(),
  }
}
