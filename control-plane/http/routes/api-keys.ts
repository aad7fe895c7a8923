import { createApiKey, revokeApiKey } from '../../access/api-keys.ts'
import { type ApiKey, tenantRoles } from '../../schemas/api-key.ts'
import { id, instant, iso, isoOrNull, pageOf, pageQuery, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { ofList, ofNewDocument, route } from '../route.ts'

const apiKeyAnswer = z.object({ id: z.string(), role: z.enum(tenantRoles), createdAt: instant, revokedAt: instant.nullable() }).openapi('ApiKey')

const toAnswer = (key: ApiKey) => ({ id: key.id, role: key.role, createdAt: iso(key.createdAt), revokedAt: isoOrNull(key.revokedAt) })

export const apiKeyRoutes = [
  route({
    method: 'post',
    path: '/v1/api-keys',
    summary: 'Make an API key of the tenant',
    access: 'configure',
    ifMatch: ofNewDocument,
    body: z.strictObject({ role: z.enum(tenantRoles) }),
    status: 201,
    answer: apiKeyAnswer.extend({ secret: z.string().openapi({ description: 'Shown this once.' }) }),
    handle: async ({ services, tenant, body, newId }) => {
      const { key, secret } = await createApiKey(services, tenant.tenantId, newId('key'), body.role)
      return { body: { ...toAnswer(key), secret }, revision: key.revision }
    },
  }),
  route({
    method: 'get',
    path: '/v1/api-keys',
    summary: 'List the API keys, without their secrets',
    access: 'configure',
    ifMatch: ofList,
    query: z.strictObject(pageQuery),
    status: 200,
    answer: pageOf(apiKeyAnswer),
    handle: async ({ services, tenant, query }) => {
      const page = await services.storage.apiKeys.page({ where: { tenantId: tenant.tenantId }, ...query })
      return { body: { ...page, data: page.data.map(toAnswer) } }
    },
  }),
  route({
    method: 'delete',
    path: '/v1/api-keys/{key}',
    summary: 'Revoke an API key, at once',
    access: 'configure',
    ifMatch: { document: 'the API key, as POST answered it' },
    params: z.object({ key: id }),
    status: 204,
    handle: async ({ services, tenant, params, ifMatch }) => {
      await revokeApiKey(services, tenant.tenantId, params.key, mustMatch(ifMatch))
      return {}
    },
  }),
]
