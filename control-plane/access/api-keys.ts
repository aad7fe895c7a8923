import { keys, PLATFORM } from '../keys.ts'
import type { ApiKey } from '../schemas/api-key.ts'
import type { Services } from '../services.ts'
import { insertOrGet, update } from '../storage/update.ts'
import { hashSecret, newSecret } from './secrets.ts'

/** @returns the key and its secret, which is nowhere else. */
export const createApiKey = async (services: Services, tenantId: string, id: string, role: ApiKey['role']): Promise<{ key: ApiKey; secret: string }> => {
  const secret = newSecret('tg')
  const key = await services.storage.apiKeys.insert({
    _id: keys.apiKey(tenantId, id),
    tenantId,
    id,
    role,
    secretHash: hashSecret(secret),
    createdAt: services.clock.now(),
  })
  return { key, secret }
}

/** From the next request on the key is refused. @throws AppError `not_found`; what `check` throws. */
export const revokeApiKey = (services: Services, tenantId: string, id: string, check: (key: ApiKey) => void): Promise<ApiKey> =>
  update(services.storage.apiKeys, keys.apiKey(tenantId, id), (key) => {
    check(key)
    return key.revokedAt ? undefined : { ...key, revokedAt: services.clock.now() }
  })

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
