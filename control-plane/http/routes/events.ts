import { setTimeout as sleep } from 'node:timers/promises'
import { AppError } from '../../../common/errors.ts'
import { toEnvelope } from '../../events/envelope.ts'
import { type EventTypeInfo, eventTypeInfos, eventTypes, matches } from '../../events/event-types.ts'
import type { EventLogs } from '../../events/log.ts'
import type { LoggedEvent } from '../../schemas/event.ts'
import { dataSchemaOf, envelope } from '../event-schemas.ts'
import { z } from '../fields.ts'
import { decodePlace, encodePlace } from '../place-cursor.ts'
import { ofList, route } from '../route.ts'

/** What no caller waits longer for: proxies commonly cut off what is silent for a minute. */
const MAX_WAIT_S = 30
/** Another process may have appended, and says nothing of it here. */
const LOOK_AGAIN_MS = 500
/** Of a filter that leaves nearly everything out: the answer then says where to go on. */
const MOST_LOOKED_AT = 2_000
const AT_ONCE = 200

const eventType = z.object({
  type: z.string(),
  about: z.string(),
  subject: z.string().openapi({ description: 'A template of the subjects of its events.' }),
  schema: z.record(z.string(), z.unknown()).openapi({ description: 'The JSON Schema (2020-12) of `data`.' }),
})

const toEventType = (info: EventTypeInfo): z.output<typeof eventType> => ({
  type: info.type,
  about: info.about,
  subject: info.subject,
  schema: dataSchemaOf(info.data),
})

const OF_EVENTS = 'e'
const NOT_OURS = 'is not a cursor of this list; use the cursor or nextCursor of an earlier answer'

const typesQuery = z
  .string()
  .max(2_000)
  .transform((text) => text.split(','))
  .refine((types) => types.every((one) => one === '*' || eventTypes.some((type) => matches([one], type))), {
    message: 'must be types of events, or families such as subscription.*, separated by commas; GET /v1/event-types lists them',
  })
  .openapi({ type: 'string', description: 'Only events of these types or families, separated by commas.', example: 'subscription.*,payment.failed' })

interface Wanted {
  types: readonly string[] | undefined
  subject: string | undefined
  within: readonly string[] | undefined
}

const isWanted = ({ types, subject, within }: Wanted, event: LoggedEvent): boolean =>
  (!types || matches(types, event.type)) &&
  (subject === undefined || event.subject === subject) &&
  (!within || (event.storefrontId !== undefined && within.includes(event.storefrontId)))

interface Found {
  events: LoggedEvent[]
  upTo: number
  more: boolean
}

const findEvents = async (logs: EventLogs, tenantId: string, after: number, limit: number, wanted: Wanted): Promise<Found> => {
  const events: LoggedEvent[] = []
  let upTo = after
  for (let looked = 0; looked < MOST_LOOKED_AT; ) {
    const page = await logs.read(tenantId, upTo, AT_ONCE)
    looked += page.events.length
    for (const event of page.events) {
      if (events.length === limit) return { events, upTo, more: true }
      upTo = event.position
      if (isWanted(wanted, event)) events.push(event)
    }
    if (page.events.length < AT_ONCE) return { events, upTo: page.upTo, more: false }
  }
  return { events, upTo, more: true }
}

/** Resolves when something was appended, or may have been, or the time is over. */
const nextAppend = async (logs: EventLogs, tenantId: string, ms: number, gone: AbortSignal): Promise<void> => {
  const told = new AbortController()
  const stop = logs.follow((of) => {
    if (of === tenantId) told.abort()
  })
  await sleep(ms, undefined, { signal: AbortSignal.any([told.signal, gone]) }).catch(() => undefined)
  stop()
}

export const eventRoutes = [
  route({
    method: 'get',
    path: '/v1/events',
    summary: 'Read what has happened in order',
    description:
      'Events since a cursor, the oldest first; each event is listed once, and events of one subject stand in their order. With `wait`, the call is answered as soon as there is one. Keep `cursor` with what you have processed, and go on from there. Events are kept for 30 days (EVENT_DAYS).',
    access: 'events:read',
    storefront: 'within',
    ifMatch: ofList,
    query: z.object({
      limit: z.coerce.number().int().min(1).max(500).default(50),
      cursor: z.string().max(2_000).optional().openapi({ description: 'Go on after this place. Without: from the oldest event that is kept.' }),
      from: z
        .enum(['oldest', 'latest'])
        .default('oldest')
        .openapi({ description: 'Where to begin without a cursor. `latest`: after the last event there is.' }),
      types: typesQuery.optional(),
      subject: z.string().max(1_000).optional().openapi({ description: 'Only events of this subject.', example: '/subscriptions/sub_01' }),
      wait: z.coerce.number().int().min(0).max(MAX_WAIT_S).default(0).openapi({ description: 'While there is none: wait up to so many seconds for one.' }),
    }),
    status: 200,
    answer: z.object({
      data: z.array(envelope),
      cursor: z.string().openapi({ description: 'The place after the last event that was looked at: ask from here next time.' }),
      nextCursor: z.string().optional().openapi({ description: 'The same, if there is more now.' }),
    }),
    handle: async ({
      of,
      query,
      within,
      services: {
        events: { logs: eventLogs },
        clock,
      },
      gone,
    }) => {
      const { tenantId } = of
      const { limit, types, subject } = query
      const until = clock.nowMs() + query.wait * 1_000
      const hungUp = gone()
      let after =
        query.cursor === undefined ? (query.from === 'latest' ? await eventLogs.lastPlace(tenantId) : 0) : decodePlace(OF_EVENTS, query.cursor, NOT_OURS)
      let found = await findEvents(eventLogs, tenantId, after, limit, { types, subject, within })
      while (found.events.length === 0 && !found.more && clock.nowMs() < until && !hungUp.aborted) {
        after = found.upTo
        await nextAppend(eventLogs, tenantId, Math.min(LOOK_AGAIN_MS, until - clock.nowMs()), hungUp)
        found = await findEvents(eventLogs, tenantId, after, limit, { types, subject, within })
      }
      const cursor = encodePlace(OF_EVENTS, found.upTo)
      return { body: { data: found.events.map(toEnvelope), cursor, ...(found.more ? { nextCursor: cursor } : {}) } }
    },
  }),
  route({
    method: 'get',
    path: '/v1/events/{event}',
    summary: 'Read an event',
    access: 'events:read',
    storefront: 'within',
    ifMatch: { refused: 'an event does not change, and has no ETag' },
    refusals: ['not_found'],
    params: z.object({ event: z.string().max(200) }),
    status: 200,
    answer: envelope,
    handle: async ({ of, params, within }) => {
      const event = await of.storage.loggedEvents.find(of.keys.loggedEvent(params.event))
      if (!event || !isWanted({ types: undefined, subject: undefined, within }, event))
        throw new AppError('not_found', 'no such event; events are kept for 30 days')
      return { body: toEnvelope(event) }
    },
  }),
  route({
    method: 'get',
    path: '/v1/event-types',
    summary: 'List the types of events',
    description: 'Each with the JSON Schema of its data. GET /asyncapi.json has the same as an AsyncAPI document.',
    access: 'public',
    storefront: 'none',
    ifMatch: ofList,
    status: 200,
    answer: z.object({ data: z.array(eventType) }),
    handle: async () => ({ body: { data: eventTypeInfos.map(toEventType) } }),
  }),
  route({
    method: 'get',
    path: '/v1/event-types/{type}',
    summary: 'Read a type of event',
    access: 'public',
    storefront: 'none',
    ifMatch: { refused: 'a type of event has no ETag' },
    refusals: ['not_found'],
    params: z.object({ type: z.string().max(100) }),
    status: 200,
    answer: eventType,
    handle: async ({ params }) => {
      const info = eventTypeInfos.find(({ type }) => type === params.type)
      if (!info) throw new AppError('not_found', `there are no events of the type ${params.type}; GET /v1/event-types lists all`)
      return { body: toEventType(info) }
    },
  }),
]
