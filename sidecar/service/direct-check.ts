/**
 * CheckEntitlement, BatchCheckEntitlements and ConsumeEntitlement from bytes to bytes, for customers whose sets are held, and uses
 * whose units are lent: nothing is waited for, and hardly anything is made. Whatever is not as plain as that is left to the handlers of
 * `entitlement-service.ts`, which answer the same.
 */
import type { Clock } from '../../common/clock.ts'
import { type Decision, decide, type Reason } from '../../common/entitlements/decide.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import type { Freshness } from '../check.ts'
import type { HeldUnits, MeteredSet, Readings } from '../metering/meters.ts'
import { hardRemaining, isOverLimit, withReading } from '../metering/reading.ts'
import type { Notice, Observer } from '../observe/observer.ts'
import type { Callers } from '../policy/callers.ts'
import { KeyBytes } from '../replica/cache/set-reader.ts'
import { isPlainSet, keepWindows, readAtMsOf, readPart, revisionOf, usageSeqOf } from '../replica/cache/set-record.ts'
import type { FeedState } from '../replica/feed-state.ts'
import type { Sets } from '../replica/replica.ts'
import type { DirectCall, DirectMethod } from '../transport/transport.ts'
import { CheckRequest, isPlain, MAX_ANSWER_BYTES, varint, writeAnswer } from './check-wire.ts'
import { MAX_BATCH } from './requests.ts'

/** Leave it to the handler. */
const NOT_HERE = -1
const nothing = { grants: [], usage: [] }
/** Field 1 of both batch messages, and of the answer to a use, length-delimited. */
const ONE_OF_MANY = 0x0a
/** An answer's length, written before it in as many bytes whatever it is. */
const LENGTH_BYTES = 2
/** The shortest check that names everything. */
const LEAST_CHECK_BYTES = 12

/** Fields 2 and 3 of a ConsumeEntitlementResponse. */
const [COUNTED, OVER_LIMIT] = [0x10, 0x18]

/** Makes what ends at `end`, and begins where there is room for a tag and a length after `out`, field 1 of a message. @returns where it ends then. */
const wrap = (into: Buffer, out: number, end: number): number => {
  const from = out + 1 + LENGTH_BYTES
  const took = end - from
  into[out] = ONE_OF_MANY
  if (took > 127) {
    varint(into, out + 1, took)
    return end
  }
  // One byte says how long it is: it moves up by the other.
  into[out + 1] = took
  into.copyWithin(from - 1, from, end)
  return end - 1
}

export interface DirectCheckOptions {
  /** The held sets, as bytes, and how current they are. */
  replica: Pick<Sets, 'cache' | 'countHits'> & Pick<FeedState, 'currentAsOfMs' | 'isDoubtful'>
  clock: Clock
  maxStalenessMs: number
  callers: Callers
  observer: Observer
  /** What was counted here, beside what is published. */
  meters: Readings
  /** Absent where another thread counts. */
  units?: HeldUnits
}

export interface DirectMethods {
  check: DirectMethod
  batch: DirectMethod
  /** Undefined where another thread counts. */
  consume: DirectMethod | undefined
}

export const createDirectChecks = ({ replica, clock, maxStalenessMs, callers, observer, meters, units }: DirectCheckOptions): DirectMethods => {
  const request = new CheckRequest()
  const key = new KeyBytes()
  const { ring, dictionary } = replica.cache
  const freshness: Freshness = { revision: 0, asOfMs: 0, stale: false }
  const { texts } = request
  /** The reasons of the answers of one call, which are counted when all of them are there. */
  const reasons: Reason[] = []

  /** The place of the last check's customer in the request, and of its set: a batch often asks about one. */
  let [lastStart, lastEnd, lastTenantLength, lastAt, lastVersion] = [0, 0, 0, -1, 0]

  const isSameCustomer = (bytes: Buffer): boolean => {
    const from = texts[0] as number
    const length = (texts[5] as number) - from
    // The tenant's length comes before it; those of the others are in between, and are compared with the rest.
    if (lastAt < 0 || length !== lastEnd - lastStart || (texts[1] as number) - from !== lastTenantLength) return false
    for (let n = 0; n < length; n += 1) if (bytes[from + n] !== bytes[lastStart + n]) return false
    lastStart = from
    lastEnd = from + length
    return true
  }

  const find = (bytes: Buffer): number => {
    key.begin()
    for (let n = 0; n < 6; n += 2) key.add(bytes, texts[n] as number, texts[n + 1] as number)
    key.end()
    lastStart = texts[0] as number
    lastEnd = texts[5] as number
    lastTenantLength = (texts[1] as number) - lastStart
    lastAt = ring.find(key.bytes, key.length, key.hash)
    return lastAt
  }

  /** The time when the call came, and the time until which everything was known by then. */
  let [nowMs, currentMs] = [0, 0]
  let isDoubtful = false
  const begin = (): void => {
    reasons.length = 0
    lastAt = -1
    nowMs = clock.nowMs()
    currentMs = replica.currentAsOfMs()
    isDoubtful = replica.isDoubtful()
  }

  const decideAt = (at: number, entitlement: string, version: number): Decision | undefined => {
    const keyId = dictionary.keyId(entitlement)
    if (keyId === undefined) return dictionary.isWhole ? decide(nothing, entitlement, request.amount, nowMs) : undefined
    const part = readPart(ring, at, dictionary, keyId)
    // A reader in another thread may know the key by an id that it had before; and what is being written is not decided on.
    if (!part || (!dictionary.isWhole && (part.grants.length === 0 || !ring.isStill(version)))) return undefined
    if (ring.isWriter) keepWindows(ring, at, dictionary, keyId, part, nowMs)
    return decide(part, entitlement, request.amount, nowMs)
  }

  const customerIn = (bytes: Buffer): CustomerKey => ({
    tenantId: request.text(bytes, 0),
    storefrontId: request.text(bytes, 1),
    customerId: request.text(bytes, 2),
  })

  /** With what was counted here, which is published later. */
  const metered = (set: MeteredSet, decision: Decision, entitlement: string): Decision => {
    const reading = meters.reading(set, entitlement, nowMs)
    return reading ? withReading(decision, request.amount, reading, set.usageSeq ?? 0) : decision
  }

  /** @returns undefined where the use is not counted: it is of no quota that is granted, or no units are lent. */
  const consumed = (uses: HeldUnits, set: MeteredSet, decision: Decision, entitlement: string): Decision | undefined => {
    if (decision.kind !== 'quota' || decision.reason !== 'granted') return undefined
    const held = uses.consumeHeld(set, entitlement, request.amount, hardRemaining(decision), nowMs)
    if (!held) return undefined
    const read = held.reading ? withReading(decision, request.amount, held.reading, set.usageSeq ?? 0) : decision
    return { ...read, allowed: true, reason: 'granted' }
  }

  const write = (notice: Notice, bytes: Buffer, call: DirectCall, entitlement: string, decision: Decision): void => {
    const check = { customer: customerIn(bytes), entitlement, amount: request.amount, minRevision: request.minRevision }
    observer.write(notice, { check, decision, freshness: { ...freshness }, nowMs, traceparent: call.header('traceparent') })
  }

  /** @param uses the use is counted, where its units are lent; undefined: a check. */
  const decideInPlace = (bytes: Buffer, start: number, end: number, call: DirectCall, uses: HeldUnits | undefined): Decision | undefined => {
    if (!request.read(bytes, start, end)) return undefined
    if (callers.areKnown && !callers.may(call.authorization, request.text(bytes, 0))) return undefined
    const entitlement = request.entitlement(bytes)
    if (entitlement === undefined) return undefined
    const version = ring.version()
    const at = isSameCustomer(bytes) && version === lastVersion ? lastAt : find(bytes)
    lastVersion = version
    if (at < 0) return undefined
    const revision = revisionOf(ring, at)
    const usageSeq = usageSeqOf(ring, at)
    // A sandbox has a time of its own; what is from a snapshot has to be confirmed.
    if (revision < request.minRevision || !isPlainSet(ring, at)) return undefined
    const asOfMs = Math.max(readAtMsOf(ring, at), currentMs)
    if (isDoubtful || nowMs - asOfMs > maxStalenessMs) return undefined
    const decided = decideAt(at, entitlement, version)
    // Another thread has written meanwhile: what was read may be of two sets.
    if (!decided || !isPlain(decided) || (version & 1) !== 0 || !ring.isStill(version)) return undefined
    const isMetered = uses !== undefined || (decided.kind === 'quota' && meters.size() > 0)
    const set = isMetered ? { ...customerIn(bytes), revision, sandbox: false, usageSeq } : undefined
    // A use that is counted here is answered here.
    const decision = !set ? decided : uses ? consumed(uses, set, decided, entitlement) : metered(set, decided, entitlement)
    if (!decision) return undefined
    freshness.revision = revision
    freshness.asOfMs = asOfMs
    reasons.push(decision.reason)
    const notice = observer.noticeOf(decision)
    if (notice) write(notice, bytes, call, entitlement, decision)
    return decision
  }

  const answer = (bytes: Buffer, start: number, end: number, call: DirectCall, into: Buffer, to: number): number => {
    const decision = decideInPlace(bytes, start, end, call, undefined)
    return decision ? writeAnswer(into, to, decision, freshness) : NOT_HERE
  }

  const countAll = (method: string): void => {
    for (let n = 0; n < reasons.length; n += 1) observer.count(method, reasons[n] as Reason)
    replica.countHits(reasons.length)
  }

  return {
    check: {
      maxBytes: () => MAX_ANSWER_BYTES,
      answer: (bytes, start, end, call, into, to) => {
        begin()
        const written = answer(bytes, start, end, call, into, to)
        if (written >= 0) countAll('CheckEntitlement')
        return written
      },
    },
    consume: units && {
      maxBytes: () => MAX_ANSWER_BYTES + LENGTH_BYTES + 1 + 2 * 2,
      answer: (bytes, start, end, call, into, to) => {
        begin()
        const decision = decideInPlace(bytes, start, end, call, units)
        if (!decision) return NOT_HERE
        countAll('ConsumeEntitlement')
        const at = wrap(into, to, writeAnswer(into, to + 1 + LENGTH_BYTES, decision, freshness))
        into[at] = COUNTED
        into[at + 1] = 1
        if (!isOverLimit(decision)) return at + 2
        into[at + 2] = OVER_LIMIT
        into[at + 3] = 1
        return at + 4
      },
    },
    batch: {
      maxBytes: (requestBytes) => (MAX_ANSWER_BYTES + LENGTH_BYTES + 1) * Math.min(MAX_BATCH, Math.ceil(requestBytes / LEAST_CHECK_BYTES)),
      answer: (bytes, start, end, call, into, to) => {
        begin()
        let out = to
        for (let at = start; at < end; ) {
          if (bytes[at] !== ONE_OF_MANY || reasons.length === MAX_BATCH || at + 1 >= end) return NOT_HERE
          let length = bytes[at + 1] as number
          at += 2
          if (length > 127) {
            // A check of four ids is less than 16 KiB: two bytes of length.
            const high = bytes[at] as number
            if (high > 127) return NOT_HERE
            length = (length & 127) | (high << 7)
            at += 1
          }
          if (at + length > end) return NOT_HERE
          const message = out + 1 + LENGTH_BYTES
          const written = answer(bytes, at, at + length, call, into, message)
          if (written < 0) return NOT_HERE
          at += length
          out = wrap(into, out, written)
        }
        countAll('BatchCheckEntitlements')
        return out
      },
    },
  }
}
