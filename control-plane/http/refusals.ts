/** The codes with which a route can refuse a call: some follow from how it is defined, others from its own work. */
import type { ErrorCode } from '../../common/errors.ts'
import { type AnyRoute, isKeyed, takesIdempotencyKey } from './route.ts'

/** The thing that `If-Match` is compared with; undefined where it is refused. */
export const comparedWith = ({ ifMatch }: AnyRoute): string | undefined => {
  if (ifMatch === 'answer') return 'what is answered'
  return 'document' in ifMatch ? ifMatch.document : undefined
}

export const refusalsOf = (route: AnyRoute): ErrorCode[] => {
  const isOfTenant = isKeyed(route) && route.ofTenant !== false
  const codes: [isSo: boolean, ...ErrorCode[]][] = [
    [true, 'invalid_request', 'headers_too_large', 'rate_limited', 'unavailable'],
    [isKeyed(route), 'unauthenticated', 'forbidden'],
    [Boolean(route.guesses), 'unauthenticated'],
    // A tenant that is ending refuses reads, too.
    [isOfTenant, 'not_found', 'not_allowed_in_state'],
    [isKeyed(route) && route.params !== undefined, 'not_found'],
    // Whoever was first too often is not waited for.
    [route.method !== 'get', 'revision_conflict'],
    [comparedWith(route) !== undefined, 'precondition_failed'],
    [route.body !== undefined || route.takes !== undefined, 'malformed_json', 'body_too_large', 'unsupported_media_type'],
    [takesIdempotencyKey(route), 'idempotency_in_progress', 'idempotency_key_reused'],
    [true, ...(route.refusals ?? [])],
  ]
  return [...new Set(codes.flatMap(([isSo, ...some]) => (isSo ? some : [])))]
}
