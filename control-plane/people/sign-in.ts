/**
 * Signing in without an identity provider: an invitation is taken with a password and an authenticator app, and from then on both
 * are asked for. Whatever is wrong, the answer is the same.
 */
import { defined } from '../../common/defined.ts'
import { AppError, fieldError, isAppError } from '../../common/errors.ts'
import type { Secret } from '../../common/secret.ts'
import { sameSecret } from '../access/secrets.ts'
import { keys } from '../keys.ts'
import type { Services } from '../ports.ts'
import type { User } from '../schemas/user.ts'
import { update } from '../storage/update.ts'
import { mustBeOpen } from './open-tenant.ts'
import { containsAddress, hashPassword, isPassword } from './passwords.ts'
import { newTotpSecret, timeStepOf, totpUri } from './totp.ts'
import { readInvitation, userIdOf } from './users.ts'

/** So many wrong ones in a row, and then none is looked at for a while, by whichever control plane. */
const MAX_FAILURES = 5
const SHUT_OUT_MS = 15 * 60_000

const refused = () =>
  new AppError(
    'unauthenticated',
    'the tenant, the address, the password or the code is wrong, or there were too many wrong attempts: after five, wait for 15 minutes',
  )

const noInvitation = () => new AppError('unauthenticated', 'this invitation is unknown, was used, or has expired: ask for another')

/** @throws AppError `unauthenticated`. */
const invited = async ({ storage, clock }: Services, token: Secret): Promise<User> => {
  const read = readInvitation(token)
  const user = read && (await storage.users.find(keys.user(read.tenantId, read.userId)))
  const { invitation } = user ?? {}
  if (!read || !user || !invitation || user.status !== 'invited') throw noInvitation()
  await mustBeOpen({ storage }, read.tenantId)
  if (invitation.expiresAt <= clock.now() || !sameSecret(read.tokenHash, invitation.tokenHash)) throw noInvitation()
  return user
}

export interface Enrolment {
  email: string
  /** The address to be shown as a QR code. */
  totpUri: string
}

/** What somebody needs to take an invitation: the secret of their authenticator app, made now. @throws AppError `unauthenticated`. */
export const lookAtInvitation = async (services: Services, token: Secret): Promise<Enrolment> => {
  const user = await invited(services, token)
  // Another with each look: whoever saw the invitation on its way has none that is good.
  const stored = await update(services.storage.users, user._id, (latest) => ({
    ...latest,
    totp: { secret: services.sealing.seal(newTotpSecret(), latest._id) },
  }))
  return { email: stored.email, totpUri: totpUri(services.sealing.open(stored.totp?.secret ?? '', stored._id), stored.email) }
}

/**
 * Accepts an invitation; if several accept it at once, one gets through.
 * @param code of the authenticator app, to show that it has the secret.
 * @throws AppError `unauthenticated`, or `invalid_request` on `password` or `code`.
 */
export const takeInvitation = async (services: Services, token: Secret, password: Secret, code: Secret): Promise<User> => {
  const user = await invited(services, token)
  if (containsAddress(password, user.email)) throw fieldError('invalid_request', 'password', 'must not contain your address')
  const step = user.totp ? timeStepOf(services.sealing.open(user.totp.secret, user._id), code, services.clock.nowMs()) : undefined
  if (!user.totp || step === undefined) throw fieldError('invalid_request', 'code', 'is not the code that the authenticator app shows now')
  const hashed = await hashPassword(password)
  try {
    return await update(services.storage.users, user._id, (latest) => {
      const { totp, invitation, ...kept } = latest
      // Wrong tries of others may have been counted meanwhile; taken, or made anew, it must not have been.
      if (!totp || totp.secret !== user.totp?.secret || invitation?.tokenHash !== user.invitation?.tokenHash || kept.status !== 'invited') throw noInvitation()
      const { failures: _, ...known } = kept
      return { ...known, status: 'active', password: hashed, totp: { ...totp, lastStep: step }, lastSignInAt: services.clock.now() }
    })
  } catch (error) {
    if (isAppError(error, 'not_found')) throw noInvitation()
    throw error
  }
}

/** @throws AppError `unauthenticated`, whatever was wrong. */
export const signIn = async (services: Services, tenantId: string, email: string, password: Secret, code: Secret): Promise<User> => {
  const { storage, clock, sealing } = services
  const user = await storage.users.find(keys.user(tenantId, userIdOf(tenantId, email)))
  const now = clock.now()
  const isShutOut = user?.failures?.until !== undefined && user.failures.until > now
  // As long for somebody who is not there, or is shut out, as for somebody who is.
  const knows = await isPassword(password, isShutOut ? undefined : user?.password)
  if (!user || isShutOut) throw refused()
  await mustBeOpen(services, tenantId)
  const step = user.totp ? timeStepOf(sealing.open(user.totp.secret, user._id), code, now.getTime()) : undefined
  // Decided on what is stored: a code is taken once, and each failure counts, however many come at the same moment.
  let isIn = false
  const stored = await update(storage.users, user._id, (latest): User => {
    const isSame = latest.password === user.password && latest.status === 'active'
    isIn = knows && isSame && step !== undefined && step > (latest.totp?.lastStep ?? -1) && !(latest.failures?.until && latest.failures.until > now)
    if (isIn && latest.totp && step !== undefined)
      return defined({ ...latest, failures: undefined, totp: { ...latest.totp, lastStep: step }, lastSignInAt: now })
    const count = (latest.failures?.until && latest.failures.until <= now ? 0 : (latest.failures?.count ?? 0)) + 1
    return { ...latest, failures: { count, ...(count >= MAX_FAILURES ? { until: new Date(now.getTime() + SHUT_OUT_MS) } : {}) } }
  })
  if (!isIn) throw refused()
  return stored
}
