import { AppError } from '../../../common/errors.ts'
import { toEnvelope } from '../../events/envelope.ts'
import { replayDelivery, replayFailed, replayRange } from '../../events/webhooks/replay.ts'
import { attemptOutcomes, deliveryStatuses, type WebhookDelivery } from '../../schemas/webhook-delivery.ts'
import type { TenantScope } from '../../tenant-scope.ts'
import { id, instant, iso, isoOrNull, pageAnswer, pageOf, pageQuery, z } from '../fields.ts'
import { decodePlace, encodePlace } from '../place-cursor.ts'
import { ofList, route } from '../route.ts'

const deliveryAnswer = z
  .object({
    eventId: z.string(),
    type: z.string(),
    status: z.enum(deliveryStatuses).openapi({
      description:
        'waiting: an earlier event of its subject is not delivered yet, and the endpoint is `ordered`. failed: given up after three days; replay it.',
    }),
    attempts: z.array(
      z.object({
        at: instant,
        outcome: z.enum(attemptOutcomes),
        status: z.int().nullable().openapi({ description: 'The HTTP status of the answer.' }),
        answer: z.string().nullable().openapi({ description: "The beginning of the answer's body: 4,096 bytes." }),
        durationMs: z.int(),
        error: z.string().nullable(),
      }),
    ),
    nextAttemptAt: instant.nullable(),
    createdAt: instant,
  })
  .openapi('Delivery')

const oneDelivery = deliveryAnswer
  .extend({
    request: z
      .object({ url: z.string().nullable(), body: z.unknown() })
      .openapi({ description: 'Where the last attempt went, and the event that was sent. Null: the event is no longer kept.' }),
  })
  .openapi('DeliveryWithRequest')

const toDelivery = (delivery: WebhookDelivery): z.output<typeof deliveryAnswer> => ({
  eventId: delivery.eventId,
  type: delivery.type,
  status: delivery.status,
  attempts: delivery.attempts.map(({ at, outcome, status, answer, durationMs, error }) => ({
    at: iso(at),
    outcome,
    status: status ?? null,
    answer: answer ?? null,
    durationMs,
    error: error ?? null,
  })),
  nextAttemptAt: isoOrNull(delivery.dueAt),
  createdAt: iso(delivery.createdAt),
})

const OF_REPLAYS = 'r'
const NOT_OURS = 'is not a cursor of this replay; use the nextCursor of its last answer'

const endpointOf = (of: TenantScope, endpoint: string) => of.storage.webhookEndpoints.get(of.keys.webhookEndpoint(endpoint))

const replayInput = z.union(
  [
    z.strictObject({ failed: z.literal(true).openapi({ description: 'Every delivery that was given up.' }) }),
    z.strictObject({
      from: instant.openapi({ description: 'Events that were logged from then on: also those that the endpoint was never sent.' }),
      to: instant.optional().openapi({ description: 'And before then. Default: now.' }),
      cursor: z.string().max(200).optional(),
    }),
  ],
  'must be {"failed": true} or {"from": …, "to": …}',
)

export const webhookDeliveryRoutes = [
  route({
    method: 'get',
    path: '/v1/webhook-endpoints/{endpoint}/deliveries',
    summary: 'List deliveries to a webhook endpoint',
    description: 'In the order in which they were first tried. They are kept for 30 days.',
    access: 'webhook-endpoints:read',
    storefront: 'all',
    ifMatch: ofList,
    refusals: ['not_found'],
    params: z.object({ endpoint: id }),
    query: z.object({ ...pageQuery, status: z.enum(deliveryStatuses).optional() }),
    status: 200,
    answer: pageOf(deliveryAnswer),
    handle: async ({ of, params, query: { status, ...query } }) => {
      const endpoint = await endpointOf(of, params.endpoint)
      const where = { tenantId: of.tenantId, endpointId: endpoint.id, ...(status ? { status } : {}) }
      return pageAnswer(await of.storage.webhookDeliveries.page({ where, ...query }), toDelivery)
    },
  }),
  route({
    method: 'get',
    path: '/v1/webhook-endpoints/{endpoint}/deliveries/{event}',
    summary: 'Read the delivery of an event',
    access: 'webhook-endpoints:read',
    storefront: 'all',
    ifMatch: { refused: 'a delivery has no ETag' },
    refusals: ['not_found'],
    params: z.object({ endpoint: id, event: z.string().max(200) }),
    status: 200,
    answer: oneDelivery,
    handle: async ({ of, params }) => {
      const delivery = await of.storage.webhookDeliveries.get(of.keys.webhookDelivery(params.endpoint, params.event))
      const event = await of.storage.loggedEvents.find(of.keys.loggedEvent(params.event))
      return { body: { ...toDelivery(delivery), request: { url: delivery.url ?? null, body: event ? toEnvelope(event) : null } } }
    },
  }),
  route({
    method: 'post',
    path: '/v1/webhook-endpoints/{endpoint}/deliveries/{event}/replay',
    summary: 'Send an event again',
    description: 'Under the same `webhook-id`. The event need not have been sent to the endpoint before. It is tried for three days from now.',
    access: 'webhook-endpoints:write',
    storefront: 'all',
    ifMatch: { refused: 'a delivery has no ETag' },
    refusals: ['not_found', 'not_allowed_in_state'],
    params: z.object({ endpoint: id, event: z.string().max(200) }),
    body: z.strictObject({}),
    status: 202,
    answer: deliveryAnswer,
    handle: async ({ of, params }) => ({ body: toDelivery(await replayDelivery(of, await endpointOf(of, params.endpoint), params.event)) }),
  }),
  route({
    method: 'post',
    path: '/v1/webhook-endpoints/{endpoint}/replay',
    summary: 'Send many events again',
    description:
      'Either every delivery that was given up, or every event of a span of time that the endpoint wants. A call takes up to a thousand; while the answer has a `nextCursor`, repeat it (for a span: with the cursor).',
    access: 'webhook-endpoints:write',
    storefront: 'all',
    ifMatch: { refused: 'deliveries have no ETag' },
    refusals: ['not_found', 'not_allowed_in_state'],
    params: z.object({ endpoint: id }),
    body: replayInput,
    status: 202,
    answer: z.object({ queued: z.int(), nextCursor: z.string().optional() }),
    handle: async ({ of, params, body }) => {
      const endpoint = await endpointOf(of, params.endpoint)
      if ('failed' in body) {
        const { queued, next } = await replayFailed(of, endpoint)
        return { body: { queued, ...(next === undefined ? {} : { nextCursor: encodePlace(OF_REPLAYS, next) }) } }
      }
      const span = { from: new Date(body.from), to: body.to === undefined ? of.clock.now() : new Date(body.to) }
      if (span.to <= span.from) throw new AppError('invalid_request', 'to must be after from', [{ field: 'to', message: 'must be after from' }])
      const { queued, next } = await replayRange(of, endpoint, span, body.cursor === undefined ? 0 : decodePlace(OF_REPLAYS, body.cursor, NOT_OURS))
      return { body: { queued, ...(next === undefined ? {} : { nextCursor: encodePlace(OF_REPLAYS, next) }) } }
    },
  }),
]
