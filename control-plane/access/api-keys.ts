import { defined } from '../../common/defined.ts'
import { HOUR_MS } from '../../common/durations.ts'
import { AppError, fieldError, isAppError } from '../../common/errors.ts'
import { knownStorefronts } from '../catalog/storefronts.ts'
import { keys, PLATFORM } from '../keys.ts'
import type { Services } from '../ports.ts'
import type { ApiKey } from '../schemas/api-key.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { every } from '../storage/every.ts'
import { insertOrGet, update } from '../storage/update.ts'
import { isGood } from './good-key.ts'
import { hashSecret, hintOf, newSecret, prefixOf } from './secrets.ts'

export interface ApiKeyInput {
  /** `checkRole` verifies that the tenant has the role, and that the key's maker may give it. */
  role: string
  name?: string | undefined
  /** The storefronts that the key is limited to. */
  storefronts?: string[] | undefined
  expiresAt?: Date | undefined
}

/** @returns the key and its secret, which is nowhere else. @throws AppError `invalid_request` when it would have expired. */
export const createApiKey = async (
  services: Services,
  { tenantId, mode }: Pick<Tenant, 'tenantId' | 'mode'>,
  id: string,
  { role, name, storefronts, expiresAt }: ApiKeyInput,
): Promise<{ key: ApiKey; secret: string }> => {
  if (expiresAt && expiresAt <= services.clock.now()) throw fieldError('invalid_request', 'expiresAt', 'must be in the future')
  const secret = newSecret(prefixOf(mode))
  const key = await services.storage.apiKeys.insert({
    _id: keys.apiKey(tenantId, id),
    tenantId,
    id,
    role,
    secretHash: hashSecret(secret),
    hint: hintOf(secret),
    ...(name === undefined ? {} : { name }),
    ...(storefronts ? { storefronts: await knownStorefronts(services, tenantId, storefronts) } : {}),
    ...(expiresAt ? { expiresAt } : {}),
    createdAt: services.clock.now(),
  })
  return { key, secret }
}

/** It may do everything in every storefront. */
const isWholeAdmin = ({ role, storefronts }: ApiKey): boolean => role === 'admin' && !storefronts

const hasAdmin = async ({ storage, clock }: Services, tenantId: string): Promise<boolean> => {
  for await (const key of every(storage.apiKeys, { tenantId })) if (isWholeAdmin(key) && !key.expiresAt && isGood(key, clock.now())) return true
  return false
}

/**
 * Gives an admin key back that has just been revoked, if it was the last. Looked at afterwards: of two that take each other's
 * away at the same moment both find that none is left, and both are refused.
 * @throws AppError `not_allowed_in_state`.
 */
const unlessLast = async (services: Services, before: ApiKey, changed: ApiKey): Promise<ApiKey> => {
  if (!isWholeAdmin(before) || !isGood(before, services.clock.now()) || (await hasAdmin(services, before.tenantId))) return changed
  await update(services.storage.apiKeys, before._id, (latest) => defined({ ...latest, revokedAt: undefined }))
  const why = "it is the tenant's last admin key that does not expire: make another first, or nobody could make one"
  throw new AppError('not_allowed_in_state', why)
}

/** Revokes a key, which is refused from the next request on. @throws AppError `not_found` or `not_allowed_in_state`; what `check` throws. */
export const revokeApiKey = async (services: Services, tenantId: string, id: string, check: (key: ApiKey) => void): Promise<ApiKey> => {
  const { apiKeys } = services.storage
  let before: ApiKey | undefined
  const changed = await update(apiKeys, keys.apiKey(tenantId, id), (key) => {
    check(key)
    before = key
    return key.revokedAt ? undefined : { ...key, revokedAt: services.clock.now() }
  })
  return before ? unlessLast(services, before, changed) : changed
}

/**
 * Another secret for the same purpose. The old one goes on for a while, so that whoever uses it can change over.
 * @param id of the new key. @throws AppError `not_found` or `not_allowed_in_state`; what `check` throws.
 */
export const rotateApiKey = async (
  services: Services,
  tenant: Tenant,
  oldId: string,
  id: string,
  overlapHours: number,
  check: (key: ApiKey) => void,
): Promise<{ key: ApiKey; secret: string }> => {
  const { apiKeys } = services.storage
  const old = await apiKeys.get(keys.apiKey(tenant.tenantId, oldId))
  check(old)
  if (!isGood(old, services.clock.now())) throw new AppError('not_allowed_in_state', 'the key is expired or revoked: create a new one')
  const made = await createApiKey(services, tenant, id, {
    role: old.role,
    name: old.name,
    storefronts: old.storefronts,
    expiresAt: old.expiresAt,
  })
  const until = new Date(services.clock.nowMs() + overlapHours * HOUR_MS)
  await update(apiKeys, old._id, (latest) =>
    latest.revokedAt || (latest.expiresAt && latest.expiresAt <= until) ? undefined : { ...latest, expiresAt: until },
  )
  return made
}

/** So often it is noted that a key is used. */
const NOTED_EVERY_MS = HOUR_MS

const beingNoted = new Set<string>()

/** Nobody waits for it, and it does not matter if it fails. */
export const noteUse = ({ storage, clock, log }: Services, key: ApiKey): void => {
  const now = clock.now()
  if (key.lastUsedAt && now.getTime() - key.lastUsedAt.getTime() < NOTED_EVERY_MS) return
  if (beingNoted.has(key._id)) return
  beingNoted.add(key._id)
  storage.apiKeys
    .replace({ ...key, lastUsedAt: now })
    .catch((error: unknown) => {
      if (!isAppError(error, 'revision_conflict', 'not_found')) log.warn({ err: error, keyId: key.id }, 'the use of an API key could not be noted')
    })
    .finally(() => beingNoted.delete(key._id))
}

/**
 * The platform's key of an installation that configures none: made once, by whichever process starts first.
 * @returns its secret if it was made now, to be shown once; undefined if there is one already.
 */
export const generatePlatformKey = async (services: Services): Promise<string | undefined> => {
  const secret = newSecret('tgp')
  const secretHash = hashSecret(secret)
  const stored = await insertOrGet(services.storage.apiKeys, {
    _id: keys.apiKey(PLATFORM, 'platform'),
    tenantId: PLATFORM,
    id: 'platform',
    role: 'platform',
    secretHash,
    createdAt: services.clock.now(),
  })
  return stored.secretHash === secretHash ? secret : undefined
}
