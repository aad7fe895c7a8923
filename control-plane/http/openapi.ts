/** The OpenAPI 3.1 document, from the routes and the zod schemas that validate their requests. */
import { OpenAPIRegistry, OpenApiGeneratorV31 } from '@asteasolutions/zod-to-openapi'
import { type Permission, presetNames, presets } from '../access/permissions.ts'
import { z } from './fields.ts'
import type { AccessRule, AnyRoute } from './route.ts'

const problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.string().openapi({ description: 'Stable; what programs should look at.' }),
    detail: z.string(),
    field: z.string().optional(),
    errors: z.array(z.object({ field: z.string(), message: z.string() })).optional(),
    requestId: z.string(),
  })
  .openapi('Problem')

/** As the document says it. */
const whoMay = (access: AccessRule): string => {
  if (access === 'public') return 'No key.'
  if (access === 'platform') return 'For a platform key.'
  if (access === 'everybody') return 'For every key.'
  const holders = presetNames.filter((name) => (presets[name] as readonly Permission[]).includes(access))
  return `Permission: ${access}. Roles that have it: platform, ${holders.join(', ')}.`
}

export const openApiDocument = (routes: readonly AnyRoute[]) => {
  const registry = new OpenAPIRegistry()
  const bearer = registry.registerComponent('securitySchemes', 'apiKey', { type: 'http', scheme: 'bearer' })
  const session = registry.registerComponent('securitySchemes', 'session', { type: 'apiKey', in: 'cookie', name: 'tollgate-session' })
  const problems = { default: { description: 'What went wrong (RFC 9457).', content: { 'application/problem+json': { schema: problem } } } }
  registry.registerPath({ method: 'get', path: '/healthz', summary: 'The process is up', responses: { 200: { description: 'Up.' } } })
  registry.registerPath({
    method: 'get',
    path: '/readyz',
    summary: 'Everything it needs can be reached',
    responses: { 200: { description: 'Ready.' }, 503: { description: 'Not ready.' } },
  })
  registry.registerPath({
    method: 'get',
    path: '/metrics',
    summary: "Prometheus' text format, for a platform key",
    security: [{ [bearer.name]: [] }],
    responses: { 200: { description: 'The metrics.', content: { 'text/plain': { schema: { type: 'string' } } } }, ...problems },
  })
  for (const definition of routes) {
    const { method, path, summary, params, query, body, takes, gives, status, answer } = definition
    const needsKey = definition.access !== 'public'
    const { ifMatch } = definition
    const comparedWith = ifMatch === 'answer' ? 'what is answered' : 'document' in ifMatch ? ifMatch.document : undefined
    const headers = z.object({
      ...(needsKey && definition.ofTenant !== false ? { 'x-tn': z.string().optional().openapi({ description: 'The tenant, for a platform key.' }) } : {}),
      ...(comparedWith
        ? {
            'if-match': z
              .string()
              .optional()
              .openapi({ description: `The ETag of ${comparedWith}: 412 if it is another by now.` }),
          }
        : {}),
      ...(needsKey && method !== 'get'
        ? {
            'x-reason': z.string().max(500).optional().openapi({ description: 'Why; kept in the audit log.' }),
            'x-csrf-token': z.string().optional().openapi({ description: 'For a session: what GET /v1/session answers.' }),
          }
        : {}),
      ...(needsKey && method === 'post' ? { 'idempotency-key': z.string().max(255).optional() } : {}),
    })
    registry.registerPath({
      method,
      path,
      summary,
      description: whoMay(definition.access),
      tags: [path.split('/')[2] ?? ''],
      ...(needsKey ? { security: [{ [bearer.name]: [] }, { [session.name]: [] }] } : {}),
      request: {
        ...(params ? { params } : {}),
        ...(query ? { query } : {}),
        headers,
        ...(takes ? { body: { required: true, content: { [takes]: { schema: { type: 'string' } } } } } : {}),
        ...(body ? { body: { required: true, content: { 'application/json': { schema: body } } } } : {}),
      },
      responses: {
        [status]: gives
          ? { description: 'Done.', content: { [gives]: { schema: { type: 'string' } } } }
          : answer
            ? { description: 'Done.', content: { 'application/json': { schema: answer } } }
            : { description: 'Done.' },
        ...problems,
      },
    })
  }
  return new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: { title: 'Tollgate', version: '1', description: 'Subscription access: what is sold, who bought it, whether they paid, and what they may use.' },
  })
}
