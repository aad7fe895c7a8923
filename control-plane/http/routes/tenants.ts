import { AppError } from '../../../common/errors.ts'
import { createTenant, storefrontsOf } from '../../catalog/tenants.ts'
import { keys } from '../../keys.ts'
import type { Storefront } from '../../schemas/storefront.ts'
import type { Tenant } from '../../schemas/tenant.ts'
import { tenantModes } from '../../schemas/tenant.ts'
import { id, instant, isoOrNull, name, z } from '../fields.ts'
import { ofNewDocument, route } from '../route.ts'
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
      .refine((list) => new Set(list.map((one) => one.id)).size === list.length, 'must not have two storefronts of the same id'),
  })
  .openapi('NewTenant')

const tenantAnswer = z
  .object({
    id: z.string(),
    name: z.string(),
    mode: z.enum(tenantModes),
    testClock: instant.nullable().openapi({ description: "A sandbox tenant's own time." }),
    storefronts: z.array(storefrontAnswer),
  })
  .openapi('Tenant')

const toAnswer = (tenant: Tenant, storefronts: Storefront[]) => ({
  id: tenant.tenantId,
  name: tenant.name,
  mode: tenant.mode,
  testClock: isoOrNull(tenant.testNow),
  storefronts: storefronts.map(toStorefrontAnswer),
})

export const tenantRoutes = [
  route({
    method: 'post',
    path: '/v1/tenants',
    summary: 'Make a tenant, with its storefronts and its first admin key',
    access: 'platform',
    storefront: 'none',
    ifMatch: ofNewDocument,
    ofTenant: false,
    body,
    status: 201,
    answer: tenantAnswer.extend({ apiKey: z.string().openapi({ description: 'Shown this once.' }) }),
    handle: async ({ services, body, newId }) => {
      const input = { id: body.id ?? newId('tn'), name: body.name, mode: body.mode, storefronts: body.storefronts.map(storefrontInput) }
      const { tenant, apiKey } = await createTenant(services, input, newId('key'))
      return { body: { ...toAnswer(tenant, await storefrontsOf(services, tenant.tenantId)), apiKey }, revision: tenant.revision }
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
    handle: async ({ services, caller, within, params }) => {
      // Whether another tenant exists is nobody's business.
      if (caller.tenantId !== undefined && caller.tenantId !== params.tenant) throw new AppError('not_found', 'no such tenant')
      const tenant = await services.storage.tenants.get(keys.tenant(params.tenant))
      const storefronts = await storefrontsOf(services, tenant.tenantId)
      return {
        body: toAnswer(
          tenant,
          storefronts.filter(({ id }) => isWithin(within, id)),
        ),
        revision: tenant.revision,
      }
    },
  }),
]
