import { AppError } from '../../../common/errors.ts'
import { isPreset, type Permission, permissions, permissionTexts, presetNames, presets } from '../../access/permissions.ts'
import { changeRole, createRole, removeRole } from '../../access/roles.ts'
import { keys } from '../../keys.ts'
import type { Role } from '../../schemas/role.ts'
import { id, name, pageAnswer, pageOf, pageQuery, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { ofList, ofNewDocument, route } from '../route.ts'

const permissionList = z
  .array(z.enum(permissions, 'is not a permission: GET /v1/permissions lists them'))
  .min(1)
  .refine((list) => new Set(list).size === list.length, 'must not name a permission twice')

const roleAnswer = z.object({ id: z.string(), name: z.string(), preset: z.boolean(), permissions: z.array(z.string()) }).openapi('Role')

const toAnswer = (role: Role): z.output<typeof roleAnswer> => ({ id: role.id, name: role.name, preset: false, permissions: role.permissions })
const presetAnswer = (id: keyof typeof presets): z.output<typeof roleAnswer> => ({ id, name: id, preset: true, permissions: [...presets[id]] })
const answer = (role: Role) => ({ body: toAnswer(role), revision: role.revision })
const params = z.object({ role: id })

/** @throws AppError `not_allowed_in_state`. */
const mustBeOwn = (role: string): void => {
  if (isPreset(role)) throw new AppError('not_allowed_in_state', `${role} is a built-in role and cannot be changed: create your own with POST /v1/roles`)
}

export const roleRoutes = [
  route({
    method: 'get',
    path: '/v1/permissions',
    summary: 'List the permissions that roles can have',
    access: 'roles:read',
    storefront: 'none',
    ifMatch: ofList,
    ofTenant: false,
    status: 200,
    answer: z.object({ data: z.array(z.object({ permission: z.string(), description: z.string() })) }),
    handle: async () => ({ body: { data: permissions.map((permission: Permission) => ({ permission, description: permissionTexts[permission] })) } }),
  }),
  route({
    method: 'post',
    path: '/v1/roles',
    summary: 'Create a role',
    description: 'You can grant only permissions that you have yourself.',
    access: 'roles:write',
    storefront: 'all',
    ifMatch: ofNewDocument,
    body: z.strictObject({ id, name: name.optional(), permissions: permissionList }).openapi('NewRole'),
    refusals: ['already_exists'],
    status: 201,
    answer: roleAnswer,
    handle: async ({ services, of, caller, body }) =>
      answer(await createRole(services, of.tenantId, caller, body.id, { name: body.name ?? body.id, permissions: body.permissions })),
  }),
  route({
    method: 'get',
    path: '/v1/roles',
    summary: 'List roles',
    description: 'The first page begins with the built-in roles.',
    access: 'roles:read',
    storefront: 'all',
    ifMatch: ofList,
    query: z.strictObject(pageQuery),
    status: 200,
    answer: pageOf(roleAnswer),
    handle: async ({ services, of, query }) => {
      const page = await services.storage.roles.page({ where: { tenantId: of.tenantId }, ...query })
      const { body } = pageAnswer(page, toAnswer)
      return { body: { ...body, data: [...(query.cursor === undefined ? presetNames.map(presetAnswer) : []), ...body.data] } }
    },
  }),
  route({
    method: 'get',
    path: '/v1/roles/{role}',
    summary: 'Read a role',
    access: 'roles:read',
    storefront: 'all',
    ifMatch: 'answer',
    params,
    status: 200,
    answer: roleAnswer,
    handle: async ({ services, of, params }) =>
      isPreset(params.role) ? { body: presetAnswer(params.role) } : answer(await services.storage.roles.get(keys.role(of.tenantId, params.role))),
  }),
  route({
    method: 'patch',
    path: '/v1/roles/{role}',
    summary: 'Change a role',
    description:
      'The change takes effect with the next request of everybody who has the role. You can grant or remove only permissions that you have yourself. Built-in roles cannot be changed.',
    access: 'roles:write',
    storefront: 'all',
    ifMatch: { document: 'the role' },
    params,
    body: z.strictObject({ name: name.optional(), permissions: permissionList.optional() }),
    status: 200,
    answer: roleAnswer,
    handle: async ({ services, of, caller, params, body, ifMatch }) => {
      mustBeOwn(params.role)
      return answer(await changeRole(services, of.tenantId, caller, params.role, mustMatch(ifMatch), body))
    },
  }),
  route({
    method: 'delete',
    path: '/v1/roles/{role}',
    summary: 'Remove a role',
    description: 'The call is refused while a key or a person has the role.',
    access: 'roles:write',
    storefront: 'all',
    ifMatch: { document: 'the role' },
    params,
    status: 204,
    handle: async ({ services, of, caller, params, ifMatch }) => {
      mustBeOwn(params.role)
      await removeRole(services, of.tenantId, caller, params.role, mustMatch(ifMatch))
      return {}
    },
  }),
]
