/**
 * The bounds on what one caller may ask for, and on how often one address may be wrong about a key. Counted in this process:
 * with several control planes each allows as much. What is refused is 429 with `Retry-After`, and was not done.
 */

import ipaddr from 'ipaddr.js'
import { LRUCache } from 'lru-cache'
import pLimit, { type LimitFunction } from 'p-limit'
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible'
import { HOUR_MS } from '../../common/durations.ts'
import { AppError, isAppError } from '../../common/errors.ts'
import type { Log } from '../../common/log.ts'
import type { Caller } from '../access/caller.ts'
import { hashSecret } from '../access/secrets.ts'
import { PLATFORM } from '../keys.ts'

export interface ThrottleOptions {
  /** Requests of one key, except the platform's. */
  requestsPerSecond: number
  atOnce: number
  /** Bytes of one key's bodies; a body that is larger than what is left does not wait, but the next is refused until it is made up for. */
  bytesPerSecond: number
  /** Requests of one address that need no key. */
  openRequestsPerSecond: number
  /** Wrong keys of one address; beyond them, within a minute, none is even looked up. */
  wrongKeysPerMinute: number
  log: Log
}

const TRIES_PER_SECOND = 10
/** Lookups at once per address of credentials that are not known to be right; and how many wait for that. */
const AT_ONCE = 20
const MAX_WAITING = 1_000

/** Somebody with an IPv6 address has all of its /64. */
const asOne = (ip: string): string => {
  if (!ipaddr.isValid(ip)) return ip
  const address = ipaddr.process(ip)
  return address instanceof ipaddr.IPv6 ? address.parts.slice(0, 4).join(':') : address.toString()
}

export class RateLimitedError extends AppError {
  readonly retryAfterS: number
  constructor(message: string, retryAfterS: number) {
    super('rate_limited', message)
    this.retryAfterS = retryAfterS
  }
}

export interface Throttle {
  /**
   * @param secret as it was shown. @param look authenticates it.
   * @throws RateLimitedError; what `look` throws.
   */
  authenticated(address: string, secret: string | undefined, look: () => Promise<Caller>): Promise<Caller>
  /** Like `authenticated`, for credentials that are not keys: a password, an invitation. @param look throws AppError `unauthenticated` for a wrong one. */
  guessed<T>(address: string, look: () => Promise<T>): Promise<T>
  /**
   * A request of the caller begins. @returns what is to be called when it has ended, and the headers that say how much is left.
   * @throws RateLimitedError.
   */
  begin(caller: Caller): Promise<{ end(): void; headers: Record<string, string> }>
  /** Something has been read of a caller's body. @throws RateLimitedError for who has sent more than may be in this second. */
  took(caller: Caller, bytes: number): Promise<void>
  /** A request that needs no key begins. @throws RateLimitedError. */
  open(address: string): Promise<void>
  /** Wrong keys since the start. */
  failures(): number
}

const secondsOf = ({ msBeforeNext }: RateLimiterRes): number => Math.max(1, Math.ceil(msBeforeNext / 1_000))

export const createThrottle = ({ requestsPerSecond, atOnce, bytesPerSecond, openRequestsPerSecond, wrongKeysPerMinute, log }: ThrottleOptions): Throttle => {
  const wrong = new RateLimiterMemory({ points: wrongKeysPerMinute, duration: 60 })
  /** Further keys that are looked up per second for an address that has been wrong too often: others may be behind it, too. */
  const tries = new RateLimiterMemory({ points: TRIES_PER_SECOND, duration: 1 })
  const requests = new RateLimiterMemory({ points: requestsPerSecond, duration: 1 })
  const bytes = new RateLimiterMemory({ points: bytesPerSecond, duration: 1 })
  const open = new RateLimiterMemory({ points: openRequestsPerSecond, duration: 1 })
  /** Hashes of keys that were right lately: whoever shares an address with one who guesses goes on. */
  const right = new LRUCache<string, true>({ max: 10_000, ttl: HOUR_MS })
  const running = new Map<string, number>()
  let failures = 0

  const noteWrong = async (address: string): Promise<void> => {
    failures += 1
    const { consumedPoints } = await wrong.consume(address).catch((counted: unknown) => {
      if (counted instanceof RateLimiterRes) return counted
      throw counted
    })
    // The first, and the one from which on none is looked up: a line each, whatever is sent.
    if (consumedPoints === 1) log.warn({ address }, 'a request had a wrong key or password')
    if (consumedPoints === wrongKeysPerMinute) log.warn({ address }, 'too many wrong keys from one address: for a minute, only a few keys are checked')
  }

  /** @returns what is to be thrown at one more that is wrong. @throws RateLimitedError for who tries too often even so. */
  const mayTry = async (address: string): Promise<RateLimitedError | undefined> => {
    const counted = await wrong.get(address)
    if (!counted || counted.remainingPoints > 0) return undefined
    const tooMany = new RateLimitedError('too many wrong keys or passwords came from this address; try again later', secondsOf(counted))
    await tries.consume(address).catch(() => {
      throw tooMany
    })
    return tooMany
  }

  /** @throws what `look` throws; RateLimitedError for one more that is wrong than may be. */
  const counted = async <T>(address: string, look: () => Promise<T>): Promise<T> => {
    const tooMany = await mayTry(address)
    try {
      return await look()
    } catch (error) {
      if (!isAppError(error, 'unauthenticated')) throw error
      await noteWrong(address)
      throw tooMany ?? error
    }
  }

  /** Credentials that are not known to be right are looked up a few at a time per address: each lookup sees the wrong ones that were counted before it. */
  const looking = new Map<string, { limit: LimitFunction; users: number }>()
  const inTurn = async <T>(address: string, work: () => Promise<T>): Promise<T> => {
    const turns = looking.get(address) ?? { limit: pLimit(Math.min(wrongKeysPerMinute, AT_ONCE)), users: 0 }
    if (turns.users >= MAX_WAITING) throw new RateLimitedError('too many keys or passwords from this address are being checked; try again later', 1)
    looking.set(address, turns)
    turns.users += 1
    try {
      return await turns.limit(work)
    } finally {
      turns.users -= 1
      if (turns.users === 0) looking.delete(address)
    }
  }

  return {
    guessed: (ip, look) => {
      const address = asOne(ip)
      return inTurn(address, () => counted(address, look))
    },
    authenticated: async (ip, secret, look) => {
      // Who shows none does not guess.
      if (secret === undefined) return look()
      const address = asOne(ip)
      const hash = hashSecret(secret)
      const known = async () => {
        const caller = await look()
        right.set(hash, true)
        return caller
      }
      if (!right.has(hash)) return inTurn(address, () => counted(address, known))
      try {
        return await known()
      } catch (error) {
        if (!isAppError(error, 'unauthenticated')) throw error
        right.delete(hash)
        await noteWrong(address)
        throw error
      }
    },
    begin: async ({ kind, id, tenantId = PLATFORM }) => {
      // The operator's own key is bounded by nobody.
      if (tenantId === PLATFORM) return { end: () => {}, headers: {} }
      const key = `${tenantId}/${kind}/${id}`
      const now = running.get(key) ?? 0
      if (now >= atOnce) throw new RateLimitedError(`this key has ${now} requests running, which is the limit (KEY_CONCURRENCY); wait for one to end`, 1)
      running.set(key, now + 1)
      const end = () => {
        const left = (running.get(key) ?? 1) - 1
        if (left === 0) running.delete(key)
        else running.set(key, left)
      }
      try {
        const counted = await requests.consume(key)
        // https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
        const headers = { 'ratelimit-policy': `"key";q=${requestsPerSecond};w=1`, ratelimit: `"key";r=${counted.remainingPoints};t=${secondsOf(counted)}` }
        return { end, headers }
      } catch (counted) {
        end()
        if (!(counted instanceof RateLimiterRes)) throw counted
        throw new RateLimitedError(`this key may send ${requestsPerSecond} requests per second (KEY_REQUESTS_PER_SECOND)`, secondsOf(counted))
      }
    },
    took: async ({ kind, id, tenantId = PLATFORM }, count) => {
      if (tenantId === PLATFORM || count === 0) return
      await bytes.consume(`${tenantId}/${kind}/${id}`, count).catch((counted: unknown) => {
        if (!(counted instanceof RateLimiterRes)) throw counted
        throw new RateLimitedError(`this key may send ${bytesPerSecond} bytes per second (KEY_BYTES_PER_SECOND)`, secondsOf(counted))
      })
    },
    open: async (ip) => {
      await open.consume(asOne(ip)).catch((counted: unknown) => {
        if (!(counted instanceof RateLimiterRes)) throw counted
        throw new RateLimitedError(
          `one address may send ${openRequestsPerSecond} requests per second without a key (OPEN_REQUESTS_PER_SECOND)`,
          secondsOf(counted),
        )
      })
    },
    failures: () => failures,
  }
}
