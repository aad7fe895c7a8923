/**
 * Signatures of what travels in the feed: whoever may write to its server must not be able to give access. Control planes sign
 * (Ed25519) what they put under a customer's or a tenant's key, together with that key and the bucket, so that nothing signed for
 * one place is believed in another; sidecars verify once, when it arrives.
 *
 * The signature follows the message as a protobuf field that no message has: readers that know nothing of it skip it.
 */
import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { promisify } from 'node:util'
import { ConfigError } from '../config.ts'
import type { Secret } from '../secret.ts'

/** Field 2047, length-delimited, of so many bytes: the key's id and the signature. */
const [KEY_ID_BYTES, SIGNATURE_BYTES] = [8, 64]
const HEAD = Uint8Array.of(0xfa, 0x7f, KEY_ID_BYTES + SIGNATURE_BYTES)
const MISMATCH = 'its signature does not match'
const SUFFIX_BYTES = HEAD.length + KEY_ID_BYTES + SIGNATURE_BYTES

export interface Signing {
  /** @returns the bytes with a signature after them; as they are without a key to sign with. */
  sign(key: string, bytes: Uint8Array): Uint8Array
  /** @throws TypeError unless one of the known keys has signed it for this place; nothing without any known key. */
  check(key: string, bytes: Uint8Array): void
  /** Like `check`, but on another thread: for callers that wait for the feed anyway. */
  checkLater(key: string, bytes: Uint8Array): Promise<void>
  /** Like `check`, but returns a boolean. */
  isOurs(key: string, bytes: Uint8Array): boolean
  /** The message without its signature, if it has one. @throws TypeError as `check`. */
  open(key: string, bytes: Uint8Array): Uint8Array
  /** Says whether this process signs. If it does, it ignores values without a signature by a known key. */
  readonly signs: boolean
  /** Says whether a value is signed as this process would sign it: with its first key. */
  isCurrent(bytes: Uint8Array): boolean
}

const isSigned = (bytes: Uint8Array): boolean => bytes.length >= SUFFIX_BYTES && HEAD.every((byte, n) => bytes[bytes.length - SUFFIX_BYTES + n] === byte)
const stripped = (bytes: Uint8Array): Uint8Array => (isSigned(bytes) ? bytes.subarray(0, -SUFFIX_BYTES) : bytes)

export const unsigned: Signing = {
  sign: (_, bytes) => bytes,
  check: () => {},
  checkLater: async () => {},
  isOurs: () => true,
  open: (_, bytes) => stripped(bytes),
  signs: false,
  isCurrent: () => true,
}

const verifyLater = promisify<null, Uint8Array, KeyObject, Uint8Array, boolean>(verify)

const idOf = (key: KeyObject): string =>
  createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest()
    .subarray(0, KEY_ID_BYTES)
    .toString('hex')

const read = (variable: string, text: string, make: (der: Buffer) => KeyObject): KeyObject => {
  let key: KeyObject | undefined
  try {
    key = make(Buffer.from(text, 'base64'))
  } catch {
    // Said below, without the value.
  }
  if (key?.asymmetricKeyType !== 'ed25519')
    throw new ConfigError(`${variable}: must be Ed25519 keys in base64, separated by commas; npm run keys:init creates them`)
  return key
}

/**
 * @param bucket the feed's name.
 * @param keys `signing`: private keys (PKCS 8, DER, base64, separated by commas) of which the first signs and all are believed;
 *   `verify`: public ones (SPKI) that are believed besides.
 * @throws ConfigError.
 */
export const createSigning = (bucket: string, keys: { signing?: Secret | undefined; verify?: string | undefined }): Signing => {
  const split = (text: string | undefined) => (text ?? '').split(',').filter(Boolean)
  const own = split(keys.signing?.reveal()).map((text) => read('FEED_SIGNING_KEY', text, (key) => createPrivateKey({ key, format: 'der', type: 'pkcs8' })))
  const believed = [
    ...own.map((key) => createPublicKey(key)),
    ...split(keys.verify).map((text) => read('FEED_VERIFY_KEYS', text, (key) => createPublicKey({ key, format: 'der', type: 'spki' }))),
  ]
  if (believed.length === 0) return unsigned
  const byId = new Map(believed.map((key) => [idOf(key), key]))
  const [first] = own
  const firstId = first && Buffer.from(idOf(createPublicKey(first)), 'hex')
  const signed = (key: string, bytes: Uint8Array): Buffer => Buffer.concat([Buffer.from(`${bucket}\0${key}\0`), bytes])

  /** The parts of what claims to be signed, or why it is not believed. */
  const take = (key: string, bytes: Uint8Array): { by: KeyObject; message: Buffer; signature: Uint8Array } | string => {
    const at = bytes.length - SUFFIX_BYTES
    if (!isSigned(bytes)) return 'it is not signed'
    const id = Buffer.from(bytes.subarray(at + HEAD.length, at + HEAD.length + KEY_ID_BYTES)).toString('hex')
    const by = byId.get(id)
    if (!by) return `it is signed with key ${id}, which is not one of FEED_VERIFY_KEYS`
    return { by, message: signed(key, bytes.subarray(0, at)), signature: bytes.subarray(at + HEAD.length + KEY_ID_BYTES) }
  }
  const why = (key: string, bytes: Uint8Array): string | undefined => {
    const taken = take(key, bytes)
    if (typeof taken === 'string') return taken
    return verify(null, taken.message, taken.by, taken.signature) ? undefined : MISMATCH
  }
  const refuse = (reason: string | undefined): void => {
    if (reason) throw new TypeError(`feed: an entry was rejected: ${reason}`)
  }
  return {
    sign: (key, bytes) => (first && firstId ? Buffer.concat([bytes, HEAD, firstId, sign(null, signed(key, bytes), first)]) : bytes),
    check: (key, bytes) => refuse(why(key, bytes)),
    checkLater: async (key, bytes) => {
      const taken = take(key, bytes)
      if (typeof taken === 'string') return refuse(taken)
      return refuse((await verifyLater(null, taken.message, taken.by, taken.signature)) ? undefined : MISMATCH)
    },
    isOurs: (key, bytes) => why(key, bytes) === undefined,
    open: (key, bytes) => {
      refuse(why(key, bytes))
      return stripped(bytes)
    },
    signs: first !== undefined,
    isCurrent: (bytes) => {
      const at = bytes.length - SUFFIX_BYTES + HEAD.length
      return !firstId || (isSigned(bytes) && firstId.equals(bytes.subarray(at, at + KEY_ID_BYTES)))
    },
  }
}
