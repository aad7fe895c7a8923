/** What receivers of events are made from: the AsyncAPI document names every way, type and field. */
import official from '@asyncapi/specs/schemas/3.0.0-without-$id.json' with { type: 'json' }
import { Ajv } from 'ajv'
import addFormats from 'ajv-formats'
import test from 'ava'
import { toEnvelope } from '../../control-plane/events/envelope.ts'
import { eventTypeInfos, eventTypes } from '../../control-plane/events/event-types.ts'
import { asyncApiDocument } from '../../control-plane/http/asyncapi.ts'
import { dataSchemaOf } from '../../control-plane/http/event-schemas.ts'

const document = JSON.parse(JSON.stringify(asyncApiDocument()))

const validator = () => {
  const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: true })
  addFormats.default(ajv)
  return ajv
}

const event = (type: string, data: unknown) =>
  toEnvelope({ tenantId: 'acme', id: 'evt_1', type, subject: '/subscriptions/sub_01', time: new Date(0), seq: 1, data } as never)

/** Whether a payload is one of the document's schema. */
const isA = (name: string, payload: unknown): boolean =>
  validator()
    .addSchema({ components: document.components }, 'asyncapi')
    .validate({ $ref: `asyncapi#/components/schemas/${name}` }, payload) as boolean

test('the document is AsyncAPI 3.0', (t) => {
  const ajv = validator()
  t.true(ajv.validate(official, document), ajv.errorsText(ajv.errors?.slice(0, 5)))
  t.false(ajv.validate(official, { ...document, channels: { webhooks: { address: 1 } } }), 'the schema refuses what is none')
})

test('every reference leads somewhere', (t) => {
  const text = JSON.stringify(document)
  for (const [, path = ''] of text.matchAll(/"\$ref":"#\/([^"]+)"/g)) {
    const found = path.split('/').reduce<Record<string, unknown> | undefined>((at, part) => at?.[part] as Record<string, unknown> | undefined, document)
    t.truthy(found, path)
  }
})

test('each way out names every type that takes it', (t) => {
  const { webhooks, stream } = document.channels
  t.deepEqual(Object.keys(webhooks.messages), [...eventTypes])
  const kept = eventTypes.filter((type) => type !== 'webhook_endpoint.test')
  t.deepEqual(Object.keys(stream.messages), kept)
  t.deepEqual(stream.parameters.type.enum, kept)
  t.is(document.components.schemas.EventPage.properties.data.items.anyOf.length, kept.length)
})

test('a payload is of its type alone, with data of its object or of an erased customer', (t) => {
  const data = { id: 'e1', url: 'https://example.com', enabled: false, disabledReason: 'gone' }
  const made = event('webhook_endpoint.disabled', data)
  t.true(isA('webhook_endpoint.disabled', made))
  t.true(isA('webhook_endpoint.disabled', { ...made, data: { erased: true } }))
  t.true(isA('webhook_endpoint.disabled', { ...made, data: { ...data, addedLater: 1 } }), 'fields that are added later break no receiver')
  t.false(isA('webhook_endpoint.test', made))
  t.false(isA('webhook_endpoint.disabled', { ...made, data: { ...data, enabled: 'no' } }))
  t.false(isA('webhook_endpoint.disabled', { ...made, time: 'yesterday' }))
  t.false(isA('Event', { ...made, sequence: 1 }))
})

test('the document has the fields of the data that /v1/event-types publishes', (t) => {
  for (const { data } of eventTypeInfos) {
    t.deepEqual(Object.keys(document.components.schemas[data].properties), Object.keys(dataSchemaOf(data).properties as object), data)
  }
})
