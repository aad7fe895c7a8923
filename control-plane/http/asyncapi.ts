/** The AsyncAPI 3.0 document of events, from their catalogue and the zod schemas of the API. */
import { EVENT_STREAM } from '../../common/feed/nats/names.ts'
import { type EventType, type EventTypeInfo, eventTypeInfos } from '../events/event-types.ts'
import { eventData } from './event-data.ts'
import examples from './event-examples.json' with { type: 'json' }
import { envelope, jsonSchemaOf } from './event-schemas.ts'

/** It is sent to the endpoint that is tested, and goes nowhere else. */
const TO_ENDPOINTS_ONLY: EventType = 'webhook_endpoint.test'

const CLOUD_EVENT = 'application/cloudevents+json'

/** An event of each type, as a running Tollgate made it: `npm run events:examples`. */
const recorded: Readonly<Record<string, unknown>> = examples

const ref = (...path: string[]) => ({ $ref: `#/${path.map((part) => part.replaceAll('/', '~1')).join('/')}` })

// What AsyncAPI calls a schema is draft 7 of JSON Schema.
const schemaOf = (schema: Parameters<typeof jsonSchemaOf>[0]) => {
  const { $schema: _, ...rest } = jsonSchemaOf(schema, 'draft-7')
  return rest
}

const text = (description: string) => ({ type: 'string', description })

const headers = {
  WebhookHeaders: {
    type: 'object',
    required: ['webhook-id', 'webhook-timestamp', 'webhook-signature'],
    properties: {
      'webhook-id': text('The same in every try.'),
      'webhook-timestamp': text('When it was sent: seconds since 1970.'),
      'webhook-signature': text('Signatures, separated by spaces: `v1,` and the HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}` in base64.'),
    },
  },
  StreamHeaders: {
    type: 'object',
    required: ['Nats-Msg-Id', 'content-type'],
    properties: { 'Nats-Msg-Id': text("The event's `id`."), 'content-type': { type: 'string', const: CLOUD_EVENT } },
  },
}

const payload = ({ type, about, data }: EventTypeInfo) => ({
  description: about,
  allOf: [
    ref('components', 'schemas', 'Event'),
    {
      type: 'object',
      properties: { type: { type: 'string', const: type }, data: { anyOf: [ref('components', 'schemas', data), ref('components', 'schemas', 'Erased')] } },
    },
  ],
})

const message = (info: EventTypeInfo, header: keyof typeof headers, withExamples: boolean) => {
  const example = withExamples ? recorded[info.type] : undefined
  return {
    name: info.type,
    title: info.type,
    summary: info.about,
    contentType: CLOUD_EVENT,
    headers: ref('components', 'schemas', header),
    payload: ref('components', 'schemas', info.type),
    ...(example ? { examples: [{ payload: example }] } : {}),
  }
}

/** Messages are written once, in `components`, and named by the channels. */
const messageName = (info: EventTypeInfo, way: 'webhook' | 'stream'): string => `${way}.${info.type}`

/** @param withExamples false for comparisons: examples say nothing that a receiver relies on. */
export const asyncApiDocument = (withExamples = true) => {
  const kept = eventTypeInfos.filter(({ type }) => type !== TO_ENDPOINTS_ONLY)
  const entries = <T>(infos: readonly EventTypeInfo[], of: (info: EventTypeInfo) => [string, T]): Record<string, T> => Object.fromEntries(infos.map(of))
  const named = (infos: readonly EventTypeInfo[], way: 'webhook' | 'stream') =>
    entries(infos, (info) => [info.type, ref('components', 'messages', messageName(info, way))])
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Tollgate',
      version: '1',
      description:
        'What happens to subscriptions, payments and entitlements, as CloudEvents 1.0. Types and fields are only ever added: ignore what you do not know.',
    },
    defaultContentType: CLOUD_EVENT,
    servers: {
      api: {
        host: '{host}',
        protocol: 'https',
        description: 'The HTTP API of the control plane.',
        variables: { host: { default: 'localhost:8080' } },
        security: [ref('components', 'securitySchemes', 'apiKey')],
      },
      endpoint: {
        host: '{host}',
        protocol: 'https',
        description: 'Your webhook endpoint.',
        variables: { host: { default: 'localhost:443' } },
      },
      nats: { host: '{host}', protocol: 'nats', description: 'NATS with JetStream (NATS_URL).', variables: { host: { default: 'localhost:4222' } } },
    },
    channels: {
      webhooks: {
        address: null,
        title: 'Webhooks',
        description: 'Each event is one POST to the URL of an endpoint, signed as Standard Webhooks. Any 2xx takes it; all else is tried again.',
        servers: [ref('servers', 'endpoint')],
        messages: named(eventTypeInfos, 'webhook'),
      },
      stream: {
        address: 'tollgate.events.{tenant}.{type}',
        title: EVENT_STREAM,
        description: `The JetStream stream \`${EVENT_STREAM}\`. The type has a dot, so it is two tokens of the subject.`,
        servers: [ref('servers', 'nats')],
        parameters: {
          tenant: { description: 'The tenant. An id with other characters than letters, digits, `_` and `-` stands there in base64url, after a `=`.' },
          type: { description: 'The type of the event.', enum: kept.map(({ type }) => type) },
        },
        messages: named(kept, 'stream'),
      },
      pages: {
        address: '/v1/events',
        title: 'Pages of the HTTP API',
        description: 'Events since a cursor, the oldest first. /openapi.json describes the call.',
        servers: [ref('servers', 'api')],
        messages: { page: ref('components', 'messages', 'page') },
      },
    },
    operations: {
      sendWebhook: {
        action: 'send',
        title: 'Send an event to a webhook endpoint',
        channel: ref('channels', 'webhooks'),
        bindings: { http: { method: 'POST', bindingVersion: '0.3.0' } },
      },
      publishEvent: { action: 'send', title: 'Put an event into the stream', channel: ref('channels', 'stream') },
      answerPage: {
        action: 'send',
        title: 'Answer a page of events',
        channel: ref('channels', 'pages'),
        bindings: { http: { method: 'GET', bindingVersion: '0.3.0' } },
      },
    },
    components: {
      securitySchemes: { apiKey: { type: 'http', scheme: 'bearer' } },
      messages: {
        ...entries(eventTypeInfos, (info) => [messageName(info, 'webhook'), message(info, 'WebhookHeaders', withExamples)]),
        ...entries(kept, (info) => [messageName(info, 'stream'), message(info, 'StreamHeaders', withExamples)]),
        page: { name: 'page', title: 'A page of events', contentType: 'application/json', payload: ref('components', 'schemas', 'EventPage') },
      },
      schemas: {
        Event: schemaOf(envelope),
        Erased: {
          type: 'object',
          description: 'The data of an event whose customer was erased since.',
          required: ['erased'],
          properties: { erased: { type: 'boolean', const: true } },
        },
        EventPage: {
          type: 'object',
          required: ['data', 'cursor'],
          properties: {
            data: { type: 'array', items: { anyOf: kept.map(({ type }) => ref('components', 'schemas', type)) } },
            cursor: text('The place after the last event that was looked at: ask from here next time.'),
            nextCursor: text('The same, if there is more now.'),
          },
        },
        ...headers,
        ...Object.fromEntries(Object.entries(eventData).map(([object, schema]) => [object, schemaOf(schema)])),
        ...entries(eventTypeInfos, (info) => [info.type, payload(info)]),
      },
    },
  }
}
