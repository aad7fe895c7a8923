/**
 * The log of a tenant's events: each exactly once, in one order, in which a reader that goes on after a place misses nothing.
 *
 * Whoever appends takes places in the head by compare-and-set, and writes the entries into it by the same write; then it writes
 * them as documents. Entries that a crash leaves unwritten are written by whoever appends or reads next, before anything else. An
 * event that is appended again, because a crash came before its document knew, is found by its id, and its second place stays
 * empty.
 */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../../common/clock.ts'
import { DAY_MS } from '../../common/durations.ts'
import { isAppError } from '../../common/errors.ts'
import { keys } from '../keys.ts'
import type { EventLog, LoggedEvent, PlacedEvent } from '../schemas/event.ts'
import type { OutboxEvent } from '../schemas/schema.ts'
import type { Storage } from '../storage/storage.ts'
import { insertOrGet, update } from '../storage/update.ts'
import { repairTime } from '../work-time.ts'

/** The head holds them for a moment, and is written with each append. */
const MOST_AT_ONCE = 64
const MAX_BYTES_AT_ONCE = 1024 * 1024
const DEFAULT_DAYS = 30
const HEADS_KNOWN = 5_000
/** Documents know within moments what is in the log. */
const MOST_REMEMBERED = 10_000

export interface EventLogs {
  /** Resolves when they are in the log. @throws AppError `unavailable`: some may be, and appending them again is harmless. */
  append(tenantId: string, events: readonly OutboxEvent[]): Promise<void>
  /** Events after a place, in their order; `upTo` is the place that a reader has got to with them. */
  read(tenantId: string, after: number, limit: number): Promise<{ events: LoggedEvent[]; upTo: number }>
  /** The last place that is taken; 0 while there is none. */
  lastPlace(tenantId: string): Promise<number>
  /** Says that there is something else to look at: an endpoint was changed, or a delivery asked for anew. */
  nudge(tenantId: string): Promise<void>
  /** Writes the entries that a crash may have left. */
  complete(head: EventLog): Promise<void>
  /**
   * Entries that a crash has left are written, and nothing is marked to be sent: for a tenant that nobody listens to.
   * @param asOf the head as it was when nobody listened; without, as it is now. @returns false if there is something new since.
   */
  settle(tenantId: string, asOf?: EventLog): Promise<boolean>
  /** Tells who follows; where nobody does, the tenant's log is settled. */
  rouse(tenantId: string): Promise<void>
  /** Calls back when something was appended here. @returns a function that stops it. */
  follow(listener: (tenantId: string) => void): () => void
}

export interface EventLogsOptions {
  storage: Pick<Storage, 'loggedEvents' | 'eventLogs'>
  clock: Clock
  /** How long events are kept. */
  days?: number | undefined
}

interface Waiting {
  event: OutboxEvent
  bytes: number
  done(): void
  fail(error: unknown): void
}

const nextBatch = (queue: readonly Waiting[]): Waiting[] => {
  const batch: Waiting[] = []
  let bytes = 0
  for (const one of queue) {
    bytes += one.bytes
    if (batch.length === MOST_AT_ONCE || (batch.length > 0 && bytes > MAX_BYTES_AT_ONCE)) break
    batch.push(one)
  }
  return batch
}

export const createEventLogs = ({ storage, clock, days = DEFAULT_DAYS }: EventLogsOptions): EventLogs => {
  const { loggedEvents, eventLogs } = storage
  const listeners = new Set<(tenantId: string) => void>()
  /** By tenant, those that come while an append is under way: the next takes them all. */
  const queues = new Map<string, Waiting[]>()
  /** By its id, what is or was being appended here lately. */
  const appending = new LRUCache<string, Promise<void>>({ max: MOST_REMEMBERED })
  /** By tenant, the head as it was last seen here, all of whose entries are written. */
  const completed = new LRUCache<string, EventLog>({ max: HEADS_KNOWN })
  const noteComplete = ({ pending: _, ...head }: EventLog): void => void completed.set(head.tenantId, head)

  const writeEntry = async (tenantId: string, { time, ...entry }: PlacedEvent): Promise<void> => {
    const now = clock.now()
    await insertOrGet(loggedEvents, {
      ...entry,
      _id: keys.loggedEvent(tenantId, entry.id),
      tenantId,
      // What is kept as it is holds no dates.
      time: new Date(time),
      createdAt: now,
      expiresAt: new Date(now.getTime() + days * DAY_MS),
    })
  }

  const complete = async (head: EventLog): Promise<void> => {
    if (completed.get(head.tenantId)?.revision === head.revision) return
    await Promise.all((head.pending ?? []).map((entry) => writeEntry(head.tenantId, entry)))
    noteComplete(head)
  }

  const headOf = (tenantId: string): Promise<EventLog> => insertOrGet(eventLogs, { _id: keys.eventLog(tenantId), tenantId, next: 1, createdAt: clock.now() })

  const settle = async (tenantId: string, asOf?: EventLog): Promise<boolean> => {
    const head = await eventLogs.find(keys.eventLog(tenantId))
    if (!head) return true
    await complete(head)
    const { next, nudges } = asOf ?? head
    const settled = await update(eventLogs, head._id, ({ pending: _, repairAt: __, sender: ___, ...latest }) =>
      latest.next === next && latest.nudges === nudges ? latest : undefined,
    )
    return settled.repairAt === undefined
  }

  const place = async (tenantId: string, events: readonly OutboxEvent[]): Promise<void> => {
    let known = completed.get(tenantId)
    for (;;) {
      const head = known ?? (await headOf(tenantId))
      known = undefined
      await complete(head)
      const pending = events.map(({ leaving: _, ...event }, n) => ({ ...event, position: head.next + n }) as unknown as PlacedEvent)
      // From then on a sweeper sends out what nobody has.
      const repairAt = head.repairAt ?? repairTime({ clock })
      try {
        const placed = await eventLogs.replace({ ...head, next: head.next + events.length, pending, repairAt })
        await Promise.all(pending.map((entry) => writeEntry(tenantId, entry)))
        noteComplete(placed)
        return
      } catch (error) {
        completed.delete(tenantId)
        if (!isAppError(error, 'revision_conflict', 'not_found')) throw error
      }
    }
  }

  const drain = async (tenantId: string, queue: Waiting[]): Promise<void> => {
    while (queue.length > 0) {
      const batch = nextBatch(queue)
      try {
        await place(
          tenantId,
          batch.map(({ event }) => event),
        )
        for (const { done } of batch) done()
        for (const listener of listeners) listener(tenantId)
        queue.splice(0, batch.length)
      } catch (error) {
        // None may get past another of its subject: all that wait come again together.
        for (const { fail } of queue) fail(error)
        queue.length = 0
      }
    }
    queues.delete(tenantId)
  }

  return {
    append: async (tenantId, events) => {
      const running = queues.get(tenantId)
      const queue = running ?? []
      queues.set(tenantId, queue)
      const appended = events.map((event) => {
        // A document that changes quickly hands the same one on again before it knows.
        const known = appending.get(event.id)
        if (known) return known
        const one = new Promise<void>((done, fail) => queue.push({ event, bytes: JSON.stringify(event.data)?.length ?? 0, done, fail }))
        appending.set(event.id, one)
        one.catch(() => appending.delete(event.id))
        return one
      })
      if (!running) void drain(tenantId, queue)
      await Promise.all(appended)
    },
    read: async (tenantId, after, limit) => {
      const head = await eventLogs.find(keys.eventLog(tenantId))
      if (!head || head.next - 1 <= after) return { events: [], upTo: after }
      await complete(head)
      const found = await loggedEvents.after({ where: { tenantId }, above: after, limit })
      // What has come since the head was read may stand after something that is not written yet.
      const events = found.filter(({ position }) => position < head.next)
      const isAll = events.length < limit
      return { events, upTo: isAll ? head.next - 1 : (events.at(-1)?.position ?? after) }
    },
    nudge: async (tenantId) => {
      const head = await headOf(tenantId)
      const repairAt = repairTime({ clock })
      await update(eventLogs, head._id, (latest) => ({ ...latest, nudges: (latest.nudges ?? 0) + 1, repairAt: latest.repairAt ?? repairAt }), head)
      for (const listener of listeners) listener(tenantId)
    },
    complete,
    settle,
    rouse: async (tenantId) => {
      if (listeners.size === 0) await settle(tenantId)
      for (const listener of listeners) listener(tenantId)
    },
    lastPlace: async (tenantId) => ((await eventLogs.find(keys.eventLog(tenantId)))?.next ?? 1) - 1,
    follow: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
