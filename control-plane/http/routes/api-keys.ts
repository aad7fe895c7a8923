import { createApiKey, revokeApiKey, rotateApiKey } from '../../access/api-keys.ts'
import type { Caller } from '../../access/caller.ts'
import { checkRole, mayGive, permissionsOf } from '../../access/roles.ts'
import { keys } from '../../keys.ts'
import type { Services } from '../../ports.ts'
import type { ApiKey } from '../../schemas/api-key.ts'
import { id, instant, iso, isoOrNull, name, pageAnswer, pageOf, pageQuery, role, storefronts, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { ofList, ofNewDocument, route } from '../route.ts'

const MAX_OVERLAP_HOURS = 24 * 90

const apiKeyAnswer = z
  .object({
    id: z.string(),
    role: z.string(),
    storefronts: z.array(z.string()).nullable().openapi({ description: 'The storefronts that it is limited to; null: no limit.' }),
    name: z.string().nullable(),
    hint: z.string().nullable().openapi({ description: 'The first characters of the secret.' }),
    createdAt: instant,
    expiresAt: instant.nullable(),
    lastUsedAt: instant.nullable().openapi({ description: 'Accurate to the hour.' }),
    revokedAt: instant.nullable(),
  })
  .openapi('ApiKey')

const withSecret = apiKeyAnswer.extend({ secret: z.string().openapi({ description: 'Shown only once.' }) })

const toAnswer = (key: ApiKey): z.output<typeof apiKeyAnswer> => ({
  id: key.id,
  role: key.role,
  storefronts: key.storefronts ?? null,
  name: key.name ?? null,
  hint: key.hint ?? null,
  createdAt: iso(key.createdAt),
  expiresAt: isoOrNull(key.expiresAt),
  lastUsedAt: isoOrNull(key.lastUsedAt),
  revokedAt: isoOrNull(key.revokedAt),
})

/** As it is answered once, with its secret. */
const shownOnce = ({ key, secret }: { key: ApiKey; secret: string }) => ({ body: { ...toAnswer(key), secret }, revision: key.revision })

/** Whoever could take a key, or make another of its kind, could do what it can. @throws AppError `not_found` or `forbidden`. */
const mayChangeKey = async (services: Services, tenantId: string, caller: Caller, id: string): Promise<void> => {
  const { role } = await services.storage.apiKeys.get(keys.apiKey(tenantId, id))
  mayGive(caller, (await permissionsOf(services, tenantId, role)) ?? [])
}

export const apiKeyRoutes = [
  route({
    method: 'post',
    path: '/v1/api-keys',
    summary: 'Create an API key',
    description: 'The answer shows the secret, once.',
    access: 'api-keys:write',
    storefront: 'all',
    ifMatch: ofNewDocument,
    body: z.strictObject({
      role,
      storefronts: storefronts.optional(),
      name: name.optional().openapi({ description: 'What the key is for.' }),
      expiresAt: instant.optional().openapi({ description: 'When the key expires. Default: never.' }),
    }),
    refusals: ['unknown_reference'],
    status: 201,
    answer: withSecret,
    handle: async ({ services, of, caller, body, newId }) => {
      await checkRole(services, of.tenantId, caller, body.role)
      const expiresAt = body.expiresAt === undefined ? undefined : new Date(body.expiresAt)
      return shownOnce(await createApiKey(services, of.tenant, newId('key'), { ...body, expiresAt }))
    },
  }),
  route({
    method: 'get',
    path: '/v1/api-keys',
    summary: 'List API keys',
    description: 'Answers never contain secrets.',
    access: 'api-keys:read',
    storefront: 'all',
    ifMatch: ofList,
    query: z.strictObject(pageQuery),
    status: 200,
    answer: pageOf(apiKeyAnswer),
    handle: async ({ services, of, query }) => pageAnswer(await services.storage.apiKeys.page({ where: { tenantId: of.tenantId }, ...query }), toAnswer),
  }),
  route({
    method: 'get',
    path: '/v1/api-keys/{key}',
    summary: 'Read an API key',
    description: 'The answer does not contain the secret.',
    access: 'api-keys:read',
    storefront: 'all',
    ifMatch: 'answer',
    params: z.object({ key: id }),
    status: 200,
    answer: apiKeyAnswer,
    handle: async ({ services, of, params }) => {
      const key = await services.storage.apiKeys.get(keys.apiKey(of.tenantId, params.key))
      return { body: toAnswer(key), revision: key.revision }
    },
  }),
  route({
    method: 'post',
    path: '/v1/api-keys/{key}/rotate',
    summary: 'Replace the secret of an API key',
    description: 'The answer shows the new secret, once. The old key keeps working for overlapHours.',
    access: 'api-keys:write',
    storefront: 'all',
    ifMatch: { document: 'the API key' },
    params: z.object({ key: id }),
    body: z.strictObject({
      overlapHours: z.number().min(0).max(MAX_OVERLAP_HOURS).default(24).openapi({ description: 'How long the old secret stays valid. 0: not at all.' }),
    }),
    status: 201,
    answer: withSecret,
    handle: async ({ services, of, caller, params, body, ifMatch, newId }) => {
      await mayChangeKey(services, of.tenantId, caller, params.key)
      return shownOnce(await rotateApiKey(services, of.tenant, params.key, newId('key'), body.overlapHours, mustMatch(ifMatch)))
    },
  }),
  route({
    method: 'delete',
    path: '/v1/api-keys/{key}',
    summary: 'Revoke an API key',
    description: "The key is refused from the next request on. The tenant's last admin key that does not expire cannot be revoked.",
    access: 'api-keys:write',
    storefront: 'all',
    ifMatch: { document: 'the API key' },
    params: z.object({ key: id }),
    status: 204,
    handle: async ({ services, of, caller, params, ifMatch }) => {
      await mayChangeKey(services, of.tenantId, caller, params.key)
      await revokeApiKey(services, of.tenantId, params.key, mustMatch(ifMatch))
      return {}
    },
  }),
]
