import { fieldError } from '../../../common/errors.ts'
import type { KnownSidecar } from '../../observe/sidecars.ts'
import { instant, iso, isoOrNull, pageOf, pageQuery, z } from '../fields.ts'
import { ofList, route } from '../route.ts'

const count = z.number()

const sidecarAnswer = z
  .object({
    id: z.string().openapi({ description: 'The name by which the sidecar borrows units of quotas. It survives a restart if the sidecar has a JOURNAL_FILE.' }),
    status: z.enum(['live', 'away']).openapi({ description: 'away: not heard for 60 seconds. After an hour it is left out.' }),
    tenant: z.string().nullable().openapi({
      description:
        'The tenant at whose NATS subject the sidecar spoke, which the NATS server has checked; null: it may ask about all tenants. All other fields are what the sidecar says of itself.',
    }),
    tenants: z.array(z.string()).nullable().openapi({ description: 'SIDECAR_TENANTS, of which the first 20; null: it serves all tenants.' }),
    tenantCount: count.nullable(),
    version: z.string(),
    host: z.string().openapi({ description: 'The name of its machine.' }),
    startedAt: instant,
    heardAt: instant,
    transport: z.string(),
    threads: count,
    ready: z.boolean(),
    feed: z.object({
      live: z.boolean().openapi({ description: 'It receives changes as they are made.' }),
      complete: z.boolean().openapi({ description: 'false while the feed is lost or being refilled.' }),
      asOf: instant.nullable().openapi({ description: 'The time of the data that it answers from; null: it knows nothing yet.' }),
      lagMs: count.nullable().openapi({ description: 'How old the data was when the sidecar was heard.' }),
      reconnects: count,
    }),
    sets: z.object({
      held: count,
      behind: count.openapi({ description: 'Customers whose newest set could not be read.' }),
      bytes: count,
      maxBytes: count,
      evictions: count,
    }),
    lookups: z.object({ hits: count, misses: count }),
    quotas: z.object({
      counted: count.openapi({ description: 'Quotas of customers that the sidecar has borrowed units of within the last minute.' }),
      questions: count,
      unanswered: count,
    }),
    connections: count,
    faults: count,
  })
  .openapi('Sidecar')

const toAnswer = ({ tenantId, status, heardAt, isAway }: KnownSidecar): z.input<typeof sidecarAnswer> => {
  const { id, version, startedAt, host, transport, threads, tenants, tenantCount, ready, feed, sets, lookups, quotas, connections, faults } = status
  const asOf = feed.asOf === undefined ? undefined : new Date(feed.asOf)
  return {
    id,
    status: isAway ? 'away' : 'live',
    tenant: tenantId ?? null,
    tenants: tenants ?? null,
    tenantCount: tenantCount ?? null,
    version,
    host,
    startedAt,
    heardAt: iso(heardAt),
    transport,
    threads,
    ready,
    feed: {
      live: feed.live,
      complete: feed.complete,
      asOf: isoOrNull(asOf),
      lagMs: asOf ? Math.max(0, heardAt.getTime() - asOf.getTime()) : null,
      reconnects: feed.reconnects,
    },
    sets,
    lookups,
    quotas,
    connections,
    faults,
  }
}

const place = z.tuple([z.string(), z.string().nullable()])

/** The key of the last sidecar of the page before. @throws AppError `invalid_request`. */
const keyOfCursor = (cursor: string): string => {
  try {
    return JSON.stringify(place.parse(JSON.parse(Buffer.from(cursor, 'base64url').toString())))
  } catch {
    throw fieldError('invalid_request', 'cursor', 'is not a cursor of this list; use the nextCursor of its last page')
  }
}

export const sidecarRoutes = [
  route({
    method: 'get',
    path: '/v1/sidecars',
    summary: 'List the sidecars of the installation',
    description:
      'Sidecars report every ten seconds to all control planes, which keep the reports in memory. A control plane that has just started knows them all ten seconds later. Sidecars of versions that do not report are missing.',
    access: 'platform',
    storefront: 'none',
    ifMatch: ofList,
    ofTenant: false,
    query: z.strictObject(pageQuery),
    status: 200,
    answer: pageOf(sidecarAnswer),
    handle: async ({ services, query: { limit, cursor } }) => {
      const after = cursor === undefined ? '' : keyOfCursor(cursor)
      const known = services.sidecars.list().filter(({ key }) => key > after)
      const data = known.slice(0, limit)
      const last = data.at(-1)
      const nextCursor = known.length > limit && last ? { nextCursor: Buffer.from(last.key).toString('base64url') } : {}
      return { body: { data: data.map(toAnswer), ...nextCursor } }
    },
  }),
]
