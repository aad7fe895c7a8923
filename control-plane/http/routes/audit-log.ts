import { Readable } from 'node:stream'
import { fieldError } from '../../../common/errors.ts'
import type { AuditEntry } from '../../audit/entry.ts'
import { customerReference } from '../../audit/masked.ts'
import { blocksForward, entriesOf, type Filter, newestFirst, type Place } from '../../audit/read.ts'
import { PLATFORM } from '../../keys.ts'
import type { Services } from '../../ports.ts'
import { id, instant, pageOf, pageQuery, z } from '../fields.ts'
import { ofList, route } from '../route.ts'
import { RateLimitedError } from '../throttle.ts'

const entryAnswer = z
  .object({
    at: instant,
    requestId: z.string(),
    event: z
      .enum(['begun', 'done'])
      .openapi({ description: 'begun is written before a change is made, done afterwards; a begun without a done means that the process died in between.' }),
    actor: z.object({ kind: z.string(), id: z.string(), name: z.string().nullable(), role: z.string() }),
    from: z.string().openapi({ description: 'The IP address that the call came from.' }),
    action: z.string(),
    resource: z.record(z.string(), z.string()),
    reason: z.string().nullable().openapi({ description: 'The reason that the caller gave, in X-Reason or in the body.' }),
    input: z.unknown().optional().openapi({ description: 'With begun: the request, without secrets and personal data.' }),
    status: z.int().optional(),
    code: z.string().optional().openapi({ description: 'The code of the refusal.' }),
    changes: z.array(z.object({ field: z.string(), before: z.unknown().optional(), after: z.unknown().optional() })).optional(),
  })
  .openapi('AuditEntry')

const filters = {
  from: instant.optional(),
  to: instant.optional(),
  actor: id.optional().openapi({ description: 'The id of a key or a user.' }),
  action: z.string().min(1).max(200).optional().openapi({ description: 'As entries name it: `post /v1/payments/{payment}/refund`.' }),
  requestId: id.optional(),
  event: z.enum(['begun', 'done']).optional(),
  storefrontId: id.optional(),
  customerId: id.optional().openapi({ description: 'Needs storefrontId. Entries name a customer by a hash of both.' }),
}

const pageFilters = z.strictObject({ ...filters, ...pageQuery })
const filtersOnly = z.strictObject(filters)
type Filters = z.output<typeof filtersOnly>

/** Of one tenant, in this process: each reads the whole log. */
const MAX_EXPORTS = 2
const exporting = new Map<string, number>()

/** @throws AppError `rate_limited`. */
const exported = (tenantId: string, lines: AsyncIterable<string>): Readable => {
  const now = exporting.get(tenantId) ?? 0
  if (now >= MAX_EXPORTS) throw new RateLimitedError(`${now} exports of this tenant are running, which is the limit; wait for one to end`, 10)
  exporting.set(tenantId, now + 1)
  const stream = Readable.from(lines, { highWaterMark: 1 })
  stream.once('close', () => {
    const left = (exporting.get(tenantId) ?? 1) - 1
    if (left === 0) exporting.delete(tenantId)
    else exporting.set(tenantId, left)
  })
  return stream
}

/** @throws AppError `invalid_request` on `storefrontId`. */
const filterOf = (tenantId: string, { from, to, actor, action, requestId, event, storefrontId, customerId }: Filters): Filter => {
  if (customerId !== undefined && storefrontId === undefined)
    throw fieldError('invalid_request', 'storefrontId', 'is required with customerId: a customer is unique within its storefront only')
  const customer = customerId === undefined ? undefined : customerReference(tenantId, storefrontId ?? '', customerId)
  const is = (wanted: string | undefined, value: string | undefined) => wanted === undefined || wanted === value
  const timeOf = (text: string | undefined) => (text === undefined ? undefined : new Date(text))
  const [after, before] = [timeOf(from), timeOf(to)]
  return {
    from: after,
    to: before,
    matches: (entry) =>
      is(actor, entry.actor.id) &&
      is(action, entry.action) &&
      is(requestId, entry.requestId) &&
      is(event, entry.event) &&
      is(storefrontId, entry.resource.storefront) &&
      is(customer, entry.resource.customer) &&
      !(after && new Date(entry.at) < after) &&
      !(before && new Date(entry.at) > before),
  }
}

const placeOf = (cursor: string | undefined): Place | undefined => {
  if (cursor === undefined) return undefined
  const [, seq, at] = /^(\d{1,15})-(\d{1,15})$/.exec(cursor) ?? []
  if (seq === undefined || at === undefined) throw fieldError('invalid_request', 'cursor', 'is not a cursor of this list; use the nextCursor of its last page')
  return { seq: Number(seq), at: Number(at) }
}

const cursorOf = ({ seq, at }: Place): string => `${seq}-${at}`

const pageOfLog = async ({ storage }: Services, tenantId: string, { limit, cursor, ...query }: z.output<typeof pageFilters>) => {
  const { entries, next } = await newestFirst(storage, tenantId, filterOf(tenantId, query), limit, placeOf(cursor))
  return { body: { data: entries, ...(next ? { nextCursor: cursorOf(next) } : {}) } }
}

export const auditLogRoutes = [
  route({
    method: 'get',
    path: '/v1/audit-log',
    summary: 'List the entries of the audit log',
    description: 'The newest come first. A page may be short or empty although more pages follow.',
    access: 'audit-log:read',
    storefront: 'all',
    ifMatch: ofList,
    query: pageFilters,
    status: 200,
    answer: pageOf(entryAnswer),
    handle: async ({ services, of, query }) => pageOfLog(services, of.tenantId, query),
  }),
  route({
    method: 'get',
    path: '/v1/platform/audit-log',
    summary: 'List audit entries of the platform',
    description:
      'The entries belong to no tenant, for example tenants that were created or ended. If you name a tenant, you get its entries, even after it has ended. A page may be short or empty although more pages follow.',
    access: 'platform',
    storefront: 'none',
    ifMatch: ofList,
    ofTenant: false,
    query: pageFilters.extend({ tenant: id.optional().openapi({ description: 'Default: entries that belong to no tenant.' }) }),
    status: 200,
    answer: pageOf(entryAnswer),
    handle: async ({ services, query: { tenant = PLATFORM, ...query } }) => pageOfLog(services, tenant, query),
  }),
  route({
    method: 'get',
    path: '/v1/audit-log/export',
    summary: 'Export the audit log',
    description: 'The oldest entries come first, one JSON object per line.',
    access: 'audit-log:read',
    storefront: 'all',
    ifMatch: ofList,
    query: filtersOnly,
    status: 200,
    gives: 'application/jsonl',
    handle: async ({ services, of, query }) => {
      const filter = filterOf(of.tenantId, query)
      const lines = async function* () {
        for await (const block of blocksForward(services.storage, of.tenantId, filter.from)) {
          const found = entriesOf(block).filter(filter.matches)
          if (found.length > 0) yield `${found.map((entry: AuditEntry) => JSON.stringify(entry)).join('\n')}\n`
        }
      }
      return { body: exported(of.tenantId, lines()) }
    },
  }),
]
