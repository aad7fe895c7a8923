/**
 * API key secrets: 256 random bits, shown once, stored only as a hash. What they begin with says what they open, and lets
 * scanners find one that was published: `tg(p|_live|_test)_[A-Za-z0-9_-]{43}`.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

/** `tgp`: the platform's. */
export type SecretPrefix = 'tgp' | 'tg_live' | 'tg_test'

export const prefixOf = (mode: 'live' | 'sandbox'): SecretPrefix => (mode === 'sandbox' ? 'tg_test' : 'tg_live')

export const newSecret = (prefix: SecretPrefix): string => `${prefix}_${randomBytes(32).toString('base64url')}`

/** Of the random part: too little to guess the rest from, enough to tell one key from another. */
const SHOWN = 4

export const hintOf = (secret: string): string => secret.slice(0, (/^tg(p|_live|_test)_/.exec(secret)?.[0].length ?? 0) + SHOWN)

export const hashSecret = (secret: string): string => createHash('sha256').update(secret).digest('hex')

/** Takes as long for a near miss as for a far one. */
export const sameSecret = (a: string, b: string): boolean => timingSafeEqual(Buffer.from(hashSecret(a)), Buffer.from(hashSecret(b)))
