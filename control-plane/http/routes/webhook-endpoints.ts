import { closest } from 'fastest-levenshtein'
import type { Secret } from '../../../common/secret.ts'
import { knownStorefronts } from '../../catalog/storefronts.ts'
import { toEnvelope } from '../../events/envelope.ts'
import { eventTypes } from '../../events/event-types.ts'
import { changeEndpoint, createEndpoint, removeEndpoint, removeSecret, rotateSecret, signingSecrets } from '../../events/webhooks/endpoints.ts'
import { disabledReasons, type WebhookEndpoint } from '../../schemas/webhook-endpoint.ts'
import { eventRenderers } from '../event-data.ts'
import { id, instant, iso, isoOrNull, metadata, name, pageAnswer, pageOf, pageQuery, secret, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { ofList, ofNewDocument, route } from '../route.ts'

const MAX_URL = 2_048
const MAX_TYPES = 100
/** A secret may be as long as this, and as short: what Standard Webhooks recommends. */
const [MIN_SECRET_BYTES, MAX_SECRET_BYTES] = [24, 64]
/** A week, as for API keys: by then everybody has changed over. */
const MAX_OVERLAP_HOURS = 168

const url = z
  .string()
  .max(MAX_URL)
  .regex(/^https?:\/\/[^\s#]+$/, 'must be an https URL without spaces and fragment (#…), such as https://example.com/webhooks')
  .refine((text) => URL.canParse(text), 'must be an https URL, such as https://example.com/webhooks')
  .refine((text) => {
    const { username, password } = URL.canParse(text) ? new URL(text) : { username: '', password: '' }
    return username === '' && password === ''
  }, 'must not contain a user or password: messages are signed, verify the signature instead')
  .openapi({ example: 'https://example.com/webhooks', description: 'Where messages are sent, by POST.' })

const families = [...new Set(eventTypes.map((type) => `${type.slice(0, type.indexOf('.'))}.*`))]
const selectors = [...eventTypes, ...families, '*']

const types = z
  .array(
    z
      .string()
      .max(100)
      .refine((text) => selectors.includes(text), {
        error: ({ input }) => `is not a type of event: did you mean ${closest(String(input), selectors)}? GET /v1/event-types lists them`,
      }),
  )
  .min(1)
  .max(MAX_TYPES)
  .refine((list) => new Set(list).size === list.length, 'must not name a type twice')
  .openapi({
    description: 'The events to send: types, families such as subscription.*, or * for all.',
    example: ['subscription.*', 'payment.failed'],
  })

const storefrontIds = z
  .array(id)
  .min(1)
  .max(100)
  .refine((list) => new Set(list).size === list.length, 'must not name a storefront twice')

const ownSecret = z
  .string()
  .regex(/^whsec_[A-Za-z0-9+/]{32,88}={0,2}$/, 'must be whsec_ followed by 24 to 64 bytes in base64')
  .refine((text) => {
    const bytes = Buffer.from(text.slice('whsec_'.length), 'base64')
    return bytes.length >= MIN_SECRET_BYTES && bytes.length <= MAX_SECRET_BYTES && text === `whsec_${bytes.toString('base64')}`
  }, 'must be whsec_ followed by 24 to 64 bytes in base64')

const endpointAnswer = z
  .object({
    id: z.string(),
    url: z.string(),
    description: z.string().nullable(),
    types: z.array(z.string()),
    storefrontIds: z.array(z.string()).nullable().openapi({ description: 'Only events of these storefronts are sent. Null: events of all.' }),
    ordered: z.boolean(),
    enabled: z.boolean(),
    disabledAt: instant.nullable(),
    disabledReason: z.enum(disabledReasons).nullable().openapi({ description: 'asked: somebody disabled it. failing: it has not taken events for too long.' }),
    secrets: z
      .array(z.object({ id: z.string(), createdAt: instant, expiresAt: instant.nullable() }))
      .openapi({ description: 'Messages are signed with each of these. The secrets themselves are never answered again.' }),
    metadata: z.record(z.string(), z.string()),
    createdAt: instant,
  })
  .openapi('WebhookEndpoint')

const withSecret = endpointAnswer.extend({ secret: z.string().openapi({ description: 'Shown once.' }) }).openapi('WebhookEndpointWithSecret')

const testAnswer = z
  .object({
    delivered: z.boolean(),
    status: z.int().nullable().openapi({ description: 'The HTTP status that the endpoint answered. Null: it did not answer.' }),
    answer: z.string().nullable().openapi({ description: 'The first 4,096 bytes of what it answered.' }),
    durationMs: z.int(),
    error: z.string().nullable().openapi({ description: 'Why it was not delivered: a code and a sentence.' }),
  })
  .openapi('WebhookTest')

const toAnswer = (endpoint: WebhookEndpoint, now: Date): z.output<typeof endpointAnswer> => ({
  id: endpoint.id,
  url: endpoint.url,
  description: endpoint.description ?? null,
  types: endpoint.types,
  storefrontIds: endpoint.storefrontIds ?? null,
  ordered: endpoint.ordered,
  enabled: endpoint.enabled,
  disabledAt: isoOrNull(endpoint.disabledAt),
  disabledReason: endpoint.disabledReason ?? null,
  secrets: endpoint.secrets
    .filter(({ expiresAt }) => !expiresAt || expiresAt > now)
    .map((one) => ({ id: one.id, createdAt: iso(one.createdAt), expiresAt: isoOrNull(one.expiresAt) })),
  metadata: endpoint.metadata ?? {},
  createdAt: iso(endpoint.createdAt),
})

const shownOnce = ({ endpoint, secret }: { endpoint: WebhookEndpoint; secret: Secret }, now: Date) => ({
  body: { ...toAnswer(endpoint, now), secret: secret.reveal() },
  revision: endpoint.revision,
})

const params = z.object({ endpoint: id })
const theEndpoint = { document: 'the webhook endpoint' }

export const webhookEndpointRoutes = [
  route({
    method: 'post',
    path: '/v1/webhook-endpoints',
    summary: 'Create a webhook endpoint',
    description:
      'Events are sent there from now on, signed as Standard Webhooks specifies. The answer shows the secret, once; bring your own to keep the one that your receiver has. A tenant has at most 100 endpoints.',
    access: 'webhook-endpoints:write',
    storefront: 'all',
    ifMatch: ofNewDocument,
    body: z.strictObject({
      url,
      types,
      description: name.optional(),
      storefrontIds: storefrontIds.optional().openapi({ description: 'Send only events of these storefronts. Default: events of all.' }),
      ordered: z.boolean().default(false).openapi({ description: 'Send one event at a time, in their order: one that fails holds up those after it.' }),
      enabled: z.boolean().default(true),
      secret: secret(ownSecret).optional().openapi({ description: 'Your own: whsec_ and 24 to 64 bytes in base64. Default: a new one.' }),
      metadata: metadata.optional(),
    }),
    refusals: ['unknown_reference', 'already_exists'],
    status: 201,
    answer: withSecret,
    handle: async ({ services, of, body: { secret: given, ...input }, newId, webhooks }) => {
      if (input.storefrontIds) await knownStorefronts(services, of.tenantId, input.storefrontIds, 'storefrontIds')
      const ids = { id: newId('whe'), secretId: newId('whs') }
      return shownOnce(await createEndpoint(of, ids, input, given, webhooks.allowPrivate), of.clock.now())
    },
  }),
  route({
    method: 'get',
    path: '/v1/webhook-endpoints',
    summary: 'List webhook endpoints',
    description: 'Answers never contain secrets.',
    access: 'webhook-endpoints:read',
    storefront: 'all',
    ifMatch: ofList,
    query: z.strictObject(pageQuery),
    status: 200,
    answer: pageOf(endpointAnswer),
    handle: async ({ of, query }) =>
      pageAnswer(await of.storage.webhookEndpoints.page({ where: { tenantId: of.tenantId }, ...query }), (endpoint) => toAnswer(endpoint, of.clock.now())),
  }),
  route({
    method: 'get',
    path: '/v1/webhook-endpoints/{endpoint}',
    summary: 'Read a webhook endpoint',
    description: 'The answer does not contain secrets.',
    access: 'webhook-endpoints:read',
    storefront: 'all',
    ifMatch: 'answer',
    params,
    status: 200,
    answer: endpointAnswer,
    handle: async ({ of, params }) => {
      const endpoint = await of.storage.webhookEndpoints.get(of.keys.webhookEndpoint(params.endpoint))
      return { body: toAnswer(endpoint, of.clock.now()), revision: endpoint.revision }
    },
  }),
  route({
    method: 'patch',
    path: '/v1/webhook-endpoints/{endpoint}',
    summary: 'Change a webhook endpoint',
    description: 'Fields that you leave out stay as they are. With enabled false, nothing is sent until it is true again.',
    access: 'webhook-endpoints:write',
    storefront: 'all',
    ifMatch: theEndpoint,
    params,
    body: z.strictObject({
      url: url.optional(),
      types: types.optional(),
      description: name.nullish().openapi({ description: 'null clears the field, here and in the other fields.' }),
      storefrontIds: storefrontIds.nullish(),
      ordered: z.boolean().optional(),
      enabled: z.boolean().optional(),
      metadata: metadata.nullish(),
    }),
    refusals: ['unknown_reference'],
    status: 200,
    answer: endpointAnswer,
    handle: async ({ services, of, params, body, ifMatch, webhooks }) => {
      if (body.storefrontIds) await knownStorefronts(services, of.tenantId, body.storefrontIds, 'storefrontIds')
      const endpoint = await changeEndpoint(of, params.endpoint, mustMatch(ifMatch), body, webhooks.allowPrivate)
      return { body: toAnswer(endpoint, of.clock.now()), revision: endpoint.revision }
    },
  }),
  route({
    method: 'post',
    path: '/v1/webhook-endpoints/{endpoint}/rotate-secret',
    summary: 'Add a new secret and expire others',
    description:
      'The answer shows the new secret, once. Until the previous ones expire, messages are signed with them too, so that receivers can change over. At most 5 secrets are living at a time.',
    access: 'webhook-endpoints:write',
    storefront: 'all',
    ifMatch: theEndpoint,
    params,
    body: z.strictObject({
      expirePreviousInHours: z
        .number()
        .min(0)
        .max(MAX_OVERLAP_HOURS)
        .default(24)
        .openapi({ description: 'How long messages are signed with the previous secrets, too. 0: not any more.' }),
    }),
    status: 200,
    answer: withSecret,
    handle: async ({ of, params, body, ifMatch, newId }) =>
      shownOnce(
        await rotateSecret(of, { id: params.endpoint, secretId: newId('whs'), expirePreviousInHours: body.expirePreviousInHours }, mustMatch(ifMatch)),
        of.clock.now(),
      ),
  }),
  route({
    method: 'delete',
    path: '/v1/webhook-endpoints/{endpoint}/secrets/{secret}',
    summary: 'Remove a previous secret before it expires',
    description: 'Nothing is signed with it from the next message on. The current secret cannot be deleted: rotate it.',
    access: 'webhook-endpoints:write',
    storefront: 'all',
    ifMatch: theEndpoint,
    params: z.object({ endpoint: id, secret: id }),
    status: 204,
    handle: async ({ of, params, ifMatch }) => {
      await removeSecret(of, params.endpoint, params.secret, mustMatch(ifMatch))
      return {}
    },
  }),
  route({
    method: 'post',
    path: '/v1/webhook-endpoints/{endpoint}/test',
    summary: 'Send a test event',
    description:
      'Sends one event of the type webhook_endpoint.test at once, whichever types the endpoint wants and even if it is disabled, and answers what came back. It is not tried again.',
    access: 'webhook-endpoints:write',
    storefront: 'all',
    ifMatch: theEndpoint,
    params,
    body: z.strictObject({}),
    status: 200,
    answer: testAnswer,
    handle: async ({ of, params, ifMatch, newId, webhooks, gone }) => {
      const endpoint = await of.storage.webhookEndpoints.get(of.keys.webhookEndpoint(params.endpoint))
      mustMatch(ifMatch)(endpoint)
      const event = toEnvelope({
        tenantId: of.tenantId,
        id: newId('evt'),
        type: 'webhook_endpoint.test',
        subject: `/webhook-endpoints/${endpoint.id}`,
        time: of.now(),
        seq: 0,
        data: eventRenderers.WebhookEndpointState(endpoint as never, { time: of.now(), part: undefined }),
      })
      const message = { url: endpoint.url, secrets: signingSecrets(of, endpoint), id: event.id, body: JSON.stringify(event), signal: gone() }
      const { outcome, status, answer, durationMs, error } = await webhooks.sender.send(message)
      return { body: { delivered: outcome === 'delivered', status: status ?? null, answer: answer ?? null, durationMs, error: error ?? null } }
    },
  }),
  route({
    method: 'delete',
    path: '/v1/webhook-endpoints/{endpoint}',
    summary: 'Remove a webhook endpoint',
    description: 'Nothing more is sent there. A message that is on its way may still arrive.',
    access: 'webhook-endpoints:write',
    storefront: 'all',
    ifMatch: theEndpoint,
    params,
    status: 204,
    handle: async ({ of, params, ifMatch }) => {
      await removeEndpoint(of, params.endpoint, mustMatch(ifMatch))
      return {}
    },
  }),
]
