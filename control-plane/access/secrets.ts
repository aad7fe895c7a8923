/** API key secrets: 256 random bits, shown once, stored only as a hash. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

export const newSecret = (prefix: 'tgp' | 'tg'): string => `${prefix}_${randomBytes(32).toString('base64url')}`

export const hashSecret = (secret: string): string => createHash('sha256').update(secret).digest('hex')

/** Takes as long for a near miss as for a far one. */
export const sameSecret = (a: string, b: string): boolean => timingSafeEqual(Buffer.from(hashSecret(a)), Buffer.from(hashSecret(b)))
