/**
 * What is known of customers in this process: those that were asked about last, each kept current by the sidecar's stream.
 * Memory answers when it knows for certain what the sidecar would answer, and is silent otherwise. It never answers from an older
 * set than the application was answered from before.
 */
import { LRUCache } from 'lru-cache'
import type { CustomerSet } from '../proto/gen/entitlement/v1/entitlement.ts'
import type { Decided } from './answer.ts'
import type { Remembered } from './decide-from.ts'
import { type HeldSet, readHeldSet } from './held-set.ts'
import { createReadings, type Readings } from './readings.ts'
import { createSetsStream, type SetsStreamOptions, type StreamAge } from './sets-stream.ts'
import { isOlder, type Version } from './version.ts'

export interface Memory {
  /** The customer is watched from now on. Undefined when the sidecar has to be asked. */
  find(customerId: string, minRevision: number): Remembered | undefined
  /**
   * The sidecar has answered from this version. It is remembered, and 0 is returned; or it is older than what the application
   * was answered from before, and that revision is returned.
   */
  newerThan(customerId: string, answered: Version): number
  /** The sidecar has said how much is used; without an answer, it has counted something that memory does not know. */
  hear(customerId: string, entitlement: string, answer: Decided | undefined): void
  close(): void
}

export interface MemoryOptions extends Pick<SetsStreamOptions, 'connection' | 'tenantId' | 'storefrontId'> {
  maxCustomers: number
  maxAgeMs: number
}

interface Entry {
  /** What the stream has said last; undefined when it has said nothing yet, or that the sidecar has to be asked. */
  held: { set: HeldSet | null; revision: number; asOfMs: number; age: StreamAge } | undefined
  /** The version that the application was answered from last. */
  told: { revision: number; asOfMs: number }
  /** Undefined while the set says all that is known. */
  readings: Readings | undefined
}

const tell = ({ told }: Entry, { revision, asOfMs }: Version) => {
  told.revision = revision
  told.asOfMs = Math.max(told.asOfMs, asOfMs)
}

export const createMemory = ({ maxCustomers, maxAgeMs, ...options }: MemoryOptions): Memory => {
  const entries = new LRUCache<string, Entry>({
    max: maxCustomers,
    dispose: (_, customerId, why) => {
      if (why === 'evict') stream.unwatch(customerId)
    },
  })
  const read = ({ ask, customerKnown, revision, set, asOf }: CustomerSet, age: StreamAge): Entry['held'] => {
    if (ask || !asOf) return undefined
    try {
      return { set: customerKnown ? readHeldSet(set) : null, revision: Number(revision), asOfMs: asOf.getTime(), age }
    } catch {
      // A set that this version cannot read is the sidecar's to decide about.
      return undefined
    }
  }
  const stream = createSetsStream({
    ...options,
    customers: () => entries.keys(),
    onSet: (set, age) => {
      const entry = entries.peek(set.customerId)
      if (entry) entry.held = read(set, age)
    },
  })

  return {
    find: (customerId, minRevision) => {
      const entry = entries.get(customerId)
      if (!entry) {
        entries.set(customerId, { held: undefined, told: { revision: 0, asOfMs: Number.NEGATIVE_INFINITY }, readings: undefined })
        stream.watch(customerId)
        return undefined
      }
      const { held } = entry
      if (!held || held.age.stale || held.revision < minRevision) return undefined
      const { set, revision, age } = held
      const nowMs = age.clock.nowMs()
      const asOfMs = Math.max(held.asOfMs, age.asOfMs)
      if (nowMs === undefined || nowMs - asOfMs > maxAgeMs) return undefined
      if (entry.readings?.size === 0) entry.readings = undefined
      const found = { set, customerKnown: set !== null, revision, asOfMs, nowMs, readings: entry.readings }
      if (isOlder(found, entry.told)) return undefined
      tell(entry, found)
      return found
    },
    newerThan: (customerId, answered) => {
      const entry = entries.peek(customerId)
      if (!entry) return 0
      if (isOlder(answered, entry.told)) return entry.told.revision
      tell(entry, answered)
      return 0
    },
    hear: (customerId, entitlement, answer) => {
      const entry = entries.peek(customerId)
      if (!entry) return
      entry.readings ??= createReadings()
      entry.readings.hear(entitlement, answer)
    },
    close: () => stream.close(),
  }
}
