/** The way to a sidecar: one channel, with the key, deadlines, and retries of what may be asked twice. */
import {
  type ChannelCredentials,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js'
import { systemClock } from '../common/clock.ts'
import { Secret } from '../common/secret.ts'
import {
  EntitlementServiceClient,
  type WatchEntitlementSetsRequest,
  type WatchEntitlementSetsResponse,
  type WatchEntitlementsRequest,
  type WatchEntitlementsResponse,
} from '../proto/gen/entitlement/v1/entitlement.ts'
import type { CallOptions } from './call-options.ts'
import { TollgateError, toTollgateError } from './errors.ts'

/** PEM. True: TLS, trusting the system's certificate authorities. */
export type Tls = true | { ca?: string | Uint8Array | undefined; cert?: string | Uint8Array | undefined; key?: string | Uint8Array | undefined }

export interface ConnectionOptions {
  /** `host:port` of the sidecar; 127.0.0.1:50051 if neither it nor `socket` is given. */
  address?: string | undefined
  /** Path of the sidecar's Unix socket (GRPC_SOCKET), in place of `address`. */
  socket?: string | undefined
  /** One of the sidecar's SIDECAR_KEYS, if it has any. */
  key?: string | undefined
  tls?: Tls | undefined
}

type Done<Response> = (error: ServiceError | null, response: Response) => void

export interface Connection {
  /**
   * One call, by its deadline.
   * @throws TollgateError; the signal's reason.
   */
  call<Response>(
    start: (service: EntitlementServiceClient, metadata: Metadata, options: { deadline: number }, done: Done<Response>) => ClientUnaryCall,
    timeoutMs: number,
    signal: CallOptions['signal'],
  ): Promise<Response>
  watch(request: WatchEntitlementsRequest): ClientReadableStream<WatchEntitlementsResponse>
  watchSets(): ClientDuplexStream<WatchEntitlementSetsRequest, WatchEntitlementSetsResponse>
  toError(error: unknown): TollgateError
  isClosed(): boolean
  /** @throws TollgateError `closed`. */
  ensureOpen(): void
  /** Ends what is under way, too. */
  close(): void
}

/** Each that counts has an idempotency key, by which a sidecar knows a repeat. A reservation is released once, however often one asks. */
const REPEATABLE = [
  'CheckEntitlement',
  'ListEntitlements',
  'ConsumeEntitlement',
  'ReserveEntitlement',
  'CommitReservation',
  'ReleaseReservation',
  'ReleaseEntitlement',
]
/** Only what a sidecar says that is going or coming: three tries within the deadline. */
const serviceConfig = {
  methodConfig: [
    {
      name: REPEATABLE.map((method) => ({ service: 'entitlement.v1.EntitlementService', method })),
      retryPolicy: { maxAttempts: 3, initialBackoff: '0.05s', maxBackoff: '0.5s', backoffMultiplier: 3, retryableStatusCodes: ['UNAVAILABLE'] },
    },
  ],
}

const channelOptions = {
  'grpc.service_config': JSON.stringify(serviceConfig),
  // A sidecar that restarts is back in a second; the library would wait for up to two minutes.
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 5_000,
  // A connection that is dead and does not say so (a host that is gone) is noticed by this.
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
}

const bytesOf = (pem: string | Uint8Array | undefined): Buffer | null => (pem === undefined ? null : Buffer.from(pem as string))

const credentialsOf = (tls: Tls | undefined): ChannelCredentials => {
  if (tls === undefined) return credentials.createInsecure()
  if (tls === true) return credentials.createSsl()
  if ((tls.cert === undefined) !== (tls.key === undefined)) throw new TollgateError('invalid_request', 'tls: cert and key must be given together')
  try {
    return credentials.createSsl(bytesOf(tls.ca), bytesOf(tls.key), bytesOf(tls.cert))
  } catch (error) {
    // What OpenSSL says of a PEM has nothing of its contents.
    throw new TollgateError('invalid_request', `tls: ${(error as Error).message}`)
  }
}

const targetOf = ({ address, socket }: ConnectionOptions): string => {
  if (address !== undefined && socket !== undefined) throw new TollgateError('invalid_request', 'address: must not be given together with socket')
  if (socket !== undefined) return `unix:${socket}`
  const target = address ?? '127.0.0.1:50051'
  if (!/^[^/]+:\d{1,5}$/.test(target)) throw new TollgateError('invalid_request', 'address: must be host:port, for example 127.0.0.1:50051')
  return target
}

/** What no header can carry, the library refuses with a message that has the key in it. */
const keyOf = ({ key }: ConnectionOptions): Secret | undefined => {
  if (key === undefined) return undefined
  if (!/^[\x21-\x7e]+$/.test(key)) throw new TollgateError('invalid_request', 'key: must be of visible ASCII characters; does it end in a line break?')
  return new Secret(key)
}

/** @throws TollgateError `invalid_request`. */
export const createConnection = (options: ConnectionOptions): Connection => {
  const where = targetOf(options)
  const service = new EntitlementServiceClient(where, credentialsOf(options.tls), channelOptions)
  const key = keyOf(options)
  /** What is under way. The library would let it run on after its channel is closed. */
  const active = new Set<{ cancel(): void }>()
  let closed = false

  const newMetadata = (): Metadata => {
    const metadata = new Metadata()
    if (key) metadata.set('authorization', `Bearer ${key.reveal()}`)
    return metadata
  }
  const closedError = () => new TollgateError('closed', 'this client has been closed')
  const ensureOpen = () => {
    if (closed) throw closedError()
  }
  const opened = <Stream extends ClientReadableStream<unknown>>(open: () => Stream): Stream => {
    ensureOpen()
    const stream = open()
    active.add(stream)
    return stream.on('close', () => active.delete(stream))
  }
  const toError = (error: unknown): TollgateError => {
    if (closed) return closedError()
    return error instanceof TollgateError ? error : toTollgateError(error as ServiceError, where)
  }

  return {
    call: (start, timeoutMs, signal) =>
      new Promise((resolve, reject) => {
        signal?.throwIfAborted()
        ensureOpen()
        const abort = () => {
          call.cancel()
          reject(signal?.reason)
        }
        const call = start(service, newMetadata(), { deadline: systemClock.nowMs() + timeoutMs }, (error, response) => {
          active.delete(call)
          signal?.removeEventListener('abort', abort)
          if (error) reject(toError(error))
          else resolve(response)
        })
        active.add(call)
        signal?.addEventListener('abort', abort, { once: true })
      }),
    watch: (request) => opened(() => service.watchEntitlements(request, newMetadata())),
    watchSets: () => opened(() => service.watchEntitlementSets(newMetadata())),
    toError,
    isClosed: () => closed,
    ensureOpen,
    close: () => {
      closed = true
      for (const call of [...active]) call.cancel()
      service.close()
    },
  }
}
