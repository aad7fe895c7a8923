/** The OpenAPI document's description of answers apart from their bodies: which statuses a route can have, and which headers. */
import { STATUS_CODES } from 'node:http'
import type { OpenAPIRegistry, ResponseConfig } from '@asteasolutions/zod-to-openapi'
import type { ErrorCode } from '../../common/errors.ts'
import { z } from './fields.ts'
import { statuses } from './problem.ts'
import { comparedWith, refusalsOf } from './refusals.ts'
import { type AnyRoute, isKeyed, ofNewDocument, takesIdempotencyKey } from './route.ts'

const headers = {
  'X-Request-Id': {
    description: 'Identifies this call in the log.',
    required: true,
    schema: { type: 'string', pattern: '^req_[0-9a-f-]{36}$' },
  },
  ETag: {
    description: 'The revision of the answered document, if it has one; send it in If-Match.',
    schema: { type: 'string', pattern: '^"[0-9]+"$' },
  },
  'Idempotent-Replayed': {
    description: 'This answer is the one to the first call with this Idempotency-Key; nothing was done again.',
    schema: { type: 'string', const: 'true' },
  },
  'Retry-After': { description: 'Seconds to wait before trying again.', schema: { type: 'integer', minimum: 1 } },
  Location: { description: 'The address to go to.', schema: { type: 'string' } },
  'WWW-Authenticate': { description: 'How to authenticate.', schema: { type: 'string', const: 'Bearer' } },
  RateLimit: {
    description: 'The remaining quota of the key (r), and the seconds until it resets (t); not for a platform key.',
    schema: { type: 'string', example: '"key";r=199;t=1' },
  },
  'RateLimit-Policy': {
    description: 'The quota of the key (q) per window, and the length of the window in seconds (w); not for a platform key.',
    schema: { type: 'string', example: '"key";q=200;w=1' },
  },
} as const

type HeaderName = keyof typeof headers

const problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.string().openapi({ description: 'Stable; programs should use this field.' }),
    detail: z.string(),
    field: z.string().optional(),
    errors: z.array(z.object({ field: z.string(), message: z.string() })).optional(),
    requestId: z.string(),
  })
  .openapi('Problem')

/** RateLimit is counted once it is known who calls. */
const headersOfFailure = (status: number): HeaderName[] => [
  ...(status === 401 ? (['WWW-Authenticate'] as const) : []),
  ...([401, 431].includes(status) ? [] : (['RateLimit', 'RateLimit-Policy'] as const)),
  ...([409, 429, 503].includes(status) ? (['Retry-After'] as const) : []),
]

/** `not_found` is `NotFound`. */
const nameOf = (codes: readonly ErrorCode[]): string =>
  codes.map((code) => code.replaceAll(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase())).join('Or')

export const documentedAnswers = (registry: OpenAPIRegistry) => {
  const refs = Object.fromEntries(Object.entries(headers).map(([name, header]) => [name, registry.registerComponent('headers', name, header).ref]))
  const said = (...names: HeaderName[]) => Object.fromEntries(names.map((name) => [name, refs[name] ?? {}]))

  registry.register('Problem', problem)
  const anyProblem = { $ref: '#/components/schemas/Problem' }
  const problemOf = (name: string, description: string, schema: object, names: HeaderName[]) =>
    registry.registerComponent('responses', name, { description, headers: said('X-Request-Id', ...names), content: { 'application/problem+json': { schema } } })
      .ref
  const other = problemOf('Problem', 'What any call can be answered before its route is reached, or by a fault of ours (RFC 9457).', anyProblem, [
    'Retry-After',
  ])
  const byName = new Map<string, ReturnType<typeof problemOf>>()
  /** Routes that refuse with the same codes share the answer. */
  const problemWith = (status: number, codes: ErrorCode[]) => {
    const name = nameOf(codes)
    const schema = { allOf: [anyProblem, { properties: { status: { const: status }, code: { enum: codes } } }] }
    const ref = byName.get(name) ?? problemOf(name, `${STATUS_CODES[status]}; code: ${codes.join(', ')}.`, schema, headersOfFailure(status))
    byName.set(name, ref)
    return ref
  }
  const failures = (codes: readonly ErrorCode[]) => {
    const byStatus = Object.groupBy([...codes].sort(), (code) => statuses[code])
    return { ...Object.fromEntries(Object.entries(byStatus).map(([status, some = []]) => [status, problemWith(Number(status), some)])), default: other }
  }

  return {
    failures,
    /** An answer outside the table of routes. */
    plain: (description: string, content: ResponseConfig['content']): ResponseConfig => ({
      description,
      headers: said('X-Request-Id'),
      ...(content ? { content } : {}),
    }),
    ofRoute: (route: AnyRoute, example: unknown) => {
      const { status, answer, gives, ifMatch } = route
      const hasRevision = answer !== undefined && (ifMatch === ofNewDocument || comparedWith(route) !== undefined)
      const names: HeaderName[] = [
        'X-Request-Id',
        ...(hasRevision ? (['ETag'] as const) : []),
        ...(status === 302 ? (['Location'] as const) : []),
        ...(takesIdempotencyKey(route) ? (['Idempotent-Replayed'] as const) : []),
        ...(isKeyed(route) ? (['RateLimit', 'RateLimit-Policy'] as const) : []),
      ]
      const content = gives
        ? { [gives]: { schema: { type: 'string' as const } } }
        : answer
          ? { 'application/json': { schema: answer, ...(example === undefined ? {} : { example }) } }
          : undefined
      return {
        [status]: { description: 'Done.', headers: said(...names), ...(content ? { content } : {}) },
        ...failures(refusalsOf(route)),
      }
    },
  }
}
