import { processWebhook } from '../../engine/process-webhook.ts'
import { replayEvent } from '../../payments/webhooks/receive-webhook.ts'
import { type WebhookEvent, webhookStatuses } from '../../schemas/webhook-event.ts'
import { id, instant, iso, isoOrNull, pageAnswer, pageOf, pageQuery, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { ofList, route } from '../route.ts'

/** Providers name their events as they please. */
const eventId = z.string().min(1).max(255)

const eventAnswer = z
  .object({
    account: z.string(),
    id: z.string().openapi({ description: "The provider's." }),
    type: z.string(),
    status: z.enum(webhookStatuses),
    why: z.string().nullable().openapi({ description: 'Why it was ignored, or could not be applied yet.' }),
    paymentId: z.string().nullable(),
    replays: z.int(),
    receivedAt: instant,
    appliedAt: instant.nullable(),
    erasedAt: instant.nullable().openapi({ description: 'When its content was erased, together with the customer that it was about.' }),
  })
  .openapi('WebhookEvent')

export const toWebhookEventAnswer = (event: WebhookEvent): z.output<typeof eventAnswer> => ({
  account: event.account,
  id: event.eventId,
  type: event.type,
  status: event.status,
  why: event.why ?? null,
  paymentId: event.paymentId ?? null,
  replays: event.replays ?? 0,
  receivedAt: iso(event.createdAt),
  appliedAt: isoOrNull(event.appliedAt),
  erasedAt: isoOrNull(event.erasedAt),
})

const wholeAnswer = eventAnswer.extend({
  body: z.string().nullable().openapi({ description: 'The body as received; null if it was erased, or without the permission webhook-events:bodies.' }),
})
const params = z.object({ account: id, event: eventId })

export const webhookEventRoutes = [
  route({
    method: 'get',
    path: '/v1/webhook-events',
    summary: 'List received webhook events',
    description: 'The oldest events come first.',
    access: 'webhook-events:read',
    storefront: 'all',
    ifMatch: ofList,
    query: z.strictObject({ account: id.optional(), status: z.enum(webhookStatuses).optional(), ...pageQuery }),
    status: 200,
    answer: pageOf(eventAnswer),
    handle: async ({ of, query: { account, status, ...pages } }) => {
      const where = { tenantId: of.tenantId, ...(account === undefined ? {} : { account }), ...(status === undefined ? {} : { status }) }
      return pageAnswer(await of.storage.webhookEvents.page({ where, ...pages }), toWebhookEventAnswer)
    },
  }),
  route({
    method: 'get',
    path: '/v1/webhook-events/{account}/{event}',
    summary: 'Read a received webhook event',
    description: 'The body is as the provider sent it. It is null without the permission webhook-events:bodies, and after its customer was erased.',
    access: 'webhook-events:read',
    storefront: 'all',
    ifMatch: 'answer',
    params,
    status: 200,
    answer: wholeAnswer,
    handle: async ({ of, caller, params }) => {
      const event = await of.storage.webhookEvents.get(of.keys.webhookEvent(params.account, params.event))
      // Providers write names and addresses of payers into it.
      const body = caller.permissions.has('webhook-events:bodies') ? (event.rawBody ?? null) : null
      return { body: { ...toWebhookEventAnswer(event), body }, revision: event.revision }
    },
  }),
  route({
    method: 'post',
    path: '/v1/webhook-events/{account}/{event}/replay',
    summary: 'Replay a received webhook event',
    description: 'Tollgate reads the event again and applies it. A replay is harmless.',
    access: 'webhook-events:replay',
    storefront: 'all',
    ifMatch: { document: 'the event' },
    params,
    body: z.strictObject({}),
    status: 200,
    answer: eventAnswer,
    handle: async ({ of, params, ifMatch }) => {
      const due = await replayEvent(of, params.account, params.event, mustMatch(ifMatch))
      try {
        await processWebhook(of, due)
      } catch (error) {
        of.log.warn({ err: error, event: due._id }, 'a replayed webhook could not be applied; the worker will try it again')
      }
      const event = await of.storage.webhookEvents.get(due._id)
      return { body: toWebhookEventAnswer(event), revision: event.revision }
    },
  }),
]
