/** The schemas of events, as the API and its documents publish them. */
import type { EventObject } from '../events/event-types.ts'
import { eventData } from './event-data.ts'
import { instant, z } from './fields.ts'

export const envelope = z
  .object({
    specversion: z.literal('1.0'),
    id: z.string().openapi({ description: 'The same in every delivery of the event: drop what you have seen.' }),
    source: z.string().openapi({ description: 'The tenant.', example: '/tenants/acme' }),
    type: z.string().openapi({ description: 'GET /v1/event-types lists them.', example: 'subscription.renewed' }),
    subject: z.string().openapi({ description: 'What the event is about.', example: '/subscriptions/sub_01' }),
    time: instant.openapi({ description: "When it happened, in the tenant's time." }),
    datacontenttype: z.literal('application/json'),
    sequence: z.string().openapi({ description: 'Grows with each event of the subject; compare as text.', example: '00000000000000000001' }),
    data: z.unknown().openapi({ description: 'The object, as this API answered it then. `{"erased": true}`: its customer was erased since.' }),
  })
  .openapi('Event')

type JsonSchema = Record<string, unknown>

/** @param target a draft of JSON Schema. */
export const jsonSchemaOf = (schema: z.ZodType, target: 'draft-2020-12' | 'draft-7' = 'draft-2020-12'): JsonSchema =>
  z.toJSONSchema(schema, { unrepresentable: 'any', io: 'input', target }) as JsonSchema

const known = new Map<EventObject, JsonSchema>()

/** The JSON Schema of the `data` of events about such an object. */
export const dataSchemaOf = (object: EventObject): JsonSchema => {
  const schema = known.get(object) ?? jsonSchemaOf(eventData[object])
  known.set(object, schema)
  return schema
}
