/** A sidecar that answers as a test says, and counts what it was asked: for what a real one does not do on demand. */
import { Metadata, Server, ServerCredentials, type ServerDuplexStream, type ServiceError, status as Status, type sendUnaryData } from '@grpc/grpc-js'
import test from 'ava'
import {
  type CheckEntitlementRequest,
  CheckEntitlementResponse,
  type CustomerSet,
  type EntitlementServiceServer,
  EntitlementServiceService,
  type WatchEntitlementSetsRequest,
  WatchEntitlementSetsResponse,
} from '../../proto/gen/entitlement/v1/entitlement.ts'

export type SetsStream = ServerDuplexStream<WatchEntitlementSetsRequest, WatchEntitlementSetsResponse>

export interface Stub {
  address: string
  /** Customers that were asked about by calls. */
  asked: CheckEntitlementRequest[]
  streams: SetsStream[]
  /** What each stream was sent. */
  requests: WatchEntitlementSetsRequest[]
}

export const refusal = (code: Status, details = 'the test says so'): ServiceError =>
  Object.assign(new Error(details), { code, details, metadata: new Metadata() })

/** A message of the stream; `now` and `asOf` are those of this moment. */
export const message = (...sets: Partial<CustomerSet>[]): WatchEntitlementSetsResponse =>
  WatchEntitlementSetsResponse.fromPartial({ now: new Date(), asOf: new Date(), sets })

const open = new Set<Server>()
test.after.always(() => {
  for (const server of open) server.forceShutdown()
})

export const openStub = async (
  answer: (request: CheckEntitlementRequest, callback: sendUnaryData<CheckEntitlementResponse>, nth: number) => void,
  onStream?: (stream: SetsStream, request: WatchEntitlementSetsRequest) => void,
  /** Calls that count. */
  counting: Partial<EntitlementServiceServer> = {},
): Promise<Stub> => {
  const stub: Stub = { address: '', asked: [], streams: [], requests: [] }
  const server = new Server()
  server.addService(EntitlementServiceService, {
    ...counting,
    checkEntitlement: ({ request }: { request: CheckEntitlementRequest }, callback: sendUnaryData<CheckEntitlementResponse>) => {
      stub.asked.push(request)
      answer(request, callback, stub.asked.length)
    },
    // It never says anything.
    watchEntitlements: () => undefined,
    watchEntitlementSets: (stream: SetsStream) => {
      stub.streams.push(stream)
      stream.on('data', (request: WatchEntitlementSetsRequest) => {
        stub.requests.push(request)
        if (onStream) onStream(stream, request)
        else stream.emit('error', refusal(Status.UNIMPLEMENTED))
      })
    },
  })
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound))),
  )
  open.add(server)
  stub.address = `127.0.0.1:${port}`
  return stub
}

export const allowed = (more: Partial<CheckEntitlementResponse> = {}): CheckEntitlementResponse =>
  CheckEntitlementResponse.fromPartial({ allowed: true, reason: 1, kind: 1, revision: 1n, asOf: new Date(), ...more })
