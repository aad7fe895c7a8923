/**
 * API key secrets: 256 random bits, shown once, stored only as a hash. What they begin with says what they open, and lets
 * scanners find one that was published: `tg(p|_live|_test)_[A-Za-z0-9_-]{43}`.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

/** `tgp`: the platform's. */
export type SecretPrefix = 'tgp' | 'tg_live' | 'tg_test'

export const prefixOf = (mode: 'live' | 'sandbox'): SecretPrefix => (mode === 'sandbox' ? 'tg_test' : 'tg_live')

/** 256 bits, as base64url behind the prefix. */
export const newSecret = (prefix: SecretPrefix): string => `${prefix}_${randomBytes(32).toString('base64url')}`

/** Characters of the random part: too few to guess the rest from, enough to distinguish one key from another. */
const SHOWN = 4

/** The start of a secret that may be shown: its prefix and a few characters. */
export const hintOf = (secret: string): string => secret.slice(0, (/^tg(p|_live|_test)_/.exec(secret)?.[0].length ?? 0) + SHOWN)

/** SHA-256 in hex, which is stored instead of the secret. */
export const hashSecret = (secret: string): string => createHash('sha256').update(secret).digest('hex')

/** Takes as long for a near miss as for a far one. */
export const sameSecret = (a: string, b: string): boolean => timingSafeEqual(Buffer.from(hashSecret(a)), Buffer.from(hashSecret(b)))
