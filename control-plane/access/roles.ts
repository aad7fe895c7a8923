/** Roles: the presets, and those that a tenant makes of permissions. Nobody gives what they do not have themselves. */
import { AppError, fieldError } from '../../common/errors.ts'
import { keys } from '../keys.ts'
import type { Services } from '../ports.ts'
import type { Role } from '../schemas/role.ts'
import { every } from '../storage/every.ts'
import { update } from '../storage/update.ts'
import type { Caller } from './caller.ts'
import { isGood } from './good-key.ts'
import { isPreset, type Permission, presetNames, presets } from './permissions.ts'

/** @returns undefined where the tenant has no such role (any more). */
export const permissionsOf = async ({ storage }: Pick<Services, 'storage'>, tenantId: string, role: string): Promise<ReadonlySet<Permission> | undefined> => {
  if (isPreset(role)) return new Set(presets[role])
  const own = await storage.roles.find(keys.role(tenantId, role))
  return own && new Set(own.permissions as Permission[])
}

/** @throws AppError `forbidden` naming what the caller lacks. */
export const mayGive = (caller: Caller, given: Iterable<Permission>): void => {
  const lacking = [...given].filter((one) => !caller.permissions.has(one))
  if (lacking.length > 0)
    throw new AppError('forbidden', `you can only grant or remove permissions that you have yourself; you do not have: ${lacking.join(', ')}`)
}

/** Checks that the role exists, and permits no more than the caller's own. @throws AppError `invalid_request` on the field, or `forbidden`. */
export const checkRole = async (services: Services, tenantId: string, caller: Caller, role: string, field = 'role'): Promise<void> => {
  const given = await permissionsOf(services, tenantId, role)
  if (!given) throw fieldError('invalid_request', field, `must be ${presetNames.join(', ')} or the id of a role of this tenant (GET /v1/roles)`)
  mayGive(caller, given)
}

export interface RoleInput {
  name: string
  permissions: Permission[]
}

/** @throws AppError `already_exists`, `forbidden`, or `invalid_request` on `id` for the name of a preset. */
export const createRole = async (services: Services, tenantId: string, caller: Caller, id: string, input: RoleInput): Promise<Role> => {
  if (isPreset(id) || id === 'platform') throw fieldError('invalid_request', 'id', 'is the name of a built-in role; choose another')
  mayGive(caller, input.permissions)
  return services.storage.roles.insert({ _id: keys.role(tenantId, id), tenantId, id, ...input, createdAt: services.clock.now() })
}

/**
 * Counts from the next request on, for everybody who has the role.
 * @throws AppError `not_found` or `forbidden`; what `check` throws.
 */
export const changeRole = (
  services: Services,
  tenantId: string,
  caller: Caller,
  id: string,
  check: (role: Role) => void,
  change: Partial<RoleInput>,
): Promise<Role> =>
  update(services.storage.roles, keys.role(tenantId, id), (role) => {
    check(role)
    // Who has it is given what is added, and loses what is left out.
    mayGive(caller, [...role.permissions, ...(change.permissions ?? [])] as Permission[])
    return { ...role, ...(change.name === undefined ? {} : { name: change.name }), ...(change.permissions ? { permissions: change.permissions } : {}) }
  })

/** Somebody who has the role now; whatever is revoked or over does not count. */
const holderOf = async ({ storage, clock }: Services, tenantId: string, role: string): Promise<string | undefined> => {
  for await (const key of every(storage.apiKeys, { tenantId })) if (key.role === role && isGood(key, clock.now())) return `API key ${key.id}`
  for await (const user of every(storage.users, { tenantId })) if (user.role === role) return `user ${user.id}`
  const provider = await storage.identityProviders.find(keys.identityProvider(tenantId))
  return provider?.groups.some((group) => group.role === role) ? 'a group of the identity provider' : undefined
}

/**
 * Removes a role. Somebody who is given it at the same moment may do nothing with it: a removed role permits nothing.
 * @throws AppError `not_found`, `forbidden`, or `not_allowed_in_state` while somebody has it; what `check` throws.
 */
export const removeRole = async (services: Services, tenantId: string, caller: Caller, id: string, check: (role: Role) => void): Promise<void> => {
  const role = await services.storage.roles.get(keys.role(tenantId, id))
  check(role)
  mayGive(caller, role.permissions as Permission[])
  const holder = await holderOf(services, tenantId, id)
  if (holder) throw new AppError('not_allowed_in_state', `${holder} has this role; first revoke the key, or give the user another role`)
  await services.storage.roles.remove(role)
}
