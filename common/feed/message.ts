/**
 * The message in the feed under a customer's key: the customer's set, or a marker that the set cannot travel. Pure. A reader
 * accepts a message only under the key of the customer that it names, and only if an answer can be made from it.
 */
import * as wire from '../../proto/gen/tollgate/feed/v1/feed.ts'
import type { CustomerKey, EntitlementSet, TestClock } from '../entitlements/model.ts'
import { decodeClock, decodeSet, encodeClock, encodeSet } from '../entitlements/wire.ts'
import { AppError } from '../errors.ts'
import { MAX_SET_BYTES, type MissingSet } from './feed.ts'
import { clockKey, setKey } from './keys.ts'
import { checkUsable, checkUsableClock } from './usable.ts'

/**
 * The first bytes of the marker for a missing set; a set without grants follows, for its ids and revision. No protobuf
 * message begins like this (field 1 of wire type 7, which does not exist), so a reader that does not know the marker refuses
 * it. A plain set without grants would mean "nothing is granted" to it.
 */
const MISSING = Uint8Array.of(0x0f, 0x01)

export type Message = { set: EntitlementSet; missing?: never } | { set?: never; missing: MissingSet & { revision: number } }

const isMissing = (bytes: Uint8Array): boolean => bytes[0] === MISSING[0] && bytes[1] === MISSING[1]

/** @throws AppError `internal` for a set that readers could not use, `set_too_large` for one of more bytes. */
export const encodeMessage = (set: EntitlementSet, maxBytes = MAX_SET_BYTES): Uint8Array => {
  let bytes: Uint8Array
  try {
    checkUsable(set)
    bytes = encodeSet(set)
  } catch (error) {
    throw new AppError('internal', `the set cannot be published: ${error instanceof Error ? error.message : error}`, [], { cause: error })
  }
  if (bytes.length > maxBytes) throw new AppError('set_too_large', `the set has ${bytes.length} bytes; the feed takes at most ${maxBytes}`)
  return bytes
}

export const encodeMissing = (customer: CustomerKey, revision: number): Uint8Array => {
  const { tenantId, storefrontId, customerId } = customer
  const set = encodeSet({ tenantId, storefrontId, customerId, revision, sandbox: false, grants: [], usage: [] })
  return Buffer.concat([MISSING, set])
}

/** @throws TypeError for bytes that are none of both, or are another customer's. */
export const decodeMessage = (key: string, bytes: Uint8Array): Message => {
  const missing = isMissing(bytes)
  const set = decodeSet(missing ? bytes.subarray(MISSING.length) : bytes)
  if (setKey(set) !== key) throw new TypeError("feed: a set was stored under another customer's key")
  checkUsable(set)
  if (!missing) return { set }
  const { tenantId, storefrontId, customerId, revision } = set
  return { missing: { tenantId, storefrontId, customerId, revision } }
}

/**
 * The rank that decides which of two messages under one key stays: the higher revision wins, and a set wins over the marker
 * that it is missing. Unreadable bytes have the lowest rank, so that they are replaced. Sets of a newer version, with kinds
 * that this one does not know, keep the rank of their revision.
 */
export const rankOf = (key: string, bytes: Uint8Array): number => {
  const missing = isMissing(bytes)
  try {
    const { revision, ...customer } = wire.EntitlementSet.decode(missing ? bytes.subarray(MISSING.length) : bytes)
    return setKey(customer) === key && revision <= Number.MAX_SAFE_INTEGER ? rank(Number(revision), missing) : 0
  } catch {
    return 0
  }
}

export const rank = (revision: number, missing: boolean): number => (missing ? revision : revision + 0.5)

/** @throws AppError `internal` for a clock that readers could not use. */
export const encodeClockMessage = (clock: TestClock): Uint8Array => {
  try {
    checkUsableClock(clock)
    return encodeClock(clock)
  } catch (error) {
    throw new AppError('internal', 'the clock cannot be published', [], { cause: error })
  }
}

/** @throws TypeError for bytes that are not a clock, or another tenant's. */
export const decodeClockMessage = (key: string, bytes: Uint8Array): TestClock => {
  const clock = decodeClock(bytes)
  if (clockKey(clock.tenantId) !== key) throw new TypeError("feed: a clock was stored under another tenant's key")
  checkUsableClock(clock)
  return clock
}

export const clockRankOf = (key: string, bytes: Uint8Array): number => {
  try {
    return decodeClockMessage(key, bytes).revision
  } catch {
    return -1
  }
}
