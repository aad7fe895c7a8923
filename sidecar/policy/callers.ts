/**
 * The callers that may ask, and about which tenants: optional bearer keys. Without any, everybody who reaches the sidecar may
 * ask about everyone.
 */
import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { AppError } from '../../common/errors.ts'
import type { Secret } from '../../common/secret.ts'

/** Tenants' ids, or `*`: all. */
export type CallerKeys = Readonly<Record<string, readonly string[]>>

export interface Callers {
  readonly areKnown: boolean
  /** @param authorization the header. @throws AppError `unauthenticated` or `forbidden`. */
  check(authorization: string | undefined, tenantId: string): void
  /** Checks that it is one of those who may ask about anybody at all. @throws AppError `unauthenticated`. */
  checkKnown(authorization: string | undefined): void
  /** Like `check`, but returns a boolean. */
  may(authorization: string | undefined, tenantId: string): boolean
}

const digest = (text: string): string => createHash('sha256').update(text).digest('base64')

export const createCallers = (keys: Secret<CallerKeys> | undefined): Callers => {
  // Looked up by digest: how long that takes says nothing of a key.
  const byDigest = new Map(Object.entries(keys?.reveal() ?? {}).map(([key, tenants]) => [digest(`Bearer ${key}`), new Set(tenants)]))
  const areKnown = byDigest.size > 0
  /** Headers that were good: a process is asked by the same few callers for ever. */
  const lately = new LRUCache<string, ReadonlySet<string>>({ max: 1_000 })

  const tenantsOf = (authorization: string | undefined): ReadonlySet<string> | undefined => {
    if (authorization === undefined) return undefined
    const known = lately.get(authorization)
    if (known) return known
    const tenants = byDigest.get(digest(authorization.replace(/^bearer /i, 'Bearer ')))
    if (tenants) lately.set(authorization, tenants)
    return tenants
  }
  const may = (authorization: string | undefined, tenantId: string): boolean => {
    if (!areKnown) return true
    const tenants = tenantsOf(authorization)
    return tenants !== undefined && (tenants.has(tenantId) || tenants.has('*'))
  }

  const checkKnown = (authorization: string | undefined): void => {
    if (!areKnown) return
    if (authorization === undefined) throw new AppError('unauthenticated', 'this sidecar requires a key: send it as authorization: Bearer <key>')
    if (!tenantsOf(authorization)) throw new AppError('unauthenticated', "the key in authorization is not one of this sidecar's keys")
  }

  return {
    areKnown,
    may,
    checkKnown,
    check: (authorization, tenantId) => {
      if (may(authorization, tenantId)) return
      checkKnown(authorization)
      throw new AppError('forbidden', 'the key in authorization is not for this tenant')
    },
  }
}
