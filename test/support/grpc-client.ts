/** A caller of the sidecar: grpc-js with the generated client. */
import { promisify } from 'node:util'
import { credentials, Metadata, status as Status } from '@grpc/grpc-js'
import {
  type BatchCheckEntitlementsRequest,
  type BatchCheckEntitlementsResponse,
  type CheckEntitlementRequest,
  type CheckEntitlementResponse,
  type CommitReservationResponse,
  type ConsumeEntitlementRequest,
  type ConsumeEntitlementResponse,
  EntitlementServiceClient,
  type ListEntitlementsResponse,
  type ReleaseEntitlementResponse,
  type ReserveEntitlementResponse,
} from '../../proto/gen/entitlement/v1/entitlement.ts'

export interface CheckQuestion {
  tenantId: string
  storefrontId: string
  customerId: string
  entitlement: string
  amount?: number
  minRevision?: number
}

export interface UseQuestion extends CheckQuestion {
  idempotencyKey?: string
  holder?: string
  ttlMs?: number
}

export interface GrpcClient {
  raw: EntitlementServiceClient
  check(question: CheckQuestion, deadlineMs?: number): Promise<CheckEntitlementResponse>
  consume(use: UseQuestion, deadlineMs?: number): Promise<ConsumeEntitlementResponse>
  reserve(use: UseQuestion, deadlineMs?: number): Promise<ReserveEntitlementResponse>
  commit(reservationId: string, amount?: number): Promise<CommitReservationResponse>
  release(reservationId: string): Promise<void>
  giveBack(use: UseQuestion): Promise<ReleaseEntitlementResponse>
  batch(questions: CheckQuestion[]): Promise<CheckEntitlementResponse[]>
  list(question: Omit<CheckQuestion, 'entitlement' | 'amount'>): Promise<ListEntitlementsResponse>
  close(): void
}

const toRequest = (question: CheckQuestion): CheckEntitlementRequest => ({
  tenantId: question.tenantId,
  storefrontId: question.storefrontId,
  customerId: question.customerId,
  entitlement: question.entitlement,
  amount: BigInt(question.amount ?? 0),
  minRevision: BigInt(question.minRevision ?? 0),
})

const toUse = ({ idempotencyKey = '', holder = '', ttlMs, ...question }: UseQuestion): ConsumeEntitlementRequest => ({
  ...toRequest(question),
  idempotencyKey,
  holder,
  ttl: ttlMs === undefined ? undefined : { seconds: BigInt(Math.floor(ttlMs / 1_000)), nanos: (ttlMs % 1_000) * 1_000_000 },
})

/** @param key of a sidecar that asks for one. */
export const grpcClient = (address: string, key?: string): GrpcClient => {
  const raw = new EntitlementServiceClient(address, credentials.createInsecure())
  const metadata = new Metadata()
  if (key !== undefined) metadata.set('authorization', `Bearer ${key}`)
  return {
    raw,
    check: (question, deadlineMs = 10_000) =>
      new Promise((resolve, reject) => {
        raw.checkEntitlement(toRequest(question), metadata, { deadline: Date.now() + deadlineMs }, (error, response) =>
          error ? reject(error) : resolve(response),
        )
      }),
    consume: (use, deadlineMs = 10_000) =>
      new Promise((resolve, reject) => {
        raw.consumeEntitlement(toUse(use), metadata, { deadline: Date.now() + deadlineMs }, (error, response) => (error ? reject(error) : resolve(response)))
      }),
    reserve: (use, deadlineMs = 10_000) =>
      new Promise((resolve, reject) => {
        raw.reserveEntitlement(toUse(use), metadata, { deadline: Date.now() + deadlineMs }, (error, response) => (error ? reject(error) : resolve(response)))
      }),
    commit: (reservationId, amount) =>
      new Promise((resolve, reject) => {
        const request = { reservationId, amount: amount === undefined ? undefined : BigInt(amount), idempotencyKey: '' }
        raw.commitReservation(request, metadata, { deadline: Date.now() + 10_000 }, (error, response) => (error ? reject(error) : resolve(response)))
      }),
    release: (reservationId) =>
      new Promise((resolve, reject) => {
        raw.releaseReservation({ reservationId }, metadata, { deadline: Date.now() + 10_000 }, (error) => (error ? reject(error) : resolve()))
      }),
    giveBack: ({ minRevision: _, ...use }) =>
      new Promise((resolve, reject) => {
        const { ttl: __, minRevision: ___, ...request } = toUse({ ...use, amount: use.amount ?? 0 })
        raw.releaseEntitlement(request, metadata, { deadline: Date.now() + 10_000 }, (error, response) => (error ? reject(error) : resolve(response)))
      }),
    batch: async (questions) => {
      const call = promisify<BatchCheckEntitlementsRequest, BatchCheckEntitlementsResponse>(raw.batchCheckEntitlements.bind(raw) as never)
      return (await call({ checks: questions.map(toRequest) })).results
    },
    list: async (question) => {
      const call = promisify<unknown, ListEntitlementsResponse>(raw.listEntitlements.bind(raw) as never)
      return call({ ...question, minRevision: BigInt(question.minRevision ?? 0) })
    },
    close: () => raw.close(),
  }
}

/** What a call ended with. */
export const codeOf = async (work: Promise<unknown>): Promise<{ code: Status; details: string }> => {
  try {
    await work
    return { code: Status.OK, details: '' }
  } catch (error) {
    return error as { code: Status; details: string }
  }
}
