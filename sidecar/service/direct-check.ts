/**
 * CheckEntitlement and BatchCheckEntitlements from bytes to bytes, for customers whose sets are held: nothing is waited
 * for, and hardly anything is made. Whatever is not as plain as that is left to the handlers of
 * `entitlement-service.ts`, which answer the same.
 */
import type { Clock } from '../../common/clock.ts'
import { type Decision, decide, type Reason } from '../../common/entitlements/decide.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import type { Freshness } from '../check.ts'
import type { Readings } from '../metering/meters.ts'
import { withReading } from '../metering/reading.ts'
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
/** Field 1 of both batch messages, length-delimited. */
const ONE_OF_MANY = 0x0a
/** An answer's length, written before it in as many bytes whatever it is. */
const LENGTH_BYTES = 2
/** The shortest check that names everything. */
const LEAST_CHECK_BYTES = 12

export interface DirectCheckOptions {
  /** The held sets, as bytes, and how current they are. */
  replica: Pick<Sets, 'cache' | 'countHits'> & Pick<FeedState, 'currentAsOfMs' | 'isDoubtful'>
  clock: Clock
  maxStalenessMs: number
  callers: Callers
  observer: Observer
  /** What was counted here, beside what is published. */
  meters: Readings
}

export const createDirectChecks = ({
  replica,
  clock,
  maxStalenessMs,
  callers,
  observer,
  meters,
}: DirectCheckOptions): { check: DirectMethod; batch: DirectMethod } => {
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
  const metered = (bytes: Buffer, decision: Decision, entitlement: string, revision: number, at: number): Decision => {
    const reading = meters.reading({ ...customerIn(bytes), revision, sandbox: false }, entitlement, nowMs)
    return reading ? withReading(decision, request.amount, reading, usageSeqOf(ring, at)) : decision
  }

  const write = (notice: Notice, bytes: Buffer, call: DirectCall, entitlement: string, decision: Decision): void => {
    const check = { customer: customerIn(bytes), entitlement, amount: request.amount, minRevision: request.minRevision }
    observer.write(notice, { check, decision, freshness: { ...freshness }, nowMs, traceparent: call.header('traceparent') })
  }

  const answer = (bytes: Buffer, start: number, end: number, call: DirectCall, into: Buffer, to: number): number => {
    if (!request.read(bytes, start, end)) return NOT_HERE
    if (callers.areKnown && !callers.may(call.authorization, request.text(bytes, 0))) return NOT_HERE
    const entitlement = request.entitlement(bytes)
    if (entitlement === undefined) return NOT_HERE
    const version = ring.version()
    const at = isSameCustomer(bytes) && version === lastVersion ? lastAt : find(bytes)
    lastVersion = version
    if (at < 0) return NOT_HERE
    const revision = revisionOf(ring, at)
    // A sandbox has a time of its own; what is from a snapshot has to be confirmed.
    if (revision < request.minRevision || !isPlainSet(ring, at)) return NOT_HERE
    const asOfMs = Math.max(readAtMsOf(ring, at), currentMs)
    if (isDoubtful || nowMs - asOfMs > maxStalenessMs) return NOT_HERE
    const decided = decideAt(at, entitlement, version)
    const decision = decided?.kind === 'quota' && meters.size() > 0 ? metered(bytes, decided, entitlement, revision, at) : decided
    // Another thread has written meanwhile: what was read may be of two sets.
    if (!decision || !isPlain(decision) || (version & 1) !== 0 || !ring.isStill(version)) return NOT_HERE
    freshness.revision = revision
    freshness.asOfMs = asOfMs
    reasons.push(decision.reason)
    const notice = observer.noticeOf(decision)
    if (notice) write(notice, bytes, call, entitlement, decision)
    return writeAnswer(into, to, decision, freshness)
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
          into[out] = ONE_OF_MANY
          const took = written - message
          if (took > 127) {
            varint(into, out + 1, took)
            out = written
          } else {
            // One byte says how long it is: it moves up by the other.
            into[out + 1] = took
            into.copyWithin(message - 1, message, written)
            out = written - 1
          }
        }
        countAll('BatchCheckEntitlements')
        return out
      },
    },
  }
}
