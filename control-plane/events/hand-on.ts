/** Events on their way from the documents that they happened to, to the log of their tenant. */
import { AppError } from '../../common/errors.ts'
import type { Log } from '../../common/log.ts'
import type { Storage } from '../storage/storage.ts'
import type { EventLogs } from './log.ts'
import type { NotedCollection } from './noters/index.ts'
import type { HandOn, Recorded } from './record.ts'

/** Documents whose events are being handed on at once; the sweeper takes the others. */
const MOST_UNDER_WAY = 2_000

export interface Outboxes {
  handOn: HandOn
  /** The same in the background; what fails is left to the sweeper. */
  recorded(collection: NotedCollection, document: Recorded): void
  /** Resolves when nothing is under way. */
  settled(): Promise<void>
}

/** @param storage as it is, without recording. */
export const createOutboxes = (storage: Storage, logs: EventLogs, log: Log): Outboxes => {
  const underWay = new Set<Promise<void>>()
  const handOn: HandOn = async (collection, document) => {
    const { outbox = [] } = document
    if (outbox.length === 0) return
    await logs.append(document.tenantId, outbox)
    await storage[collection].clearOutbox(document)
  }
  return {
    handOn,
    recorded: (collection, document) => {
      if (underWay.size >= MOST_UNDER_WAY) return
      const work: Promise<void> = handOn(collection, document)
        .catch((error: unknown) => {
          if (!(error instanceof AppError)) log.error({ err: error, collection, id: document._id }, 'events could not be handed on, and will be tried again')
        })
        .finally(() => underWay.delete(work))
      underWay.add(work)
    },
    settled: async () => {
      while (underWay.size > 0) await Promise.all(underWay)
    },
  }
}
