import { z } from '../fields.ts'
import { route } from '../route.ts'

export const callerRoutes = [
  route({
    method: 'get',
    path: '/v1/caller',
    summary: 'Read who is calling',
    description: 'The answer says what the key or person may do, and in which storefronts.',
    access: 'everybody',
    storefront: 'none',
    ifMatch: { refused: 'the answer is about the caller, and has no ETag' },
    ofTenant: false,
    status: 200,
    answer: z
      .object({
        kind: z.enum(['platform', 'api_key', 'user']),
        id: z.string(),
        name: z.string().nullable(),
        tenantId: z.string().nullable().openapi({ description: 'null for a platform key, which names the tenant in x-tn.' }),
        role: z.string(),
        permissions: z.array(z.string()),
        storefronts: z.array(z.string()).nullable().openapi({ description: 'The storefronts that it is limited to; null: no limit.' }),
      })
      .openapi('Caller'),
    handle: async ({ caller: { kind, id, name, tenantId, role, permissions, storefronts } }) => ({
      body: {
        kind,
        id,
        name: name ?? null,
        tenantId: tenantId ?? null,
        role,
        permissions: [...permissions].sort(),
        storefronts: storefronts ? [...storefronts] : null,
      },
    }),
  }),
]
