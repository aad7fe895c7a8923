/** The caller, whichever credential they proved it with. */
import { AppError } from '../../common/errors.ts'
import type { Permission } from './permissions.ts'

export interface Caller {
  kind: 'platform' | 'api_key' | 'user'
  /** The id of the key or the user; may be logged. */
  id: string
  /** The name that people know it by. */
  name?: string | undefined
  /** Absent for the platform. */
  tenantId?: string
  /** The role's name. */
  role: string
  permissions: ReadonlySet<Permission>
  /** The storefronts that the caller is limited to. Absent: it is not limited. */
  storefronts?: readonly string[] | undefined
}

/** Nobody's: for routes that need no key. */
export const anonymous: Caller = { kind: 'api_key', id: 'anonymous', role: 'none', permissions: new Set() }

/** @throws AppError `forbidden`. */
export const mustBePermitted = ({ role, permissions }: Caller, needed: Permission): void => {
  if (!permissions.has(needed)) throw new AppError('forbidden', `this needs the permission ${needed}, which the role ${role} does not have`)
}

/** @throws AppError `forbidden`. */
export const mustBePlatform = ({ kind }: Caller): void => {
  if (kind !== 'platform') throw new AppError('forbidden', 'this needs a platform key')
}
