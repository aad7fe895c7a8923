/**
 * Sessions of people in a browser: a cookie that scripts cannot read, and a token that only scripts of the same origin can, which
 * every change has to show.
 */

import { createHmac, randomBytes } from 'node:crypto'
import { HOUR_MS } from '../../common/durations.ts'
import { AppError, isAppError } from '../../common/errors.ts'
import type { Caller } from '../access/caller.ts'
import { permissionsOf } from '../access/roles.ts'
import { hashSecret, sameSecret } from '../access/secrets.ts'
import { keys } from '../keys.ts'
import type { Services } from '../ports.ts'
import type { Session, User } from '../schemas/user.ts'
import { removeForGood } from '../storage/remove.ts'

/** A working day: then they sign in again, whatever they do. */
export const SESSION_MS = 12 * HOUR_MS
/** Nobody has been there for so long. */
const IDLE_MS = HOUR_MS
const NOTED_EVERY_MS = 5 * 60_000

/** A session's token: whose it is, and 256 random bits. */
const asToken = (tenantId: string, secret: string): string => `${Buffer.from(tenantId).toString('base64url')}.${secret}`

const keyOf = (token: string): string | undefined => {
  const [, tenant, secret] = /^([A-Za-z0-9_-]{1,700})\.([A-Za-z0-9_-]{43})$/.exec(token) ?? []
  return tenant === undefined || secret === undefined ? undefined : keys.session(Buffer.from(tenant, 'base64url').toString(), hashSecret(secret))
}

/** The token that a change has to show in `X-CSRF-Token`; only whoever has the session's token can make it. */
export const csrfTokenOf = (token: string): string => createHmac('sha256', token).update('csrf').digest('base64url')

/** Stores a new session. @returns the token for the cookie, which is not stored, and the CSRF token that follows from it. */
export const beginSession = async ({ storage, clock }: Services, { tenantId, id: userId }: User): Promise<{ token: string; csrfToken: string }> => {
  const secret = randomBytes(32).toString('base64url')
  const now = clock.now()
  const expiresAt = new Date(now.getTime() + SESSION_MS)
  await storage.sessions.insert({ _id: keys.session(tenantId, hashSecret(secret)), tenantId, userId, createdAt: now, lastSeenAt: now, expiresAt })
  const token = asToken(tenantId, secret)
  return { token, csrfToken: csrfTokenOf(token) }
}

const over = () => new AppError('unauthenticated', 'the session has ended: sign in again')

/** True if the session still opens anything. */
const isGood = (session: Session, user: User | undefined, now: Date): user is User =>
  user !== undefined &&
  user.status === 'active' &&
  session.expiresAt > now &&
  now.getTime() - session.lastSeenAt.getTime() < IDLE_MS &&
  // Somebody of the same address who was removed and invited again is another one.
  session.createdAt >= user.createdAt &&
  !(user.sessionsFrom && session.createdAt < user.sessionsFrom)

const noteSeen = ({ storage, clock, log }: Services, session: Session): void => {
  if (clock.nowMs() - session.lastSeenAt.getTime() < NOTED_EVERY_MS) return
  storage.sessions.replace({ ...session, lastSeenAt: clock.now() }).catch((error: unknown) => {
    if (!isAppError(error, 'revision_conflict', 'not_found')) log.warn({ err: error }, 'the use of a session could not be noted')
  })
}

/** @throws AppError `unauthenticated`. */
export const callerOfSession = async (services: Services, token: string): Promise<Caller> => {
  const { storage, clock } = services
  const key = keyOf(token)
  const session = key === undefined ? undefined : await storage.sessions.find(key)
  if (!session) throw over()
  const user = await storage.users.find(keys.user(session.tenantId, session.userId))
  if (!isGood(session, user, clock.now())) throw over()
  noteSeen(services, session)
  const permissions = (await permissionsOf(services, user.tenantId, user.role)) ?? new Set()
  return {
    kind: 'user',
    id: user.id,
    name: user.name ?? user.email,
    tenantId: user.tenantId,
    role: user.role,
    permissions,
    storefronts: user.storefronts,
  }
}

/** @param shown the header `X-CSRF-Token`. @throws AppError `forbidden`. */
export const checkCsrf = (token: string, shown: string | undefined): void => {
  if (shown !== undefined && sameSecret(shown, csrfTokenOf(token))) return
  throw new AppError('forbidden', 'a change by a session needs the header X-CSRF-Token: GET /v1/session returns it')
}

/** Harmless to repeat. */
export const endSession = async ({ storage }: Services, token: string): Promise<void> => {
  const key = keyOf(token)
  if (key !== undefined) await removeForGood(storage.sessions, key)
}
