/** `new Server({ interceptors: [gate(tollgate, { entitlement: 'reports', customer: ({ metadata }) => … })] })` */
import { Metadata, ServerInterceptingCall, type ServerInterceptor, status as Status } from '@grpc/grpc-js'
import { type Asked, type GateOptions, judge, type Problem } from './gate.ts'

export type { Problem } from './gate.ts'

/** What is known of a call before its message. */
export interface GatedCall {
  /** For example `/acme.Reports/Get`. */
  path: string
  metadata: Metadata
}

export interface GrpcGateOptions extends Omit<GateOptions<GatedCall>, 'entitlement'> {
  /** The entitlement's key. An interceptor sees all calls of a server: undefined lets one pass that is not for sale. */
  entitlement: string | ((call: GatedCall) => string | undefined)
}

const statusOf = ({ status, reason }: Problem): Status => {
  if (reason === 'limit_exceeded') return Status.RESOURCE_EXHAUSTED
  if (status === 401) return Status.UNAUTHENTICATED
  return status === 503 ? Status.UNAVAILABLE : Status.PERMISSION_DENIED
}

const trailersOf = ({ reason, entitlement, resetsAt }: Problem): Metadata => {
  const metadata = new Metadata()
  metadata.set('tollgate-reason', reason)
  // Only visible ASCII may stand there.
  if (/^[\x20-\x7e]*$/.test(entitlement)) metadata.set('tollgate-entitlement', entitlement)
  if (resetsAt !== undefined) metadata.set('tollgate-resets-at', resetsAt)
  return metadata
}

/** Undefined: the call may pass. */
const problemOf = async (tollgate: Asked, options: GrpcGateOptions, call: GatedCall): Promise<Problem | undefined> => {
  const entitlement = typeof options.entitlement === 'string' ? options.entitlement : options.entitlement(call)
  return entitlement === undefined ? undefined : (await judge(tollgate, { ...options, entitlement }, call)).problem
}

/** An interceptor of grpc-js servers that lets pass who has the entitlement, and ends other calls with a status and the reason in the trailers. */
export const gate =
  (tollgate: Asked, options: GrpcGateOptions): ServerInterceptor =>
  ({ path }, call) =>
    new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            problemOf(tollgate, options, { path, metadata }).then(
              (problem) => {
                if (!problem) pass(metadata)
                else call.sendStatus({ code: statusOf(problem), details: `${problem.entitlement}: ${problem.detail}`, metadata: trailersOf(problem) })
              },
              // The application may look at the error where it makes the client; a caller can do nothing about it.
              () => call.sendStatus({ code: Status.INTERNAL, details: 'the entitlement could not be checked' }),
            )
          },
        }),
    })
