/**
 * The stream by which the sets of customers come. It is opened when the first customer is watched, opened again when it is cut, and
 * asked for the same customers then. It keeps nothing of what it brings.
 */
import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js'
import { DECISION_RULES } from '../common/entitlements/decide.ts'
import type { CustomerSet, WatchEntitlementSetsRequest, WatchEntitlementSetsResponse } from '../proto/gen/entitlement/v1/entitlement.ts'
import { createBackoff } from './backoff.ts'
import type { Connection } from './connection.ts'
import { isUnknown } from './errors.ts'
import { createSidecarClock, type SidecarClock } from './sidecar-clock.ts'

/** What a sidecar takes in one message. */
const MAX_IDS = 1_000
/** Each second something comes. A stream that says nothing for this long is dead, whatever its connection says. */
const SILENT_MS = 5_000
/** A sidecar that refuses (a wrong key, an older version) refuses again, until somebody changes it. */
const REFUSED_MS = 60_000

/** How current everything is that one stream has brought. Those who hold what it brought hold this, too. */
export interface StreamAge {
  /** By the sidecar's clock; nothing is known before the first message. */
  asOfMs: number
  stale: boolean
  readonly clock: SidecarClock
}

export interface SetsStream {
  watch(customerId: string): void
  unwatch(customerId: string): void
  /** Opens no stream any more; the connection ends the one that is open. */
  close(): void
}

export interface SetsStreamOptions {
  connection: Pick<Connection, 'watchSets' | 'toError' | 'isClosed'>
  tenantId: string
  storefrontId: string
  /** Those that are watched. */
  customers(): Iterable<string>
  onSet(set: CustomerSet, age: StreamAge): void
}

type Stream = ClientDuplexStream<WatchEntitlementSetsRequest, WatchEntitlementSetsResponse>

export const createSetsStream = ({ connection, tenantId, storefrontId, customers, onSet }: SetsStreamOptions): SetsStream => {
  const backoff = createBackoff()
  let stream: Stream | undefined
  let reopening: NodeJS.Timeout | undefined
  /** What the stream has still to be told: true for who is added, false for who is removed. */
  const untold = new Map<string, boolean>()
  let isTelling = false

  const write = (to: Stream, watch: string[], unwatch: string[]) => to.write({ tenantId, storefrontId, rulesVersion: DECISION_RULES, watch, unwatch })

  /** In messages that the sidecar takes; at least one, which says whose customers they are. */
  const writeAll = (to: Stream, watch: string[], unwatch: string[]) => {
    for (let from = 0; from === 0 || from < Math.max(watch.length, unwatch.length); from += MAX_IDS)
      write(to, watch.slice(from, from + MAX_IDS), unwatch.slice(from, from + MAX_IDS))
  }

  const reopenIn = (ms: number) => {
    reopening = setTimeout(() => {
      reopening = undefined
      open()
    }, ms)
    // A process that has nothing else to do ends.
    reopening.unref()
  }

  const open = () => {
    const opened = connection.watchSets()
    const age: StreamAge = { asOfMs: Number.NEGATIVE_INFINITY, stale: false, clock: createSidecarClock() }
    stream = opened
    untold.clear()
    const fail = (error: unknown) => {
      clearTimeout(silence)
      if (stream !== opened) return
      stream = undefined
      if (connection.isClosed()) return
      reopenIn(isUnknown(connection.toError(error)) ? backoff.nextMs() : REFUSED_MS)
    }
    let heard = 0
    const silence = setTimeout(() => {
      // Where this process was busy for as long, messages may wait to be read.
      const before = heard
      setImmediate(() => {
        if (heard === before && stream === opened) opened.cancel()
      })
    }, SILENT_MS)
    silence.unref()
    opened.on('data', ({ sets, now, asOf, stale }: WatchEntitlementSetsResponse) => {
      heard += 1
      silence.refresh()
      if (now) age.clock.hear(now.getTime())
      age.stale = stale
      for (const set of sets) onSet(set, age)
      if (!asOf) return
      age.asOfMs = Math.max(age.asOfMs, asOf.getTime())
      backoff.reset()
    })
    opened.on('error', fail)
    opened.on('end', () => fail({ code: 14, details: 'the stream has ended' } satisfies Pick<ServiceError, 'code' | 'details'>))
    writeAll(opened, [...customers()], [])
  }

  const tell = () => {
    isTelling = false
    if (!stream) {
      untold.clear()
      if (!reopening && !connection.isClosed()) open()
      return
    }
    const [watch, unwatch]: [string[], string[]] = [[], []]
    for (const [customerId, isWatched] of untold) (isWatched ? watch : unwatch).push(customerId)
    untold.clear()
    if (watch.length + unwatch.length > 0) writeAll(stream, watch, unwatch)
  }
  /** What is asked about in one turn of the event loop is told together. */
  const change = (customerId: string, isWatched: boolean) => {
    untold.set(customerId, isWatched)
    if (isTelling) return
    isTelling = true
    setImmediate(tell)
  }

  return {
    watch: (customerId) => change(customerId, true),
    unwatch: (customerId) => change(customerId, false),
    close: () => clearTimeout(reopening),
  }
}
