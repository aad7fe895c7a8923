import pMap from 'p-map'
import { type EventOutcome, reportEvents } from '../../entitlements/report-events.ts'
import { countedId } from '../../metering/counted-reports.ts'
import { eventMediaTypes, MAX_EVENTS, readUsageEvent, type UsageEvent } from '../cloud-events.ts'
import { z } from '../fields.ts'
import { route } from '../route.ts'
import { isWithin } from '../storefront-scope.ts'

/** Customers whose events are counted at once: each takes a few reads and writes of storage. */
const CUSTOMERS_AT_ONCE = 16

/** As the document describes it: each event is checked for itself, and one that is not like this is rejected alone. */
const event = z.record(z.string(), z.unknown()).openapi('UsageEvent', {
  type: 'object',
  description: 'A CloudEvent 1.0 in structured mode. It needs specversion, id, source, type, subject and data; an event that is not valid is in `rejected`.',
  properties: {
    specversion: { type: 'string', description: '1.0.' },
    id: { type: 'string', description: 'With source and subject, what a repeat is known by for 24 hours.' },
    source: { type: 'string', description: 'A URI reference.' },
    type: { type: 'string', description: 'The key of the entitlement.' },
    subject: { type: 'string', description: 'The id of the customer.' },
    time: { type: 'string', description: 'When it was used: at most 35 days ago. Default: now.' },
    data: {
      type: 'object',
      properties: { storefrontId: { type: 'string' }, amount: { type: 'integer', description: 'Added to the used amount; a negative number gives back.' } },
    },
  },
  additionalProperties: true,
})

const body = z.union(
  [
    event,
    z
      .array(z.unknown().openapi({ allOf: [{ $ref: '#/components/schemas/UsageEvent' }] }))
      .min(1)
      .max(MAX_EVENTS),
  ],
  `must be a CloudEvent, or a list of 1 to ${MAX_EVENTS} of them`,
)

type Read = { index: number; event: UsageEvent }

export const usageEventRoutes = [
  route({
    method: 'post',
    path: '/v1/usage-events',
    summary: 'Report usage by CloudEvents',
    description:
      'The body is one event or a batch of up to 1,000. Each event counts once, however often it is sent within 24 hours, and each is accepted or rejected by itself. An event counts in the windows that were running at its time and still are; older uses are in the history only.',
    access: 'usage:report',
    storefront: 'within',
    ifMatch: { refused: 'usage reports add up in any order, so there is no ETag' },
    jsonTypes: eventMediaTypes,
    body,
    status: 202,
    answer: z.object({
      accepted: z.int().openapi({ description: 'How many were counted now.' }),
      duplicates: z.int().openapi({ description: 'How many had been counted before.' }),
      rejected: z
        .array(z.object({ index: z.int(), code: z.string(), field: z.string() }))
        .openapi({ description: 'Which were not counted, by their place in the batch, and which attribute was wrong.' }),
    }),
    handle: async ({ of, within, body: sent }) => {
      const now = of.now()
      const outcomes: Exclude<EventOutcome, undefined>[] = []
      const read: Read[] = []
      for (const [index, raw] of (Array.isArray(sent) ? sent : [sent]).entries()) {
        const one = readUsageEvent(raw, now)
        if ('code' in one) outcomes[index] = one
        else if (!isWithin(within, one.storefrontId)) outcomes[index] = { code: 'forbidden', field: 'data.storefrontId' }
        else read.push({ index, event: one })
      }
      const byCustomer = Map.groupBy(read, ({ event: { storefrontId, customerId } }) => `${storefrontId}/${customerId}`)
      const report = async (ofCustomer: readonly Read[]): Promise<void> => {
        const [
          {
            event: { storefrontId, customerId },
          },
        ] = ofCustomer as [Read]
        const events = ofCustomer.map(({ event: { source, id, entitlement, amount, at } }) => ({ id: countedId({ source, id }), entitlement, amount, at }))
        const told = await reportEvents(of, { tenantId: of.tenantId, storefrontId, customerId }, events)
        for (const [n, { index }] of ofCustomer.entries()) outcomes[index] = told[n] ?? 'duplicate'
      }
      await pMap(byCustomer.values(), report, { concurrency: CUSTOMERS_AT_ONCE })
      return {
        body: {
          accepted: outcomes.filter((one) => one === 'accepted').length,
          duplicates: outcomes.filter((one) => one === 'duplicate').length,
          rejected: outcomes.flatMap((one, index) => (typeof one === 'object' ? [{ index, code: one.code, field: one.field }] : [])),
        },
      }
    },
  }),
]
