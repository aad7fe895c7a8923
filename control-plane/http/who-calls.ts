/** Finds out who calls, by a key or by the session of a browser, and if they may call this route. */
import type { RouterContext } from '@koa/router'
import type { Secret } from '../../common/secret.ts'
import { authenticate, secretIn } from '../access/authenticate.ts'
import { type Caller, mustBePermitted, mustBePlatform } from '../access/caller.ts'
import { callerOfSession, checkCsrf } from '../people/sessions.ts'
import type { Services } from '../ports.ts'
import { cookieOf } from './cookies.ts'
import type { AccessRule } from './route.ts'
import type { Throttle } from './throttle.ts'

export interface WhoCallsOptions {
  services: Services
  /** The configured ones; none: one was generated. */
  platformKeys: readonly Secret[]
  throttle: Throttle
  /** The address at which callers reach us. */
  publicUrl(): string
}

/** @throws AppError `forbidden`. */
export const checkAccess = (caller: Caller, rule: Exclude<AccessRule, 'public'>): void => {
  if (rule === 'platform') mustBePlatform(caller)
  else if (rule !== 'everybody') mustBePermitted(caller, rule)
}

/** A read needs no proof that a page of ours asks. */
const isSafe = (method: string): boolean => method === 'GET' || method === 'HEAD'

/** Finds the caller, by a key or by the session of a browser. @throws AppError `unauthenticated` or `rate_limited`. */
export const authenticated = async (context: RouterContext, options: WhoCallsOptions): Promise<Caller> => {
  const { services, platformKeys, throttle } = options
  const { authorization } = context.headers
  const session = authorization === undefined ? cookieOf(context, options, 'session') : undefined
  if (session === undefined) return throttle.authenticated(context.ip, secretIn(authorization), () => authenticate(services, platformKeys, authorization))
  return throttle.authenticated(context.ip, session, () => callerOfSession(services, session))
}

/** @throws AppError `forbidden` for a change by a session without its token. */
export const checkCsrfOf = (context: RouterContext, options: WhoCallsOptions, { kind }: Caller): void => {
  if (kind !== 'user' || isSafe(context.method)) return
  checkCsrf(cookieOf(context, options, 'session') ?? '', context.get('x-csrf-token') || undefined)
}
