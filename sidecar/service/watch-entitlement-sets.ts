/**
 * WatchEntitlementSets: the sets of many customers on one stream, for callers that decide in their own process. A stream says
 * what its customers hold, again whenever that changes, and each second up to when that is complete. What a caller could
 * decide otherwise than this sidecar is left out, and the caller is told to ask.
 */
import type { ServerDuplexStream, status as Status } from '@grpc/grpc-js'
import type { Clock } from '../../common/clock.ts'
import { DECISION_RULES } from '../../common/entitlements/decide.ts'
import { encodeSet } from '../../common/entitlements/wire.ts'
import { AppError, fieldError, isAppError } from '../../common/errors.ts'
import type { Faults } from '../../common/faults.ts'
import type { CustomerSet, WatchEntitlementSetsRequest, WatchEntitlementSetsResponse } from '../../proto/gen/entitlement/v1/entitlement.ts'
import type { Replica } from '../replica/replica.ts'
import { MAX_BATCH, readId } from './requests.ts'
import { first, toServiceError } from './service-error.ts'
import { untilDrained } from './until-drained.ts'

/** Callers answer from memory for as long as they know how old it is; a second is how old `as_of` of a check is, too. */
const SAY_AGE_EVERY_MS = 1_000
/** Customers of all streams of a thread: each is a listener and an id, half a kilobyte. */
const MAX_WATCHED = 100_000
/** Sets that are read at once; then what there is of them is sent. */
const READ_AT_ONCE = 100
/** A message is sent when its sets have so many bytes; a set may have a megabyte, and clients take messages of four. */
const MESSAGE_BYTES = 64 * 1024

type Stream = ServerDuplexStream<WatchEntitlementSetsRequest, WatchEntitlementSetsResponse>

export interface SetWatchesOptions {
  replica: Pick<Replica, 'load' | 'onChange' | 'asOfMs' | 'currentAsOfMs' | 'settledAsOfMs' | 'isLive' | 'isDoubtful'>
  /** @throws AppError `unauthenticated` or `forbidden`. */
  mayAsk(authorization: string | undefined, tenantId: string): void
  clock: Clock
  maxStalenessMs: number
  faults: Faults
}

export interface SetWatches {
  watch(stream: Stream): void
  endAll(error: { code: Status; details: string }): void
}

const nothing = new Uint8Array() as Buffer

export const createSetWatches = ({ replica, mayAsk, clock, maxStalenessMs, faults }: SetWatchesOptions): SetWatches => {
  /** What each stream does every second. */
  const streams = new Map<Stream, () => void>()
  let watched = 0
  let timer: NodeJS.Timeout | undefined

  const isStale = () => replica.isDoubtful() || clock.nowMs() - replica.currentAsOfMs() > maxStalenessMs

  const watch = (stream: Stream): void => {
    /** Whose customers; undefined until the first message says so. */
    let whose: { tenantId: string; storefrontId: string; knowsRules: boolean } | undefined
    /** By id: what ends listening for changes. */
    const customers = new Map<string, () => void>()
    /** Customers to be read and sent. */
    const due = new Set<string>()
    /** Customers that could not be read, or not for certain: they are read again. */
    const unsettled = new Set<string>()
    let isAgeDue = true
    let isSending = false
    let hasEnded = false

    const drop = (customerId: string) => {
      customers.get(customerId)?.()
      if (customers.delete(customerId)) watched -= 1
      due.delete(customerId)
      unsettled.delete(customerId)
    }
    const end = () => {
      hasEnded = true
      streams.delete(stream)
      for (const customerId of [...customers.keys()]) drop(customerId)
      if (streams.size > 0) return
      clearInterval(timer)
      timer = undefined
    }
    const fail = (error: unknown) => {
      end()
      stream.emit('error', toServiceError(error, faults))
    }

    const read = async (customerId: string, of: NonNullable<typeof whose>): Promise<CustomerSet> => {
      const ask: CustomerSet = { customerId, ask: true, customerKnown: false, revision: 0n, set: nothing, asOf: undefined }
      try {
        const known = await replica.load({ tenantId: of.tenantId, storefrontId: of.storefrontId, customerId })
        const { set, restored, behind } = known
        if (restored || behind) {
          unsettled.add(customerId)
          return ask
        }
        const asOf = new Date(replica.asOfMs(known))
        if (!set) return { ...ask, ask: false, asOf }
        // A test clock moves without a change of the set.
        if (set.sandbox || !of.knowsRules) return ask
        return { customerId, ask: false, customerKnown: true, revision: BigInt(set.revision), set: Buffer.from(encodeSet(set)), asOf }
      } catch (error) {
        if (!isAppError(error, 'unavailable')) throw error
        unsettled.add(customerId)
        return ask
      }
    }

    const write = async (sets: CustomerSet[], asOf?: Date): Promise<void> => {
      if (!hasEnded && !stream.write({ sets, now: clock.now(), asOf, stale: isStale() })) await untilDrained(stream)
    }
    const writeSets = async (of: NonNullable<typeof whose>): Promise<void> => {
      const ids: string[] = []
      for (const customerId of due) {
        if (ids.push(customerId) === READ_AT_ONCE) break
      }
      for (const customerId of ids) {
        due.delete(customerId)
        unsettled.delete(customerId)
      }
      let sets: CustomerSet[] = []
      let bytes = 0
      for (const set of await Promise.all(ids.map((customerId) => read(customerId, of)))) {
        if (!customers.has(set.customerId)) {
          unsettled.delete(set.customerId)
          continue
        }
        sets.push(set)
        bytes += set.set.length
        if (bytes < MESSAGE_BYTES) continue
        await write(sets)
        sets = []
        bytes = 0
      }
      if (sets.length > 0) await write(sets)
    }
    const send = async (of: NonNullable<typeof whose>): Promise<void> => {
      if (isSending) return
      isSending = true
      try {
        while (!hasEnded && (due.size > 0 || isAgeDue)) {
          if (due.size > 0) await writeSets(of)
          else {
            const asOfMs = await replica.settledAsOfMs()
            // What has changed meanwhile goes first: the age is one of everything that is watched.
            if (due.size > 0) continue
            isAgeDue = false
            await write([], new Date(asOfMs))
          }
        }
      } catch (error) {
        if (!hasEnded) fail(error)
      } finally {
        isSending = false
      }
    }

    const hear = ({ tenantId, storefrontId, rulesVersion, watch: added, unwatch }: WatchEntitlementSetsRequest) => {
      if (!whose) {
        whose = { tenantId: readId('tenant_id', tenantId), storefrontId: readId('storefront_id', storefrontId), knowsRules: rulesVersion >= DECISION_RULES }
        if (rulesVersion === 0) throw fieldError('invalid_request', 'rules_version', 'must be set to the version of the rules that the caller decides by')
        mayAsk(first(stream.metadata, 'authorization'), tenantId)
      }
      const of = whose
      for (const customerId of unwatch) drop(customerId)
      if (added.length > MAX_BATCH) throw fieldError('invalid_request', 'watch', `must not have more than ${MAX_BATCH} entries`)
      for (const [n, customerId] of added.entries()) {
        readId(`watch[${n}]`, customerId)
        // Who is watched already is sent again: the caller may have forgotten it.
        due.add(customerId)
        if (customers.has(customerId)) continue
        if (watched >= MAX_WATCHED) throw new AppError('unavailable', 'this sidecar has no room to watch more customers; ask about them instead')
        watched += 1
        const changed = () => {
          due.add(customerId)
          void send(of)
        }
        customers.set(customerId, replica.onChange({ tenantId: of.tenantId, storefrontId: of.storefrontId, customerId }, changed))
      }
      void send(of)
    }

    streams.set(stream, () => {
      if (!whose) return
      isAgeDue = true
      if (replica.isLive()) for (const customerId of unsettled) due.add(customerId)
      void send(whose)
    })
    timer ??= setInterval(() => {
      for (const eachSecond of [...streams.values()]) eachSecond()
    }, SAY_AGE_EVERY_MS)
    timer.unref()
    stream.on('cancelled', end)
    stream.on('close', end)
    stream.on('end', () => {
      end()
      stream.end()
    })
    stream.on('data', (request) => {
      if (hasEnded) return
      try {
        hear(request)
      } catch (error) {
        fail(error)
      }
    })
  }

  return {
    watch,
    endAll: (error) => {
      for (const stream of [...streams.keys()]) stream.emit('error', error)
      streams.clear()
      clearInterval(timer)
      timer = undefined
    },
  }
}
