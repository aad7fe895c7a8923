/**
 * Secrets at rest: with a key they are stored encrypted (AES-256-GCM), bound to the document that they belong to.
 * Without one they are stored as they are, which is for trying things out.
 */
import { createHash } from 'node:crypto'
import { Secret } from '../../common/secret.ts'
import { decrypt, encrypt } from './aes-gcm.ts'

const VERSION = 'sealed.v1'

export interface Sealing {
  /** @param owner the document's `_id`: the secret opens nowhere else. */
  seal(secret: Secret, owner: string): string
  /** @throws Error when it was sealed with a key that is not there, or for another document, or was changed. */
  open(stored: string, owner: string): Secret
  /** The name that `sealedWith` gives to whatever is sealed now: `plain` without a key. */
  readonly keyId: string
}

/** The id of the key that something was sealed with; `plain`: it is stored as it is. */
export const sealedWith = (stored: string): string => {
  const [version, id] = stored.split(':')
  return version === VERSION && id !== undefined ? id : 'plain'
}

interface Key {
  id: string
  bytes: Buffer
}

const asKey = (text: string): Key => {
  const bytes = Buffer.from(text, 'base64')
  return { id: createHash('sha256').update(bytes).digest('hex').slice(0, 8), bytes }
}

/** @param keys 32 bytes each, in base64, separated by commas: the first seals, all of them open. */
export const createSealing = (keys: Secret | undefined): Sealing => {
  const all = (keys?.reveal() ?? '').split(',').filter(Boolean).map(asKey)
  const [first] = all
  return {
    keyId: first?.id ?? 'plain',
    seal: (secret, owner) => {
      if (!first) return secret.reveal()
      return [VERSION, first.id, encrypt(first.bytes, secret.reveal(), owner)].join(':')
    },
    open: (stored, owner) => {
      const [version, id, data] = stored.split(':')
      if (version !== VERSION || data === undefined) return new Secret(stored)
      const key = all.find((one) => one.id === id)
      if (!key) throw new Error('it was encrypted with a key that CREDENTIALS_KEY does not contain')
      return new Secret(decrypt(key.bytes, data, owner))
    },
  }
}
