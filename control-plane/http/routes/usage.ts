import type { CustomerKey } from '../../../common/entitlements/model.ts'
import { reportUsage, type UsageAnswer } from '../../entitlements/report-usage.ts'
import { releaseHolder } from '../../metering/answer-holder.ts'
import { countedId, saysOf } from '../../metering/counted-reports.ts'
import { readLedger, readWarnings } from '../../metering/read-ledger.ts'
import type { TenantScope } from '../../tenant-scope.ts'
import { id, instant, iso, isoOrNull, z } from '../fields.ts'
import { route } from '../route.ts'

const usageAnswer = z.object({
  used: z.int(),
  limit: z.int().nullable(),
  remaining: z.int().nullable(),
  resetsAt: instant.nullable(),
  entitlementRevision: z.int(),
})

const toUsageAnswer = (usage: UsageAnswer): z.output<typeof usageAnswer> => ({ ...usage, resetsAt: isoOrNull(usage.resetsAt) })

const ledgerAnswer = z
  .object({
    kind: z.enum(['quota', 'capacity']),
    limit: z.int().nullable().openapi({ description: 'Null: unlimited.' }),
    used: z.int().openapi({ description: 'As far as sidecars have told: what they have spent, and what was reported.' }),
    outstanding: z.int().openapi({ description: 'Lent to sidecars and not spent, as far as they have told.' }),
    free: z.int().nullable().openapi({ description: 'Neither used nor lent. Null: unlimited.' }),
    windows: z
      .array(z.object({ subscriptionId: z.string(), start: instant, end: instant, limit: z.int().nullable(), counted: z.int() }))
      .openapi({ description: 'The running window of each subscription that has the quota. `counted` includes what is lent.' }),
    leases: z
      .array(z.object({ sidecar: z.string(), subscriptionId: z.string(), lent: z.int(), spent: z.int(), until: instant, seenAt: instant }))
      .openapi({ description: 'Which sidecars may spend without asking, and when each was heard of last.' }),
    holders: z
      .array(z.object({ holder: z.string(), amount: z.int(), since: instant, expiresAt: instant.nullable() }))
      .openapi({ description: 'Who occupies places of a capacity, the oldest first. Null: until it is released.' }),
  })
  .openapi('Ledger')

const timelineAnswer = z.object({
  data: z.array(
    z.object({
      at: instant,
      type: z.enum(['usage_threshold', 'usage_over_limit']),
      why: z.string(),
      entitlement: z.string(),
      share: z.int().openapi({ description: 'In percent of the limit.' }),
      used: z.int(),
      limit: z.int(),
      windowEnd: instant.nullable().openapi({ description: 'When the quota begins again. Null: a capacity.' }),
    }),
  ),
})

/** The customer that a path names. */
const customerIn = ({ tenantId }: TenantScope, { storefront, customer }: { storefront: string; customer: string }): CustomerKey => ({
  tenantId,
  storefrontId: storefront,
  customerId: customer,
})

const params = z.object({ storefront: id, customer: id, entitlement: id })
const path = '/v1/storefronts/{storefront}/customers/{customer}/entitlements/{entitlement}'

export const usageRoutes = [
  route({
    method: 'post',
    path: '/v1/usage',
    summary: 'Report usage of a quota or capacity',
    description:
      'An amount is added to the usage, and a negative amount gives usage back. The field used sets the usage instead. Usage beyond the limit is counted too. Send an id or an Idempotency-Key, so that a repeat does not count twice: with an id, a repeat is answered with what is used by then.',
    access: 'usage:report',
    storefront: 'body',
    ifMatch: { refused: 'usage reports add up in any order, so there is no ETag' },
    body: z
      .strictObject({
        storefrontId: id,
        customerId: id,
        entitlement: z.string().min(1).max(128),
        amount: z.int().optional().openapi({ description: 'Added to the used amount; a negative number gives back.' }),
        used: z.int().min(0).optional().openapi({ description: 'Sets the used amount.' }),
        id: z.string().min(1).max(128).optional().openapi({ description: 'The id of this report: it counts once within 24 hours, however often it is sent.' }),
      })
      .refine((body) => (body.amount === undefined) !== (body.used === undefined), {
        message: 'send either amount (to add) or used (to set)',
        path: ['amount'],
      })
      .openapi({ oneOf: [{ required: ['amount'] }, { required: ['used'] }] }),
    refusals: ['unknown_reference'],
    status: 201,
    answer: usageAnswer,
    handle: async ({ of, body, newId }) => {
      const { storefrontId, customerId, entitlement } = body
      const change = body.used === undefined ? { add: body.amount ?? 0 } : { set: body.used }
      const says = saysOf(entitlement, ...Object.entries(change).flat())
      const own = body.id === undefined ? undefined : { id: countedId({ id: body.id }), says }
      const report = { id: newId('use'), entitlement, change, own }
      return { body: toUsageAnswer(await reportUsage(of, { tenantId: of.tenantId, storefrontId, customerId }, report)) }
    },
  }),
  route({
    method: 'get',
    path: `${path}/ledger`,
    summary: 'Read the ledger of a quota or capacity',
    description: 'The ledger says what is used, what is lent to sidecars, and what is free.',
    access: 'entitlements:read',
    storefront: 'path',
    ifMatch: { refused: 'a ledger changes with every use, so there is no ETag' },
    params,
    status: 200,
    answer: ledgerAnswer,
    handle: async ({ of, params: { storefront, customer, entitlement } }) => {
      const { windows, leases, holders, ...rest } = await readLedger(of, customerIn(of, { storefront, customer }), entitlement)
      return {
        body: {
          ...rest,
          windows: windows.map(({ start, end, ...window }) => ({ ...window, start: iso(start), end: iso(end) })),
          holders: holders.map(({ holder, amount, since, until }) => ({ holder, amount, since: iso(since), expiresAt: isoOrNull(until) })),
          leases: leases.map(({ until, seenAt, ...lease }) => ({ ...lease, until: iso(until), seenAt: iso(seenAt) })),
        },
      }
    },
  }),
  route({
    method: 'post',
    path: `${path}/release`,
    summary: 'Remove a holder of a capacity',
    description: 'The places that the holder occupies are free at once. A holder that occupies nothing gives back nothing. The audit log keeps the reason.',
    access: 'usage:correct',
    storefront: 'path',
    ifMatch: { refused: 'a ledger changes with every use, so there is no ETag' },
    params,
    body: z
      .strictObject({
        holder: z.string().min(1).max(128).openapi({ description: 'As the ledger lists it.', example: 'seat:ann@example.com' }),
        reason: z.string().trim().min(3, 'must say in a few words why it is released').max(500).openapi({ description: 'Why; kept in the audit log.' }),
      })
      .openapi('HolderRelease'),
    status: 200,
    answer: z.object({ used: z.int().openapi({ description: 'What is occupied now.' }), limit: z.int().nullable() }),
    handle: async ({ of, params: { storefront, customer, entitlement }, body, newId }) => {
      const { used, limit } = await releaseHolder(of, customerIn(of, { storefront, customer }), entitlement, body.holder, newId('use'))
      return { body: { used, limit } }
    },
  }),
  route({
    method: 'get',
    path: '/v1/storefronts/{storefront}/customers/{customer}/timeline',
    summary: 'Read the usage events of a customer',
    description:
      'An entry says when a share of a limit was reached (warnAt), or a limit was passed: once per share and window. The newest 200 are kept, oldest first.',
    access: 'entitlements:read',
    storefront: 'path',
    ifMatch: { refused: 'a timeline only grows, so there is no ETag' },
    params: z.object({ storefront: id, customer: id }),
    status: 200,
    answer: timelineAnswer,
    handle: async ({ of, params: { storefront, customer } }) => {
      const warnings = await readWarnings(of, customerIn(of, { storefront, customer }))
      const data = warnings.map(({ at, type, key, share, used, limit, until }) => ({
        at: iso(at),
        type: `usage_${type}` as const,
        why: type === 'over_limit' ? `${used} of ${limit} are used: the limit is passed` : `${share} % of ${limit} are reached: ${used} are used`,
        entitlement: key,
        ...{ share, used, limit },
        windowEnd: isoOrNull(until),
      }))
      return { body: { data } }
    },
  }),
  route({
    method: 'put',
    path: `${path}/used`,
    summary: 'Correct the used amount',
    description: 'The amount replaces what is counted in the running window. Sidecars give back what they hold and ask again. The audit log keeps the reason.',
    access: 'usage:correct',
    storefront: 'path',
    ifMatch: { refused: 'a ledger changes with every use, so there is no ETag' },
    params,
    body: z
      .strictObject({
        used: z.int().min(0).openapi({ description: 'What has been used in the running window.' }),
        reason: z.string().trim().min(3, 'must say in a few words why the count is wrong').max(500).openapi({ description: 'Why; kept in the audit log.' }),
      })
      .openapi('UsageCorrection'),
    refusals: ['unknown_reference'],
    status: 200,
    answer: usageAnswer,
    handle: async ({ of, params: { storefront, customer, entitlement }, body, newId }) => {
      const report = { id: newId('use'), entitlement, change: { set: body.used } }
      return { body: toUsageAnswer(await reportUsage(of, customerIn(of, { storefront, customer }), report)) }
    },
  }),
]
