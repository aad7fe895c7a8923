/**
 * CheckEntitlement's messages read and written in place, for the one call that has to cost nothing. The generated code
 * in `proto/gen` says the same of every message; a test compares the two.
 */
import type { Decision } from '../../common/entitlements/decide.ts'
import { wireKinds, wireReasons } from '../../common/entitlements/wire-names.ts'
import type { Freshness } from '../check.ts'

const [VARINT, LENGTH_DELIMITED] = [0, 2]
/** Longest of an id, in bytes, that is read here; and of a value that is written. */
const MAX_TEXT = 128
/** The largest size of an answer: four texts and a dozen numbers. */
export const MAX_ANSWER_BYTES = 4 * (MAX_TEXT * 3 + 3) + 12 * 12

/** The bounds of `Date`: https://tc39.es/ecma262/#sec-time-values-and-time-range. */
const MAX_INSTANT_MS = 8.64e15

const SEEN_TEXTS = 512

/** Short texts that are seen again and again: the same string is given for the same bytes, instead of one made each time. */
class SeenTexts {
  readonly #texts: string[] = Array.from({ length: SEEN_TEXTS }, () => '')

  /** Undefined when it is not ASCII. */
  at(bytes: Buffer, start: number, end: number): string | undefined {
    let hash = 0
    for (let at = start; at < end; at += 1) {
      const byte = bytes[at] as number
      if (byte > 127) return undefined
      hash = Math.imul(hash ^ byte, 0x01000193)
    }
    const place = (hash ^ (hash >>> 15)) & (SEEN_TEXTS - 1)
    const seen = this.#texts[place] as string
    if (isText(seen, bytes, start, end)) return seen
    const text = bytes.toString('latin1', start, end)
    this.#texts[place] = text
    return text
  }
}

const isText = (text: string, bytes: Buffer, start: number, end: number): boolean => {
  if (text.length !== end - start) return false
  for (let n = 0; n < text.length; n += 1) if (text.charCodeAt(n) !== bytes[start + n]) return false
  return true
}

/** The offsets of a request's parts in its bytes. One object, used again for every request. */
export class CheckRequest {
  /** Start and end of tenant, storefront, customer and entitlement. */
  readonly texts = new Int32Array(8)
  amount = 0
  minRevision = 0
  readonly #entitlements = new SeenTexts()

  /** @returns false when it is not as simple as nearly all are: the generated code reads it then, and says what is wrong. */
  read(bytes: Uint8Array, start: number, end: number): boolean {
    this.texts.fill(0)
    this.amount = 1
    this.minRevision = 0
    let at = start
    while (at < end) {
      const tag = bytes[at] as number
      at += 1
      const field = tag >>> 3
      if ((tag & 7) === LENGTH_DELIMITED && field >= 1 && field <= 4) {
        if (at >= end) return false
        const length = bytes[at] as number
        at += 1
        if (length > MAX_TEXT - 1 || at + length > end) return false
        this.texts[2 * field - 2] = at
        at += length
        this.texts[2 * field - 1] = at
      } else if ((tag & 7) === VARINT && (field === 5 || field === 6)) {
        let value = 0
        let shift = 1
        let byte = 128
        // Seven bytes hold 49 bits: more is refused, or read by the generated code.
        for (let count = 0; byte >= 128; count += 1) {
          if (at >= end || count === 7) return false
          byte = bytes[at] as number
          at += 1
          value += (byte & 127) * shift
          shift *= 128
        }
        if (field === 5) this.amount = value || 1
        else this.minRevision = value
      } else return false
    }
    const { texts } = this
    // In the order of their fields, as every encoder writes them: the customer's three lie together.
    if ((texts[0] as number) > (texts[2] as number) || (texts[2] as number) > (texts[4] as number)) return false
    return texts[1] !== texts[0] && texts[3] !== texts[2] && texts[5] !== texts[4] && texts[7] !== texts[6]
  }

  /** Tenant (0), storefront, customer or entitlement (3). */
  text(bytes: Buffer, nth: number): string {
    return bytes.toString('utf8', this.texts[2 * nth], this.texts[2 * nth + 1])
  }

  /** The entitlement; undefined when it is not ASCII. */
  entitlement(bytes: Buffer): string | undefined {
    return this.#entitlements.at(bytes, this.texts[6] as number, this.texts[7] as number)
  }
}

/** Writes a non-negative whole number as protobuf has it. @returns where it ends. */
export const varint = (into: Uint8Array, start: number, value: number): number => {
  let at = start
  let rest = value
  while (rest > 0x7fffffff) {
    into[at++] = (rest % 128) | 128
    rest = Math.floor(rest / 128)
  }
  while (rest > 127) {
    into[at++] = (rest & 127) | 128
    rest >>>= 7
  }
  into[at++] = rest
  return at
}

/** Fields that have their default are left out. */
const number = (into: Uint8Array, at: number, field: number, value: number): number => {
  if (value === 0) return at
  into[at] = field << 3
  return varint(into, at + 1, value)
}

const text = (into: Buffer, at: number, field: number, value: string): number => {
  if (value === '') return at
  into[at] = (field << 3) | LENGTH_DELIMITED
  for (let n = 0; n < value.length; n += 1) {
    const code = value.charCodeAt(n)
    if (code > 127 || value.length > 127) return longText(into, at + 1, value)
    into[at + 2 + n] = code
  }
  into[at + 1] = value.length
  return at + 2 + value.length
}

const longText = (into: Buffer, start: number, value: string): number => {
  const at = varint(into, start, Buffer.byteLength(value))
  return at + into.write(value, at, 'utf8')
}

/** A google.protobuf.Timestamp. */
const instant = (into: Uint8Array, at: number, field: number, ms: number): number => {
  const seconds = Math.floor(ms / 1000)
  const nanos = (ms - seconds * 1000) * 1_000_000
  into[at] = (field << 3) | LENGTH_DELIMITED
  let end = number(into, at + 2, 1, seconds)
  end = number(into, end, 2, nanos)
  into[at + 1] = end - at - 2
  return end
}

const isShort = (value: string | undefined): boolean => value === undefined || value.length <= MAX_TEXT
/** True for a number that is written exactly. */
const isCount = (value: number | undefined): boolean => value === undefined || (Number.isSafeInteger(value) && value >= 0)
/** True for an instant of `Date`, after 1970, in whole milliseconds. */
const isInstant = (ms: number | undefined): boolean => ms === undefined || (Number.isSafeInteger(ms) && ms >= 0 && ms <= MAX_INSTANT_MS)

/** True if `writeAnswer` may be asked: for an answer within `MAX_ANSWER_BYTES`, of numbers that it writes as they are, and no instant before 1970. */
export const isPlain = ({ value, bundleId, subscriptionId, validUntilMs, resetsAtMs, limit, used, remaining }: Decision): boolean =>
  isShort(value) &&
  isShort(bundleId) &&
  isShort(subscriptionId) &&
  isInstant(validUntilMs) &&
  isInstant(resetsAtMs) &&
  isCount(limit) &&
  isCount(used) &&
  isCount(remaining)

/** A CheckEntitlementResponse. @returns where it ends. */
export const writeAnswer = (into: Buffer, start: number, decision: Decision, { revision, asOfMs, stale }: Freshness): number => {
  let at = number(into, start, 1, decision.allowed ? 1 : 0)
  at = number(into, at, 2, wireReasons[decision.reason])
  at = number(into, at, 3, decision.kind ? wireKinds[decision.kind] : 0)
  at = number(into, at, 4, decision.limit ?? 0)
  at = number(into, at, 5, decision.used ?? 0)
  at = number(into, at, 6, decision.remaining ?? 0)
  at = number(into, at, 7, decision.unlimited ? 1 : 0)
  if (decision.resetsAtMs !== undefined) at = instant(into, at, 8, decision.resetsAtMs)
  at = text(into, at, 9, decision.value ?? '')
  if (decision.validUntilMs !== undefined) at = instant(into, at, 10, decision.validUntilMs)
  at = text(into, at, 11, decision.bundleId ?? '')
  at = text(into, at, 12, decision.subscriptionId ?? '')
  at = number(into, at, 13, revision)
  at = instant(into, at, 14, asOfMs)
  return number(into, at, 15, stale ? 1 : 0)
}
