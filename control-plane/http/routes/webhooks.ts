import { processWhileWaiting } from '../../engine/process-webhook.ts'
import { receiveWebhook } from '../../payments/webhooks/receive-webhook.ts'
import { id, z } from '../fields.ts'
import { route } from '../route.ts'

export const webhookRoutes = [
  route({
    method: 'post',
    path: '/v1/webhooks/psp/{tenant}/{account}',
    summary: 'Receive an event of a provider',
    description:
      'The signature of the raw body proves the sender. Tollgate stores the event once per account and event id, answers, and then applies it. Late, repeated and out-of-order events are harmless.',
    access: 'public',
    storefront: 'none',
    ifMatch: { refused: "providers' events are accepted as they come" },
    params: z.object({ tenant: id, account: id }),
    query: z.looseObject({}),
    body: z.unknown(),
    refusals: ['signature_invalid'],
    status: 200,
    answer: z.object({ received: z.literal(true) }),
    handle: async ({ services, params, query, headers, rawBody }) => {
      const request = { headers, query: query as Record<string, string | undefined>, rawBody }
      const { of, events } = await receiveWebhook(services, params.tenant, params.account, request)
      for (const event of events) await processWhileWaiting(of, event)
      return { body: { received: true as const } }
    },
  }),
]
