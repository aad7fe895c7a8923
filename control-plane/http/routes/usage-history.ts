import { dateIn } from '../../../common/calendar.ts'
import { storefrontNamed } from '../../catalog/storefronts.ts'
import { getCustomer } from '../../customers/customers.ts'
import { granularities, readHistory } from '../../metering/read-history.ts'
import { dateOrInstant, id, instant, iso, z } from '../fields.ts'
import { ofList, route } from '../route.ts'

export const usageHistoryRoutes = [
  route({
    method: 'get',
    path: '/v1/usage',
    summary: 'Read what a customer used when',
    description:
      "The answer has a bucket for every hour, day or month that the range touches, at most 10,000. Days and months are those of the storefront's time zone, and an hour counts in the day in which it begins.",
    access: 'entitlements:read',
    storefront: 'query',
    ifMatch: ofList,
    query: z.object({
      storefrontId: id,
      customerId: id,
      entitlement: z.string().min(1).max(128),
      from: dateOrInstant.openapi({ description: "The beginning of the range; a date is its first instant in the storefront's time zone." }),
      to: dateOrInstant.optional().openapi({ description: 'The end of the range, which is not in it. Default: now.' }),
      granularity: z.enum(granularities).default('day'),
    }),
    refusals: ['unknown_reference'],
    status: 200,
    answer: z.object({
      data: z.array(z.object({ start: instant, end: instant, used: z.int() })),
      total: z.int(),
    }),
    handle: async ({ of, query: { storefrontId, customerId, entitlement, from, to, granularity } }) => {
      const { timeZone } = await storefrontNamed(of, storefrontId)
      await getCustomer(of, of.keys.customer(storefrontId, customerId))
      const range = { from: dateIn(from, timeZone), to: to === undefined ? of.now() : dateIn(to, timeZone) }
      const buckets = await readHistory(of, { tenantId: of.tenantId, storefrontId, customerId, entitlement, granularity, timeZone, ...range })
      return {
        body: {
          data: buckets.map(({ start, end, used }) => ({ start: iso(start), end: iso(end), used })),
          total: buckets.reduce((sum, { used }) => sum + used, 0),
        },
      }
    },
  }),
]
