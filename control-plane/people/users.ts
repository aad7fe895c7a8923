/** The people who may sign in, and their roles. */

import { randomBytes } from 'node:crypto'
import { defined } from '../../common/defined.ts'
import { DAY_MS } from '../../common/durations.ts'
import { AppError } from '../../common/errors.ts'
import type { Secret } from '../../common/secret.ts'
import type { Caller } from '../access/caller.ts'
import type { Permission } from '../access/permissions.ts'
import { checkRole, mayGive, permissionsOf } from '../access/roles.ts'
import { hashSecret } from '../access/secrets.ts'
import { knownStorefronts } from '../catalog/storefronts.ts'
import { derivedId, keys } from '../keys.ts'
import type { Services } from '../ports.ts'
import type { User } from '../schemas/user.ts'
import { update } from '../storage/update.ts'

/** An invitation is read within a few days, or made anew. */
const INVITATION_MS = 7 * DAY_MS

export interface UserInput {
  email: string
  name?: string | undefined
  role: string
  storefronts?: string[] | undefined
}

export interface Invited {
  user: User
  /** Shown once. */
  token: string
}

/** Addresses are compared as people type them. */
export const userIdOf = (tenantId: string, email: string): string => derivedId('usr', tenantId, email.trim().toLowerCase().normalize('NFC'))

/** Says whose it is, so that whoever takes it need not. */
const newInvitation = ({ clock }: Services, tenantId: string, userId: string) => {
  const secret = randomBytes(32).toString('base64url')
  const token = Buffer.from(JSON.stringify([tenantId, userId, secret])).toString('base64url')
  return { token, invitation: { tokenHash: hashSecret(secret), expiresAt: new Date(clock.nowMs() + INVITATION_MS) } }
}

/** Undefined for what is no invitation. */
export const readInvitation = (token: Secret): { tenantId: string; userId: string; tokenHash: string } | undefined => {
  try {
    const [tenantId, userId, secret] = JSON.parse(Buffer.from(token.reveal(), 'base64url').toString()) as unknown[]
    if (typeof tenantId !== 'string' || typeof userId !== 'string' || typeof secret !== 'string') return undefined
    return { tenantId, userId, tokenHash: hashSecret(secret) }
  } catch {
    return undefined
  }
}

/** @throws AppError `already_exists`, `forbidden`, `invalid_request` on `role`, or `unknown_reference`. */
export const inviteUser = async (services: Services, tenantId: string, caller: Caller, input: UserInput): Promise<Invited> => {
  await checkRole(services, tenantId, caller, input.role)
  const id = userIdOf(tenantId, input.email)
  const { token, invitation } = newInvitation(services, tenantId, id)
  const known = await services.storage.users.find(keys.user(tenantId, id))
  if (known) throw new AppError('already_exists', `${input.email} is already ${known.status} (${id}): POST /v1/users/${id}/invitation invites again`)
  const user = await services.storage.users.insert({
    _id: keys.user(tenantId, id),
    tenantId,
    id,
    email: input.email,
    ...(input.name === undefined ? {} : { name: input.name }),
    role: input.role,
    ...(input.storefronts ? { storefronts: await knownStorefronts(services, tenantId, input.storefronts) } : {}),
    status: 'invited',
    invitation,
    createdAt: services.clock.now(),
  })
  return { user, token }
}

/** Nobody does to others what they could not do themselves. @throws AppError `forbidden`. */
const mayChange = async (services: Services, caller: Caller, { tenantId, role }: User): Promise<void> =>
  mayGive(caller, (await permissionsOf(services, tenantId, role)) ?? new Set<Permission>())

/**
 * Invites somebody again who has lost their password or their phone: they set both again, and their sessions end.
 * @throws AppError `not_found`, `forbidden`, or `not_allowed_in_state` for who signs in at the identity provider; what `check` throws.
 */
export const inviteAgain = async (services: Services, tenantId: string, caller: Caller, id: string, check: (user: User) => void): Promise<Invited> => {
  const { token, invitation } = newInvitation(services, tenantId, id)
  const user = await update(services.storage.users, keys.user(tenantId, id), async (latest): Promise<User> => {
    await mayChange(services, caller, latest)
    check(latest)
    if (latest.identity) throw new AppError('not_allowed_in_state', 'this person signs in at the identity provider: set the password there')
    const { password: _, totp: __, failures: ___, ...kept } = latest
    return { ...kept, status: 'invited', invitation, sessionsFrom: services.clock.now() }
  })
  return { user, token }
}

export interface UserChange {
  name?: string | null | undefined
  role?: string | undefined
  storefronts?: string[] | null | undefined
  disabled?: boolean | undefined
}

/**
 * Counts from the next request on.
 * @throws AppError `not_found`, `forbidden`, `invalid_request` on `role`, or `unknown_reference`; what `check` throws.
 */
export const changeUser = async (
  services: Services,
  tenantId: string,
  caller: Caller,
  id: string,
  check: (user: User) => void,
  { name, role, storefronts, disabled }: UserChange,
): Promise<User> => {
  if (role !== undefined) await checkRole(services, tenantId, caller, role)
  const limited = storefronts ? await knownStorefronts(services, tenantId, storefronts) : storefronts
  return update(services.storage.users, keys.user(tenantId, id), async (latest): Promise<User> => {
    await mayChange(services, caller, latest)
    check(latest)
    const enabled = latest.password || latest.identity ? ('active' as const) : ('invited' as const)
    return defined({
      ...latest,
      ...(name === undefined ? {} : { name: name ?? undefined }),
      ...(role === undefined ? {} : { role }),
      ...(limited === undefined ? {} : { storefronts: limited ?? undefined }),
      ...(disabled === undefined ? {} : { status: disabled ? ('disabled' as const) : enabled }),
      ...(disabled ? { sessionsFrom: services.clock.now() } : {}),
    })
  })
}

/** Removes a person, whose sessions end. @throws AppError `not_found` or `forbidden`; what `check` throws. */
export const removeUser = async (services: Services, tenantId: string, caller: Caller, id: string, check: (user: User) => void): Promise<void> => {
  const user = await services.storage.users.get(keys.user(tenantId, id))
  await mayChange(services, caller, user)
  check(user)
  await services.storage.users.remove(user)
}
