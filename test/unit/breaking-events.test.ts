/** Types of events and their fields are only ever added: what else changes is found. */
import test from 'ava'
import { asyncApiDocument } from '../../control-plane/http/asyncapi.ts'
import { breakingChanges } from '../api/breaking-changes.ts'
import { eventsAsAnswers } from '../api/events-as-answers.ts'

// biome-ignore lint/suspicious/noExplicitAny: the tests reach into it
type Changed = any

const copy = (): Changed => JSON.parse(JSON.stringify(asyncApiDocument(false)))
const found = (change: (document: Changed) => void): string[] => {
  const present = copy()
  change(present)
  return breakingChanges(eventsAsAnswers(copy()), eventsAsAnswers(present))
}

test('what is added breaks nobody', (t) => {
  t.deepEqual(
    found(({ channels, components: { schemas } }) => {
      channels.webhooks.messages['bundle.retired'] = {}
      schemas['bundle.retired'] = schemas['bundle.updated']
      schemas.Bundle.properties.retiredAt = { type: 'string' }
      schemas.Event.properties.traceparent = { type: 'string' }
    }),
    [],
  )
})

test('a type that is gone, a field of data or of the envelope, and another type of a field are found', (t) => {
  t.regex(found(({ channels }) => delete channels.webhooks.messages['bundle.updated']).join(), /\/bundle\.updated: remove/)
  const within = (changes: string[], field: string): boolean => changes.some((one) => one.includes('/bundle.updated') && one.includes(field))
  t.true(
    within(
      found(({ components }) => delete components.schemas.Bundle.properties.pricing),
      'pricing',
    ),
  )
  t.true(
    within(
      found(({ components }) => delete components.schemas.Event.properties.sequence),
      'sequence',
    ),
  )
  t.true(
    within(
      found(({ components }) => (components.schemas.Bundle.properties.version = { type: 'string' })),
      'version',
    ),
  )
  t.true(
    within(
      found(({ components }) => (components.schemas['bundle.updated'].allOf[1].properties.type.const = 'bundle.renewed')),
      'const',
    ),
  )
})
