/** The OpenAPI 3.1 document, from the routes and the zod schemas that validate their requests. */
import { OpenAPIRegistry, OpenApiGeneratorV31, type RouteConfig } from '@asteasolutions/zod-to-openapi'
import { type Permission, presetNames, presets } from '../access/permissions.ts'
import { documentedAnswers } from './documented-answers.ts'
import examples from './examples.json' with { type: 'json' }
import { z } from './fields.ts'
import { MAX_KEY_LENGTH } from './idempotency.ts'
import { operationId } from './operation-id.ts'
import { IF_MATCH } from './precondition.ts'
import { comparedWith } from './refusals.ts'
import { type AccessRule, type AnyRoute, isKeyed, takesIdempotencyKey } from './route.ts'
import { routeGroups } from './routes/index.ts'

/** A body that may be left out is one that may be `{}`. */
const isNeeded = (body: z.ZodType): boolean => !body.safeParse({}).success

const state = (...values: [string, ...string[]]) => ({ 'application/json': { schema: z.object({ status: z.enum(values) }) } })

/** The tag of operations outside the routes: for those who run the process. */
const OPERATION = 'Operation'

/** The access rule in the document's words. */
const whoMay = (access: AccessRule): string => {
  if (access === 'public') return 'No key.'
  if (access === 'platform') return 'For a platform key.'
  if (access === 'everybody') return 'For every key.'
  const holders = presetNames.filter((name) => (presets[name] as readonly Permission[]).includes(access))
  return `Permission: ${access}. Roles that have it: platform, ${holders.join(', ')}.`
}

/** A request and its answer for each operation, as a running Tollgate took and gave them: `npm run api:examples`. */
const recorded: Record<string, { request?: unknown; answer?: unknown }> = examples

/** @param withExamples false for comparisons: examples say nothing that a client relies on. */
export const openApiDocument = (routes: readonly AnyRoute[], withExamples = true) => {
  const registry = new OpenAPIRegistry()
  const bearer = registry.registerComponent('securitySchemes', 'apiKey', { type: 'http', scheme: 'bearer' })
  const session = registry.registerComponent('securitySchemes', 'session', { type: 'apiKey', in: 'cookie', name: 'tollgate-session' })
  const answers = documentedAnswers(registry)
  const alone = (path: string, summary: string, responses: RouteConfig['responses'], more: Partial<RouteConfig> = {}) =>
    registry.registerPath({ method: 'get', path, operationId: operationId('get', path), summary, tags: [OPERATION], responses, ...more })
  alone('/healthz', 'Read whether the process is up', { 200: answers.plain('Up.', state('ok')) })
  alone('/readyz', 'Read whether the process can serve', {
    200: answers.plain('Ready: storage, feed and sidecar can be reached.', state('ready')),
    503: answers.plain('Not ready.', state('not ready')),
  })
  alone('/openapi.json', 'Read this document', { 200: answers.plain('OpenAPI 3.1.', { 'application/json': { schema: { type: 'object' } } }) })
  alone('/asyncapi.json', 'Read the document of events', { 200: answers.plain('AsyncAPI 3.0.', { 'application/json': { schema: { type: 'object' } } }) })
  alone(
    '/metrics',
    'Read the metrics',
    {
      200: answers.plain("The metrics, in Prometheus' text format.", { 'text/plain': { schema: { type: 'string' } } }),
      ...answers.failures(['unauthenticated', 'forbidden', 'rate_limited', 'headers_too_large', 'unavailable']),
    },
    { description: whoMay('platform'), security: [{ [bearer.name]: [] }] },
  )
  for (const definition of routes) {
    const { method, path, summary, description, params, query, body, takes, jsonTypes = [] } = definition
    const needsKey = isKeyed(definition)
    const compared = comparedWith(definition)
    const example = (withExamples && recorded[operationId(method, path)]) || {}
    const headers = z.object({
      ...(needsKey && definition.ofTenant !== false ? { 'x-tn': z.string().optional().openapi({ description: 'The tenant, for a platform key.' }) } : {}),
      ...(compared
        ? {
            'If-Match': z
              .string()
              .regex(IF_MATCH)
              .optional()
              .openapi({ description: `The ETag of ${compared}; 412 if it has changed since.` }),
          }
        : {}),
      ...(takesIdempotencyKey(definition)
        ? {
            'Idempotency-Key': z
              .string()
              .min(1)
              .max(MAX_KEY_LENGTH)
              .optional()
              .openapi({ description: 'If you repeat the request with the same key within 24 hours, you get the first answer, and nothing is done again.' }),
          }
        : {}),
      ...(needsKey && method !== 'get'
        ? {
            'x-reason': z.string().max(500).optional().openapi({ description: 'The reason for the change, for the audit log.' }),
            'x-csrf-token': z.string().optional().openapi({ description: 'For a session: the token that GET /v1/session returns.' }),
          }
        : {}),
    })
    registry.registerPath({
      method,
      path,
      operationId: operationId(method, path),
      summary,
      description: [description, whoMay(definition.access)].filter((part) => part !== undefined).join('\n\n'),
      tags: routeGroups.filter((group) => group.routes.includes(definition)).map(({ tag }) => tag),
      ...(needsKey ? { security: [{ [bearer.name]: [] }, { [session.name]: [] }] } : {}),
      request: {
        ...(params ? { params } : {}),
        ...(query ? { query } : {}),
        headers,
        ...(takes ? { body: { required: true, content: { [takes]: { schema: { type: 'string' } } } } } : {}),
        ...(body
          ? {
              body: {
                required: isNeeded(body),
                content: Object.fromEntries(
                  ['application/json', ...jsonTypes].map((type) => [
                    type,
                    { schema: body, ...(example.request === undefined ? {} : { example: example.request }) },
                  ]),
                ),
              },
            }
          : {}),
      },
      responses: answers.ofRoute(definition, example.answer),
    })
  }
  return new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: { title: 'Tollgate', version: '1', description: 'Subscription access: what is sold, who bought it, whether they paid, and what they may use.' },
    tags: [
      ...routeGroups.map(({ tag, about }) => ({ name: tag, description: about })),
      { name: OPERATION, description: 'Whether the process is well, and this document.' },
    ],
  })
}
