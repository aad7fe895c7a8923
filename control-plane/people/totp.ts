/** Codes of an authenticator app (RFC 6238: SHA-1, six digits, 30 seconds, as every app has them). */
import { Secret as Base32, TOTP } from 'otpauth'
import { Secret } from '../../common/secret.ts'

const PERIOD_S = 30
/** A clock may be off by a step. */
const WINDOW = 1

const totpOf = (secret: Secret, label: string): TOTP =>
  new TOTP({ issuer: 'Tollgate', label, algorithm: 'SHA1', digits: 6, period: PERIOD_S, secret: Base32.fromBase32(secret.reveal()) })

/** 160 bits, base32. */
export const newTotpSecret = (): Secret => new Secret(new Base32({ size: 20 }).base32)

/** `otpauth://…`, as a QR code shows it. */
export const totpUri = (secret: Secret, label: string): string => totpOf(secret, label).toString()

/** @returns the step that the code is of; undefined: it is none of now. */
export const timeStepOf = (secret: Secret, code: Secret, nowMs: number): number | undefined => {
  const delta = totpOf(secret, '').validate({ token: code.reveal(), timestamp: nowMs, window: WINDOW })
  return delta === null ? undefined : Math.floor(nowMs / 1_000 / PERIOD_S) + delta
}
