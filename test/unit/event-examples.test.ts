/** The page of event types is that of the catalogue, and its examples are what the API says events look like. */
import { readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import test from 'ava'
import { eventTypeInfos, eventTypes } from '../../control-plane/events/event-types.ts'
import { asyncApiDocument } from '../../control-plane/http/asyncapi.ts'
import recorded from '../../control-plane/http/event-examples.json' with { type: 'json' }
import { dataSchemaOf, envelope } from '../../control-plane/http/event-schemas.ts'
import { eventTypesPage } from '../api/event-types-page.ts'
import { type EventExamples, notLogged } from '../support/event-stories.ts'

const examples = recorded as unknown as EventExamples

test('docs/event-types.md is what npm run events:examples writes', (t) => {
  t.is(readFileSync(new URL('../../docs/event-types.md', import.meta.url), 'utf8'), eventTypesPage(examples))
})

test('every type has an example, but for those that are not in the log of a sandbox', (t) => {
  t.deepEqual(
    eventTypes.filter((type) => !examples[type]),
    notLogged,
  )
})

test('each example is an event of its type, with data as /v1/event-types describes it', (t) => {
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  addFormats.default(ajv)
  for (const { type, data, subject } of eventTypeInfos) {
    const example = examples[type]
    if (!example) continue
    t.is(example.type, type)
    t.true(envelope.safeParse(example).success, type)
    t.true(ajv.validate(dataSchemaOf(data), example.data), `${type}: ${ajv.errorsText()}`)
    t.regex(example.subject, new RegExp(`^${subject.replaceAll(/\{\w+\}/g, '[^/]+')}$`))
  }
})

test('the AsyncAPI document shows them', (t) => {
  const { messages } = asyncApiDocument().components as { messages: Record<string, { examples?: unknown }> }
  t.deepEqual(messages['webhook.payment.succeeded']?.examples, [{ payload: examples['payment.succeeded'] }])
  t.is(messages['webhook.webhook_endpoint.test']?.examples, undefined)
})
