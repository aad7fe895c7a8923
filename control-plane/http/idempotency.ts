/**
 * `Idempotency-Key`: a POST that is repeated under its key is answered as the first time, and not done again.
 *
 * A record is stored before the work and holds the seed of the ids that the work makes, so that a repeat after a
 * crash goes on with the same documents. It is locked while the work lasts; an answer that tells of something still on
 * its way is given and not kept, so that the next repeat looks again. The answer is kept sealed (AES-256-GCM) under a key derived from the
 * caller's own API key and idempotency key, neither of which is stored: an answer may show a secret once.
 */

import { createHash, hkdfSync } from 'node:crypto'
import { ulid } from 'ulid'
import { defined } from '../../common/defined.ts'
import { DAY_MS } from '../../common/durations.ts'
import { AppError, fieldError, isAppError } from '../../common/errors.ts'
import { Secret } from '../../common/secret.ts'
import type { Services } from '../ports.ts'
import type { IdempotencyRecord } from '../schemas/idempotency-record.ts'
import { decrypt, encrypt } from '../storage/aes-gcm.ts'
import { insertOrGet, update } from '../storage/update.ts'

/**
 * The process that works on a request renews its lock, so a repeat that finds it expired concludes that the process has died.
 * It is short, since it is how long a client waits after a crash. Should the first be alive after all (it could not reach
 * storage), both go on over the same documents, which is harmless: ids are the same, and every step is a compare-and-set.
 */
const LOCK_MS = 5_000
/** Two renewals may come late or be lost before the lock runs out. */
const RENEW_MS = 1_500
/** How long a repeat is recognised; what clients retry for. */
const REMEMBERED_MS = DAY_MS
export const MAX_KEY_LENGTH = 255

export interface IdempotentRequest {
  /** The `Idempotency-Key` header. */
  key: string
  /** The caller: keys of one mean nothing to another. */
  callerId: string
  /** The caller's key. */
  secret: string
  tenantId: string
  /** Method, path and body: a key belongs to one request. */
  parts: readonly unknown[]
}

export interface StoredAnswer {
  status: number
  body: unknown
  revision?: number
}

/** An answer as a handler gives it. */
export type GivenAnswer = StoredAnswer & { isUnderWay?: boolean | undefined }

const sha256 = (...parts: string[]): string => createHash('sha256').update(JSON.stringify(parts)).digest('hex')

/** Another password is another request, so secrets count as what they are; only their hash is stored. */
const fingerprintOf = ({ parts }: IdempotentRequest): string =>
  sha256(
    JSON.stringify(parts, function (this: Record<string, unknown>, name, value: unknown) {
      const part = this[name]
      return part instanceof Secret ? part.reveal() : value
    }),
  )

const sealingKey = (request: IdempotentRequest): Buffer =>
  Buffer.from(hkdfSync('sha256', `${request.secret}\n${request.key}`, 'tollgate', 'idempotency answer', 32))

const seal = (request: IdempotentRequest, answer: StoredAnswer): string => encrypt(sealingKey(request), JSON.stringify(answer))

const unseal = (request: IdempotentRequest, text: string): StoredAnswer => {
  let opened: string
  try {
    opened = decrypt(sealingKey(request), text)
  } catch (error) {
    // A platform key that was changed since: the caller is the same, and its key is not.
    const why =
      'this Idempotency-Key was used with an API key that has changed since, and the stored answer cannot be read with the current one; use a new Idempotency-Key'
    throw new AppError('idempotency_key_reused', why, [], { cause: error })
  }
  return JSON.parse(opened) as StoredAnswer
}

/**
 * Does the work once a key.
 * @param work is given the seed of the ids it makes.
 * @throws AppError `idempotency_key_reused` or `idempotency_in_progress`; what `work` throws, after which the same
 *   request may be tried again.
 */
export const onceAKey = async (
  services: Services,
  request: IdempotentRequest,
  work: (seed: string) => Promise<GivenAnswer>,
): Promise<StoredAnswer & { replayed: boolean }> => {
  // An empty one is a client's mistake, who believes to be safe from doing it twice.
  if (request.key === '') throw fieldError('invalid_request', 'Idempotency-Key', 'must not be empty: send one, or leave the header out')
  if (request.key.length > MAX_KEY_LENGTH) throw fieldError('invalid_request', 'Idempotency-Key', `must not be longer than ${MAX_KEY_LENGTH} characters`)
  const { clock, storage } = services
  const nowMs = clock.nowMs()
  const requestHash = fingerprintOf(request)
  const seed = ulid(nowMs)
  const lockedUntil = new Date(nowMs + LOCK_MS)
  const record = await insertOrGet(storage.idempotencyRecords, {
    _id: sha256(request.tenantId, request.callerId, request.key),
    tenantId: request.tenantId,
    createdAt: new Date(nowMs),
    requestHash,
    seed,
    lockedUntil,
    expiresAt: new Date(nowMs + REMEMBERED_MS),
  })
  if (record.requestHash !== requestHash)
    throw new AppError('idempotency_key_reused', 'this Idempotency-Key was already used for another request; use a new one')
  if (record.sealedAnswer) return { ...unseal(request, record.sealedAnswer), replayed: true }
  const lock = holdLock(services, record.seed === seed ? record : await takeOver(services, record, lockedUntil))
  let given: GivenAnswer
  try {
    given = await work(record.seed)
  } catch (error) {
    // Nothing was answered, so the same request may be tried again at once.
    await release(services, await lock.stop())
    throw error
  }
  const locked = await lock.stop()
  const { isUnderWay, ...answer } = given
  if (isUnderWay) await release(services, locked)
  else await keep(services, locked, { status: answer.status, sealedAnswer: seal(request, answer) })
  return { ...answer, replayed: false }
}

/** Keeps a failure to write a lock from taking the answer from its caller: a lock runs out by itself. */
const unlessGone = async (write: Promise<unknown>): Promise<void> => {
  try {
    await write
  } catch (error) {
    if (!isAppError(error, 'revision_conflict', 'not_found', 'unavailable')) throw error
  }
}

/** Removes the lock, unless a repeat has taken over. */
const release = ({ storage }: Services, locked: IdempotencyRecord): Promise<void> =>
  unlessGone(storage.idempotencyRecords.replace(defined({ ...locked, lockedUntil: undefined })))

/** Keeps the answer, unless a request that took over, or was taken over, has kept one before: that stays, since it has been given too. */
const keep = ({ storage }: Services, locked: IdempotencyRecord, answer: Pick<IdempotencyRecord, 'status' | 'sealedAnswer'>): Promise<void> =>
  unlessGone(
    update(
      storage.idempotencyRecords,
      locked._id,
      (latest) => (latest.sealedAnswer ? undefined : defined({ ...latest, ...answer, lockedUntil: undefined })),
      locked,
    ),
  )

/** Renews the lock until it is stopped, or somebody else has it. */
const holdLock = ({ storage, clock, log }: Services, record: IdempotencyRecord) => {
  let held = record
  let renewal: Promise<void> | undefined
  const renew = async (): Promise<void> => {
    try {
      held = await storage.idempotencyRecords.replace({ ...held, lockedUntil: new Date(clock.nowMs() + LOCK_MS) })
    } catch (error) {
      if (isAppError(error, 'revision_conflict', 'not_found')) clearInterval(timer)
      else log.warn({ err: error }, 'the lock of a request under an Idempotency-Key could not be renewed yet')
    }
  }
  const timer = setInterval(() => {
    // One at a time, however slow storage is: two would be in each other's way.
    renewal ??= renew().finally(() => {
      renewal = undefined
    })
  }, RENEW_MS)
  return {
    /** @returns the record as it was stored by the last renewal. */
    stop: async (): Promise<IdempotencyRecord> => {
      clearInterval(timer)
      await renewal
      return held
    },
  }
}

const takeOver = async (services: Services, record: IdempotencyRecord, lockedUntil: Date): Promise<IdempotencyRecord> => {
  const inProgress = new AppError('idempotency_in_progress', 'a request with this Idempotency-Key is still running; try again shortly')
  if (record.lockedUntil && record.lockedUntil > services.clock.now()) throw inProgress
  try {
    return await services.storage.idempotencyRecords.replace({ ...record, lockedUntil })
  } catch (error) {
    if (error instanceof AppError) throw inProgress
    throw error
  }
}
