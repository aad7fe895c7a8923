/** Passwords at rest: argon2id with OWASP's least parameters, in the PHC string format, so that they can be raised later. */
import { argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import pLimit from 'p-limit'
import { AppError } from '../../common/errors.ts'
import type { Secret } from '../../common/secret.ts'

/** https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html: 19 MiB, two passes. */
const MEMORY_KIB = 19_456
const PASSES = 2
const TAG_BYTES = 32
/** Each takes 19 MiB and one of the four threads that look-ups of names need too, and anybody may ask for one. */
const AT_ONCE = 2
/** A second or two of waiting. */
const MAX_WAITING = 50

const hash = promisify(argon2)
const inTurn = pLimit(AT_ONCE)

/** @throws AppError `unavailable`. */
const derive = async (password: Secret, salt: Buffer, memory: number, passes: number): Promise<Buffer> => {
  if (inTurn.pendingCount >= MAX_WAITING) throw new AppError('unavailable', 'too many people are signing in right now; try again shortly')
  return inTurn(() => hash('argon2id', { message: password.reveal().normalize('NFKC'), nonce: salt, parallelism: 1, tagLength: TAG_BYTES, memory, passes }))
}

const text = (bytes: Buffer): string => bytes.toString('base64').replaceAll('=', '')

/** True for a password that is guessed from the address. */
export const containsAddress = (password: Secret, email: string): boolean => password.reveal().toLowerCase().includes(email.toLowerCase())

/** https://github.com/P-H-C/phc-string-format */
export const hashPassword = async (password: Secret): Promise<string> => {
  const salt = randomBytes(16)
  return `$argon2id$v=19$m=${MEMORY_KIB},t=${PASSES},p=1$${text(salt)}$${text(await derive(password, salt, MEMORY_KIB, PASSES))}`
}

/** The hash of nobody's password: checking it takes as long as checking somebody's. */
const NOBODYS = `$argon2id$v=19$m=${MEMORY_KIB},t=${PASSES},p=1$${text(Buffer.alloc(16))}$${text(Buffer.alloc(TAG_BYTES))}`

/** @param stored undefined: somebody who has none, which takes as long and is false. */
export const isPassword = async (password: Secret, stored: string | undefined): Promise<boolean> => {
  const [, memory = '', passes = '', salt = '', tag = ''] = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=1\$([^$]+)\$([^$]+)$/.exec(stored ?? NOBODYS) ?? []
  const derived = await derive(password, Buffer.from(salt, 'base64'), Number(memory), Number(passes))
  const wanted = Buffer.from(tag, 'base64')
  return stored !== undefined && wanted.length === derived.length && timingSafeEqual(derived, wanted)
}
