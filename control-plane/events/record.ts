/**
 * The door that every change of a document leads through: what is worth an event is put into the document's outbox by the very
 * write that makes it so. A crash can neither lose an event nor make one up.
 */
import { ulid } from 'ulid'
import type { Clock } from '../../common/clock.ts'
import type { Log } from '../../common/log.ts'
import type { Documents } from '../schemas/index.ts'
import type { OutboxEvent } from '../schemas/schema.ts'
import type { Collection, NewDocument, Storage, StoredDocument } from '../storage/storage.ts'
import { repairTime } from '../work-time.ts'
import type { EventObject, EventType } from './event-types.ts'
import { eventTypeInfos } from './event-types.ts'
import { type NotedCollection, noted, noters } from './noters/index.ts'
import type { Noter } from './noters/noter.ts'

/** Makes the `data` of events: the object as the HTTP API answers it. @param part the part of the document that the event is about. */
export type Renderers = { readonly [O in EventObject]: (document: never, context: { time: Date; part: unknown }) => unknown }

/** A document whose outbox may not be empty. */
export interface Recorded extends StoredDocument {
  tenantId: string
  eventSeq?: number
  told?: unknown
  outbox?: OutboxEvent[]
  outboxAt?: Date
}

/** Hands the events of a document on to the log of its tenant. @throws AppError `unavailable`; what is not handed on stays in the document. */
export type HandOn = (collection: NotedCollection, document: Recorded) => Promise<void>

export interface RecordOptions {
  clock: Clock
  log: Log
  render: Renderers
  /** Told of each document with events that nothing follows at once. It does not reject. */
  recorded(collection: NotedCollection, document: Recorded): void
  handOn: HandOn
}

/** The clocks of processes may differ by as much. */
const SWEPT_WITHIN_MS = 1_000
/** Of one document: with more, what is waiting is handed on before more is written. */
const MAX_WAITING = 16

const objectOf = new Map<string, EventObject>(eventTypeInfos.map(({ type, data }) => [type, data]))

/** Documents of these may be removed, and made again under the same id. */
const comeAgain: ReadonlySet<NotedCollection> = new Set(['customers', 'entitlementSets', 'usageCounters', 'pspAccounts'])

const withEvents = <D extends Recorded>(
  collection: NotedCollection,
  noter: Noter<D>,
  document: D,
  isNew: boolean,
  { clock, render }: Pick<RecordOptions, 'clock' | 'render'>,
): D => {
  /** As it will be stored. */
  const written = { ...document, revision: isNew ? 1 : document.revision + 1, updatedAt: clock.now() }
  const { told, facts: found } = noter.note(written, document.told, isNew ? undefined : document.updatedAt)
  // A document of this id may have been removed: the count goes on above it.
  const before = document.eventSeq ?? (isNew && comeAgain.has(collection) ? clock.nowMs() : 0)
  const waiting = document.outbox ?? []
  const isLeaving = noter.isAtRest?.(document) ?? true
  /** What has been handed on cannot be taken back, nor what a sweeper may be handing on. */
  const withMark = (events: OutboxEvent[]): OutboxEvent[] => (isLeaving && noter.settle ? events.map((event) => ({ ...event, leaving: true })) : events)
  if (found.length === 0) {
    const marked = waiting.length > 0 ? { outbox: withMark(waiting) } : {}
    return { ...document, told, ...marked, ...(before > 0 ? { eventSeq: before } : {}) }
  }
  const mayTakeBack = document.outboxAt !== undefined && document.outboxAt.getTime() - clock.nowMs() > SWEPT_WITHIN_MS
  const settled = noter.settle?.(
    waiting.map((event) => (mayTakeBack && !event.leaving ? event : { ...event, type: '' })),
    found,
  )
  const { stays, facts } = settled ?? { stays: waiting.map(() => true), facts: found }
  const subject = noter.subject(document)
  const about = noter.about(document)
  const made = facts.map(({ type, time, part }, n): OutboxEvent => {
    const shown = render[objectOf.get(type) as EventObject] as (document: unknown, context: { time: Date; part: unknown }) => unknown
    return {
      id: `evt_${ulid()}`,
      type: type satisfies EventType,
      seq: before + 1 + n,
      time: time.toISOString(),
      subject,
      ...about,
      data: shown(written, { time, part }),
    }
  })
  const outbox = withMark([...waiting.filter((_, n) => stays[n]), ...made])
  return {
    ...document,
    told,
    eventSeq: before + made.length,
    outbox,
    // What is not handed on by then was left by a crash.
    outboxAt: document.outboxAt ?? repairTime({ clock }),
  }
}

const recordingCollection = <K extends NotedCollection>(name: K, collection: Collection<Documents[K]>, options: RecordOptions): Collection<Documents[K]> => {
  type D = Documents[K] & Recorded
  /** A fault of ours in what is told must not keep a change from being made: it is told with the next change. */
  const recordedIn = (document: D, isNew: boolean): D => {
    try {
      return withEvents(name, noter, document, isNew, options)
    } catch (error) {
      options.log.error(
        { err: error, collection: name, id: document._id },
        'a change could not be made an event of, which is a fault of Tollgate: please report it',
      )
      return document
    }
  }
  const noter = noters[name] as unknown as Noter<D>
  const { clock, recorded, handOn } = options
  const tell = (document: D): void => {
    if (document.outbox && document.outbox.length > 0 && (noter.isAtRest?.(document) ?? true)) recorded(name, document)
  }
  return {
    ...collection,
    insert: async (document) => {
      const made = { ...document, revision: 1, updatedAt: clock.now() } as unknown as D
      const { revision: _, updatedAt: __, ...withThem } = recordedIn(made, true)
      const inserted = (await collection.insert(withThem as unknown as NewDocument<Documents[K]>)) as D
      tell(inserted)
      return inserted
    },
    replace: async (document) => {
      const before = document as D
      const waits = before.outbox && before.outbox.length >= MAX_WAITING
      // They are stored, so they have happened, whatever becomes of this write.
      if (waits) await handOn(name, before)
      const { outbox: _, outboxAt: __, ...emptied } = before
      const replaced = (await collection.replace(recordedIn((waits ? emptied : before) as D, false))) as D
      tell(replaced)
      return replaced
    },
    remove: async (document) => {
      const { outbox } = document as Partial<Recorded>
      if (outbox && outbox.length > 0) await handOn(name, document as unknown as Recorded)
      await collection.remove(document)
    },
  }
}

/** The storage in which every change is recorded. */
export const recordingStorage = (storage: Storage, options: RecordOptions): Storage => ({
  ...storage,
  ...Object.fromEntries(noted.map((name) => [name, recordingCollection(name, storage[name] as never, options)])),
})
