/** `envoy.service.auth.v3.Authorization`: Envoy's external authorization over gRPC. */
import { type handleUnaryCall, status as Status } from '@grpc/grpc-js'
import type { Clock } from '../../common/clock.ts'
import type { Faults } from '../../common/faults.ts'
import { type HeaderMap, type HeaderValueOption, HeaderValueOption_HeaderAppendAction } from '../../proto/gen/envoy/config/core/v3/base.ts'
import { type AuthorizationServer, AuthorizationService, type CheckRequest, type CheckResponse } from '../../proto/gen/envoy/service/auth/v3/external_auth.ts'
import type { StatusCode } from '../../proto/gen/envoy/type/v3/http_status.ts'
import { deadlineOf, first, hangUpOf, toServiceError } from '../service/service-error.ts'
import type { ExtAuthz, Ruling } from './ext-authz.ts'
import type { GatewayRequest } from './gateway-request.ts'

export const envoyAuthorization = AuthorizationService

/** The filter whose word about a token counts: it has verified the token. */
const JWT_FILTER = 'envoy.filters.http.jwt_authn'
/** What the documentation's configuration keeps the payload under (`payload_in_metadata`). */
const PAYLOAD = 'jwt_payload'

const headersOf = ({ headers, headerMap }: { headers: Record<string, string>; headerMap: HeaderMap | undefined }): Map<string, string> => {
  if (!headerMap) return new Map(Object.entries(headers))
  const read = new Map<string, string>()
  for (const { key, value, rawValue } of headerMap.headers) {
    const one = value || Buffer.from(rawValue).toString()
    const before = read.get(key)
    read.set(key, before === undefined ? one : `${before},${one}`)
  }
  return read
}

const inside = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined

const toGatewayRequest = ({ attributes }: CheckRequest): GatewayRequest => {
  const { method = '', host = '', path = '', headers = {}, headerMap } = attributes?.request?.http ?? {}
  return {
    method,
    host,
    target: path,
    headers: headersOf({ headers, headerMap }),
    claim: (payload = PAYLOAD, claims) => [payload, ...claims].reduce<unknown>(inside, attributes?.metadataContext?.filterMetadata[JWT_FILTER]),
    context: (name) => inside(attributes?.contextExtensions, name) as string | undefined,
  }
}

const toHeaders = (headers: Record<string, string>): HeaderValueOption[] =>
  Object.entries(headers).map(([key, value]) => ({
    header: { key, value, rawValue: Buffer.alloc(0) },
    appendAction: HeaderValueOption_HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
  }))

const toResponse = ({ upstream, headers, refusal }: Ruling, request: GatewayRequest): CheckResponse => {
  if (refusal)
    return {
      status: { code: refusal.status === 401 ? Status.UNAUTHENTICATED : Status.PERMISSION_DENIED, message: refusal.reason },
      httpResponse: {
        $case: 'deniedResponse',
        value: {
          status: { code: refusal.status as StatusCode },
          headers: toHeaders({ ...headers, 'content-type': refusal.contentType }),
          body: refusal.body,
        },
      },
    }
  return {
    status: { code: Status.OK, message: '' },
    httpResponse: {
      $case: 'okResponse',
      value: {
        headers: toHeaders(upstream),
        // Callers must not speak for the sidecar.
        headersToRemove: [...request.headers.keys()].filter((name) => name.startsWith('x-tollgate-') && !Object.hasOwn(upstream, name)),
        responseHeadersToAdd: toHeaders(headers),
      },
    },
  }
}

export const createEnvoyService = ({ extAuthz, clock, faults }: { extAuthz: ExtAuthz; clock: Clock; faults: Faults }): AuthorizationServer => {
  const check: handleUnaryCall<CheckRequest, CheckResponse> = (call, callback) => {
    const request = toGatewayRequest(call.request)
    extAuthz
      .judge({
        request,
        authorization: first(call.metadata, 'authorization'),
        traceparent: request.headers.get('traceparent'),
        deadlineMs: deadlineOf(call, clock),
        signal: hangUpOf(call),
      })
      .then((ruling) => callback(null, toResponse(ruling, request)))
      .catch((error: unknown) => callback(toServiceError(error, faults), null))
  }
  return { check }
}
