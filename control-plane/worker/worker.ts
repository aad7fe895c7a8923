/**
 * The process that nobody has to start: it looks for documents that are due, by index, and does their work. Any
 * number of control planes may run one: steps are compare-and-set, the first step is the claim, and all of them may
 * be repeated.
 */

import { setImmediate } from 'node:timers/promises'
import pMap from 'p-map'
import type { Services } from '../services.ts'
import { every } from '../storage/every.ts'
import { doWork, type Repairable, repairable } from './work.ts'

/** Bounds what one look holds in memory; the next look follows at once while there is more. */
const BATCH = 200
/** While there is a backlog every tenant gets so many turns a round, so that none waits for another's to end. */
const SHARE = 20
/** PSPs are waited for most of the time; more at once would only wait for the one core that there is. */
const AT_ONCE = 16
/** A document whose work fails is set aside this long, so that it cannot keep the others from theirs. */
const SET_ASIDE_MS = 60_000

export interface Worker {
  /** Does everything that is due now, and resolves. Does not reject: what fails is logged and set aside. */
  runOnce(): Promise<void>
  /** Stops looking, and resolves when what runs is done. */
  stop(): Promise<void>
}

interface Place {
  at: Date
  id: string
}

interface Work {
  _id: string
  dueAt?: Date | null
  repairAt?: Date | null
}

export const startWorker = (services: Services, pollMs: number): Worker => {
  const { storage, clock, log } = services
  let stopping = false
  /** Ids set aside, and until when. Kept in memory: after a restart each gets a fresh chance. */
  const setAside = new Map<string, number>()

  const attempt = async (collection: Repairable, document: Work): Promise<void> => {
    const id = `${collection} ${document._id}`
    if (stopping || (setAside.get(id) ?? 0) > clock.nowMs()) return
    setAside.delete(id)
    // An embedded store answers at once, and requests wait for their turn too.
    await setImmediate()
    if (stopping) return
    try {
      await doWork(services, collection, document as never)
    } catch (error) {
      log.error({ err: error, collection, id: document._id }, 'work failed, and is set aside')
      setAside.set(id, clock.nowMs() + SET_ASIDE_MS)
    }
  }

  /** In no order that another worker has too, so that two of them rarely reach for the same one. */
  const attemptAll = (collection: Repairable, documents: Work[]) =>
    pMap(
      documents.map((document) => ({ document, order: Math.random() })).sort((a, b) => a.order - b.order),
      ({ document }) => attempt(collection, document),
      { concurrency: AT_ONCE },
    )

  const placeOf = (document: Work | undefined, by: 'dueAt' | 'repairAt'): Place | undefined => document && { at: document[by] as Date, id: document._id }

  /** Each document that is to be repaired once, and past those that stay so. */
  const repair = async (collection: Repairable): Promise<void> => {
    let after: Place | undefined
    do {
      const documents: Work[] = await storage[collection].due({ by: 'repairAt', until: clock.now(), limit: BATCH, after })
      await attemptAll(collection, documents)
      after = documents.length < BATCH ? undefined : placeOf(documents.at(-1), 'repairAt')
    } while (after && !stopping)
  }

  const tenantIds = async (): Promise<string[]> => {
    const ids: string[] = []
    for await (const { mode, tenantId } of every(storage.tenants, {})) if (mode === 'live') ids.push(tenantId)
    return ids
  }

  /** A share of each tenant's, round after round, until none has more. */
  const takeTurns = async (collection: 'payments' | 'subscriptions'): Promise<void> => {
    let waiting = (await tenantIds()).map((tenantId): { tenantId: string; after: Place | undefined } => ({ tenantId, after: undefined }))
    while (waiting.length > 0 && !stopping) {
      const shares = await pMap(
        waiting,
        async ({ tenantId, after }): Promise<{ tenantId: string; documents: Work[] }> => ({
          tenantId,
          documents: await storage[collection].due({ by: 'dueAt', where: { clock: 'system', tenantId }, until: clock.now(), limit: SHARE, after }),
        }),
        { concurrency: AT_ONCE },
      )
      await attemptAll(
        collection,
        shares.flatMap(({ documents }) => documents),
      )
      waiting = shares
        .filter(({ documents }) => documents.length === SHARE)
        .map(({ tenantId, documents }) => ({ tenantId, after: placeOf(documents.at(-1), 'dueAt') }))
    }
  }

  const doBusiness = async (collection: 'payments' | 'subscriptions'): Promise<void> => {
    const documents = await storage[collection].due({ by: 'dueAt', where: { clock: 'system' }, until: clock.now(), limit: BATCH })
    if (documents.length === BATCH) await takeTurns(collection)
    else await attemptAll(collection, documents)
  }

  const removeExpired = async (): Promise<void> => {
    for (const collection of ['idempotencyRecords', 'webhookEvents'] as const) {
      const expired = await storage[collection].due({ by: 'expiresAt', until: clock.now(), limit: BATCH })
      // Another process may have removed it already.
      for (const document of expired) await storage[collection].remove(document).catch(() => undefined)
    }
  }

  const runOnce = async (): Promise<void> => {
    try {
      for (const collection of repairable) await repair(collection)
      for (const collection of ['payments', 'subscriptions'] as const) await doBusiness(collection)
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
