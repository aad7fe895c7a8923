import type { ApiKey } from '../schemas/api-key.ts'

/** True if the key still opens anything. */
export const isGood = ({ revokedAt, expiresAt }: Pick<ApiKey, 'revokedAt' | 'expiresAt'>, now: Date): boolean => !revokedAt && !(expiresAt && expiresAt <= now)
