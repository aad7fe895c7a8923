/**
 * The process that nobody has to start: it looks for documents that are due, by index, and does their work. Any
 * number of control planes may run one; steps are compare-and-set and may be repeated, so two that find the same
 * document cost time and nothing else.
 */
import type { Services } from '../services.ts'
import { doWork, type Repairable, repairable } from './work.ts'

/** Bounds what one look holds in memory; the next look follows at once while there is more. */
const BATCH = 100
/** A document whose work fails is set aside this long, so that it cannot keep the others from theirs. */
const SET_ASIDE_MS = 60_000

export interface Worker {
  /** Does everything that is due now, and resolves. Does not reject: what fails is logged and set aside. */
  runOnce(): Promise<void>
  /** Stops looking, and resolves when what runs is done. */
  stop(): Promise<void>
}

export const startWorker = (services: Services, pollMs: number): Worker => {
  const { storage, clock, log } = services
  let stopping = false
  /** Ids set aside, and until when. Kept in memory: after a restart each gets a fresh chance. */
  const setAside = new Map<string, number>()

  const attempt = async (collection: Repairable, document: { _id: string }): Promise<void> => {
    const id = `${collection} ${document._id}`
    if ((setAside.get(id) ?? 0) > clock.nowMs()) return
    setAside.delete(id)
    try {
      await doWork(services, collection, document as never)
    } catch (error) {
      log.error({ err: error, collection, id: document._id }, 'work failed, and is set aside')
      setAside.set(id, clock.nowMs() + SET_ASIDE_MS)
    }
  }

  /** A batch of nothing but documents set aside has to be looked past, so the batch grows by their number. */
  const batchSize = () => Math.min(BATCH + setAside.size, 500)

  const drain = async (collection: Repairable, find: () => Promise<{ _id: string }[]>): Promise<void> => {
    let before: string | undefined
    while (!stopping) {
      const documents = await find()
      const seen = documents.map(({ _id }) => _id).join('\n')
      // The same batch again: what is left waits for something else, or is set aside.
      if (documents.length === 0 || seen === before) return
      before = seen
      for (const document of documents) {
        if (stopping) return
        await attempt(collection, document)
      }
      if (documents.length < BATCH) return
    }
  }

  const removeExpired = async (): Promise<void> => {
    const records = await storage.idempotencyRecords.due({ by: 'expiresAt', until: clock.now(), limit: BATCH })
    // Another process may have removed it already.
    for (const record of records) await storage.idempotencyRecords.remove(record).catch(() => undefined)
  }

  const runOnce = async (): Promise<void> => {
    try {
      for (const collection of repairable) {
        await drain(collection, () => storage[collection].due({ by: 'repairAt', until: clock.now(), limit: batchSize() }))
      }
      for (const collection of ['payments', 'subscriptions'] as const) {
        await drain(collection, () => storage[collection].due({ by: 'dueAt', where: { clock: 'system' }, until: clock.now(), limit: batchSize() }))
      }
      await removeExpired()
    } catch (error) {
      log.error({ err: error }, 'the worker could not look for work')
    }
  }

  let running: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined
  const loop = () => {
    running = runOnce().then(() => {
      if (!stopping) timer = setTimeout(loop, pollMs)
    })
  }
  loop()

  return {
    runOnce,
    stop: async () => {
      stopping = true
      clearTimeout(timer)
      await running
    },
  }
}
