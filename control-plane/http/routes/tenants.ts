import { AppError } from '../../../common/errors.ts'
import { endTenant } from '../../catalog/end-tenant.ts'
import { changeTenant, createTenant, storefrontsOf } from '../../catalog/tenants.ts'
import { keys } from '../../keys.ts'
import type { Services } from '../../ports.ts'
import type { Storefront } from '../../schemas/storefront.ts'
import type { Tenant } from '../../schemas/tenant.ts'
import { tenantModes } from '../../schemas/tenant.ts'
import { type TenantScope, tenantScope } from '../../tenant-scope.ts'
import { id, instant, iso, isoOrNull, name, pageAnswer, pageOf, pageQuery, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { ofList, ofNewDocument, route } from '../route.ts'
import { isWithin } from '../storefront-scope.ts'
import { storefrontAnswer, storefrontBody, storefrontInput, toStorefrontAnswer } from './storefronts.ts'

const body = z
  .strictObject({
    id: id.optional(),
    name,
    mode: z.enum(tenantModes).default('live'),
    storefronts: z
      .array(storefrontBody)
      .max(100)
      .default([])
      .refine((list) => new Set(list.map((one) => one.id)).size === list.length, 'must not have two storefronts with the same id'),
  })
  .openapi('NewTenant')

const tenantAnswer = z
  .object({
    id: z.string(),
    name: z.string(),
    mode: z.enum(tenantModes),
    testClock: instant.nullable().openapi({ description: "A sandbox tenant's own time." }),
    storefronts: z.array(storefrontAnswer),
    endingSince: instant.nullable().openapi({ description: 'When somebody ended the tenant. Its data is then removed in the background.' }),
  })
  .openapi('Tenant')

const listedAnswer = tenantAnswer.omit({ storefronts: true }).openapi('ListedTenant')

const toListed = (tenant: Tenant): z.output<typeof listedAnswer> => ({
  id: tenant.tenantId,
  name: tenant.name,
  mode: tenant.mode,
  testClock: isoOrNull(tenant.testNow),
  endingSince: isoOrNull(tenant.ending),
})

const toAnswer = (tenant: Tenant, storefronts: Storefront[]): z.output<typeof tenantAnswer> => ({
  ...toListed(tenant),
  storefronts: storefronts.map(toStorefrontAnswer),
})

/** These routes may name a tenant that is ending, and platform keys any. @throws AppError `not_found`. */
const scopeOf = async (services: Services, tenantId: string): Promise<TenantScope> =>
  tenantScope(services, await services.storage.tenants.get(keys.tenant(tenantId)))

export const tenantRoutes = [
  route({
    method: 'post',
    path: '/v1/tenants',
    summary: 'Create a tenant with its storefronts',
    description:
      "The answer shows the tenant's first admin key, once. The mode is live unless you send sandbox. The id of a tenant that has ended cannot be used again.",
    access: 'platform',
    storefront: 'none',
    ifMatch: ofNewDocument,
    ofTenant: false,
    body,
    refusals: ['already_exists'],
    status: 201,
    answer: tenantAnswer.extend({ apiKey: z.string().openapi({ description: 'Shown only once.' }) }),
    handle: async ({ services, body, newId }) => {
      const input = { id: body.id ?? newId('tn'), name: body.name, mode: body.mode, storefronts: body.storefronts.map(storefrontInput) }
      const { tenant, apiKey } = await createTenant(services, input, newId('key'))
      const storefronts = await storefrontsOf(tenantScope(services, tenant))
      return { body: { ...toAnswer(tenant, storefronts), apiKey }, revision: tenant.revision }
    },
  }),
  route({
    method: 'get',
    path: '/v1/tenants',
    summary: 'List tenants',
    description: 'A page may be short or empty although more pages follow. Follow nextCursor until it is absent.',
    access: 'platform',
    storefront: 'none',
    ifMatch: ofList,
    ofTenant: false,
    query: z.strictObject(pageQuery),
    status: 200,
    answer: pageOf(listedAnswer),
    handle: async ({ services, query }) => {
      const page = await services.storage.tenants.page({ where: {}, ...query })
      return pageAnswer({ ...page, data: page.data.filter(({ ended }) => !ended) }, toListed)
    },
  }),
  route({
    method: 'get',
    path: '/v1/tenants/{tenant}',
    summary: 'Read a tenant with its storefronts',
    access: 'tenant:read',
    storefront: 'within',
    ifMatch: 'answer',
    ofTenant: false,
    params: z.object({ tenant: id }),
    status: 200,
    answer: tenantAnswer,
    handle: async ({ services, within, params }) => {
      const named = await scopeOf(services, params.tenant)
      const { tenant } = named
      if (tenant.ended) throw new AppError('not_found', 'no such tenant')
      const storefronts = await storefrontsOf(named)
      return {
        body: toAnswer(
          tenant,
          storefronts.filter(({ id }) => isWithin(within, id)),
        ),
        revision: tenant.revision,
      }
    },
  }),
  route({
    method: 'patch',
    path: '/v1/tenants/{tenant}',
    summary: 'Rename a tenant',
    description: 'Its id and its mode cannot be changed.',
    access: 'tenant:write',
    storefront: 'all',
    ifMatch: { document: 'the tenant' },
    ofTenant: false,
    params: z.object({ tenant: id }),
    body: z.strictObject({ name: name.optional() }),
    refusals: ['not_allowed_in_state'],
    status: 200,
    answer: tenantAnswer,
    handle: async ({ services, params, body, ifMatch }) => {
      const named = await scopeOf(services, params.tenant)
      const tenant = await changeTenant(named, mustMatch(ifMatch), body)
      return { body: toAnswer(tenant, await storefrontsOf(named)), revision: tenant.revision }
    },
  }),
  route({
    method: 'delete',
    path: '/v1/tenants/{tenant}',
    summary: 'End a tenant',
    description:
      'From this call on, every other call about the tenant is refused. A worker then removes everything except the audit log. The call is refused while a subscription has not ended, unless you send cancel=now. A repeat is harmless.',
    access: 'tenant:end',
    storefront: 'all',
    ifMatch: { document: 'the tenant' },
    ofTenant: false,
    params: z.object({ tenant: id }),
    query: z.strictObject({
      cancel: z
        .literal('now')
        .optional()
        .openapi({ description: 'Ends subscriptions at once. Without it, a subscription that has not ended is a reason to refuse.' }),
    }),
    refusals: ['not_allowed_in_state'],
    status: 200,
    answer: z
      .object({ id: z.string(), endingSince: instant })
      .openapi('EndingTenant', { description: 'Everything is removed when no payment is in progress any more, at the latest after 30 days.' }),
    handle: async ({ services, params, query, ifMatch }) => {
      const { tenantId, ending, revision } = await endTenant(await scopeOf(services, params.tenant), mustMatch(ifMatch), query.cancel === 'now')
      return { body: { id: tenantId, endingSince: iso(ending) }, revision }
    },
  }),
]
