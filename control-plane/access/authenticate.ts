/**
 * Finds out who is calling: an API key fixes the tenant, the role and the storefronts. The platform's key stands above tenants
 * and names the one it means. A key that is wrong, unknown or revoked is told apart by nobody.
 */
import { AppError, fieldError } from '../../common/errors.ts'
import type { Secret } from '../../common/secret.ts'
import { mustNotBeEnding } from '../catalog/tenants.ts'
import { keys, PLATFORM } from '../keys.ts'
import type { Services } from '../ports.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { noteUse } from './api-keys.ts'
import type { Caller } from './caller.ts'
import { isGood } from './good-key.ts'
import { permissions } from './permissions.ts'
import { permissionsOf } from './roles.ts'
import { hashSecret, sameSecret } from './secrets.ts'

const refused = () => new AppError('unauthenticated', 'this call needs an API key: send it as "Authorization: Bearer <key>"')

const unknown = () => new AppError('unauthenticated', 'this API key is unknown or was revoked')

/** The key that a caller shows, however the word before it is spelt; undefined when it shows none. */
export const secretIn = (authorization: string | undefined): string | undefined => /^Bearer ([^\s]+)$/i.exec(authorization ?? '')?.[1]

const platform = (id: string): Caller => ({ kind: 'platform', id, role: 'platform', permissions: new Set(permissions) })

/** @param platformKeys the configured ones, if any. @throws AppError `unauthenticated`. */
export const authenticate = async (services: Services, platformKeys: readonly Secret[], authorization: string | undefined): Promise<Caller> => {
  const secret = secretIn(authorization)
  if (!secret) throw refused()
  if (platformKeys.some((one) => sameSecret(secret, one.reveal()))) return platform('platform')
  const key = await services.storage.apiKeys.findUnique('secretHash', hashSecret(secret))
  if (!key || !isGood(key, services.clock.now())) throw unknown()
  if (key.tenantId === PLATFORM) {
    // A generated key gives way to a configured one.
    if (platformKeys.length > 0) throw unknown()
    return platform(key.id)
  }
  noteUse(services, key)
  const { tenantId, id, role, name, storefronts } = key
  // Of a role that was taken away nothing is left.
  const permitted = (await permissionsOf(services, tenantId, role)) ?? new Set()
  return { kind: 'api_key', id, name, tenantId, role, permissions: permitted, storefronts }
}

/**
 * The tenant that a call is about. @param named the `x-tn` header.
 * @throws AppError `invalid_request`, `forbidden` or `not_found`.
 */
export const tenantOfCall = async (services: Services, caller: Caller, named: string | undefined): Promise<Tenant> => {
  // The same answer whether or not the other tenant exists.
  if (caller.tenantId !== undefined && named !== undefined && named !== caller.tenantId) {
    throw new AppError('forbidden', 'this key belongs to another tenant than the one in x-tn')
  }
  const tenantId = caller.tenantId ?? named
  if (tenantId === undefined) throw fieldError('invalid_request', 'x-tn', 'is required: with a platform key, this header names the tenant')
  const tenant = await services.storage.tenants.find(keys.tenant(tenantId))
  if (!tenant || tenant.ended) throw new AppError('not_found', 'no such tenant')
  mustNotBeEnding(tenant)
  return tenant
}
