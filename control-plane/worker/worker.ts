/**
 * The process that nobody has to start: it looks for documents that are due, by index, and does their work. Any
 * number of control planes may run one: steps are compare-and-set, the first step is the claim, and all of them may
 * be repeated.
 *
 * Each kind of work is a lane of its own, and none waits for another's backlog: what a crash or a burst has left is
 * repaired while a million renewals are under way.
 */

import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { pMapIterable } from 'p-map'
import { HOUR_MS } from '../../common/durations.ts'
import { isAppError } from '../../common/errors.ts'
import { traced } from '../../common/tracing.ts'
import { removeExpiredBlocks } from '../audit/expire.ts'
import { noted } from '../events/noters/index.ts'
import type { Recorded } from '../events/record.ts'
import type { Services } from '../ports.ts'
import { every } from '../storage/every.ts'
import { type Backlog, expiring, readBacklog } from '../work/backlog.ts'
import { doWorkOfAny, type Repairable, repairable } from '../work/do-work.ts'
import { atOnce } from './at-once.ts'

/** Bounds what one look holds in memory; the next look follows at once while there is more. */
const BATCH = 200
/** While there is a backlog every tenant gets so many turns a round, so that none waits for another's to end. */
const SHARE = 20
/** Shares that are read ahead, so that the next tenant's is there when its turn comes. */
const SHARES_AHEAD = 8
/** Repairs of one collection at once: they mostly wait for storage. */
const REPAIRS_AT_ONCE = 16
/** PSPs are waited for most of the time. */
const DEFAULT_AT_ONCE = 128
/**
 * The lease on a document that is being worked on, before a sweeper takes it over. Nobody waits for an answer, and a slow
 * storage has hundreds in hand: a lease that runs out meanwhile makes each of them double work, and storage slower still.
 */
const LEASE_MS = 30_000
/** A document whose work fails is set aside this long, so that it cannot keep the others from theirs. */
const SET_ASIDE_MS = 60_000
/** Everything that is waited for ends by itself; what has not by now is told of, and its place is given to others. */
const WORK_WITHIN_MS = 5 * 60_000

/** The newest block of a quiet tenant stays past its time, and is come upon each time. */
const AUDIT_EVERY_MS = HOUR_MS

export interface Worker {
  /** Does everything that is due now, and resolves. Does not reject: what fails is logged and set aside. */
  runOnce(): Promise<void>
  /** The work that it has done since its start, by lane. */
  done(): ReadonlyMap<string, number>
  /** The documents whose work has failed since its start, by lane; one that fails again counts again. */
  failed(): ReadonlyMap<string, number>
  /** What is due now and has not been done, by any worker. @throws AppError `unavailable`. */
  backlog(): Promise<Backlog[]>
  /** Stops looking, and resolves when what runs is done. */
  stop(): Promise<void>
}

export interface WorkerOptions {
  pollMs: number
  /** The number of payments, and of subscriptions, that are worked on at once; 128 by default. */
  atOnce?: number
  /** False while the time cannot be believed, and nothing that is due by it may be done; always true by default. */
  mayBill?: () => boolean
}

interface Place {
  at: Date
  id: string
}

interface Work {
  _id: string
  dueAt?: Date
  repairAt?: Date
}

/** True for the collections that move with time, and charge. */
const isBusiness = (collection: Repairable): boolean => collection === 'payments' || collection === 'subscriptions'

interface Lane {
  name: string
  run(): Promise<void>
}

/** The items in an order that no other worker has too, so that two of them rarely reach for the same one. */
const shuffled = <T>(items: readonly T[]): T[] =>
  items
    .map((item) => ({ item, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item)

const placeOf = (document: Work | undefined, by: 'dueAt' | 'repairAt'): Place | undefined => document && { at: document[by] as Date, id: document._id }

/** Starts to look for due work, in all lanes at once; nothing that a document's work throws ends it. */
export const startWorker = (services: Services, options: WorkerOptions): Worker => {
  const { storage, clock, log, events } = services
  const { pollMs, mayBill = () => true } = options
  const patient: Services = { ...services, leaseMs: LEASE_MS }
  const businessAtOnce = options.atOnce ?? DEFAULT_AT_ONCE
  let stopping = false
  let auditAgainMs = 0
  /** Ids set aside, and until when. Kept in memory: after a restart each gets a fresh chance. */
  const setAside = new Map<string, number>()
  const counts = new Map<string, number>()
  const failures = new Map<string, number>()

  const attempt = async (lane: string, collection: Repairable, document: Work): Promise<void> => {
    const id = `${collection} ${document._id}`
    if (stopping || (setAside.get(id) ?? 0) > clock.nowMs()) return
    setAside.delete(id)
    // An embedded store answers at once, and requests wait for their turn too.
    await setImmediate()
    // The clock may have jumped since it was found.
    if (stopping || (isBusiness(collection) && !mayBill())) return
    const ended = new AbortController()
    const tooLong = sleep(WORK_WITHIN_MS, undefined, { ref: false, signal: ended.signal }).then(() => {
      throw new Error(`it has not ended within ${WORK_WITHIN_MS} ms`)
    })
    try {
      const work = traced({ name: `work ${lane}` }, () => doWorkOfAny(isBusiness(collection) ? patient : services, collection, document as never))
      // A roll-out over all subscribers takes as long as it takes, and renews its own lease.
      await (collection === 'bundles' ? work : Promise.race([work, tooLong]))
      counts.set(lane, (counts.get(lane) ?? 0) + 1)
    } catch (error) {
      if (isAppError(error, 'newer_version')) log.info({ collection, id: document._id }, 'work was left to a newer version of Tollgate')
      else {
        failures.set(lane, (failures.get(lane) ?? 0) + 1)
        log.error({ err: error, collection, id: document._id }, 'work failed, and was postponed')
      }
      setAside.set(id, clock.nowMs() + SET_ASIDE_MS)
    } finally {
      ended.abort()
      tooLong.catch(() => undefined)
    }
  }

  /** Each document that is to be repaired once, and past those that stay so. */
  const toRepair = async function* (collection: Repairable): AsyncGenerator<Work> {
    let after: Place | undefined
    do {
      const documents: Work[] = await storage[collection].due({ by: 'repairAt', until: clock.now(), limit: BATCH, after })
      yield* shuffled(documents)
      after = documents.length < BATCH ? undefined : placeOf(documents.at(-1), 'repairAt')
    } while (after && !stopping)
  }

  const liveTenants = async (): Promise<string[]> => {
    const ids: string[] = []
    for await (const { mode, tenantId, ended } of every(storage.tenants, {}, { leaveOutNewer: true })) if (mode === 'live' && !ended) ids.push(tenantId)
    return ids
  }

  /** A share of each tenant's, round after round, until none has more. Each is worked when it comes: few are held. */
  const inTurns = async function* (collection: 'payments' | 'subscriptions'): AsyncGenerator<Work> {
    let waiting = (await liveTenants()).map((tenantId): { tenantId: string; after: Place | undefined } => ({ tenantId, after: undefined }))
    const readShare = async ({ tenantId, after }: { tenantId: string; after: Place | undefined }) => {
      const documents: Work[] = await storage[collection].due({ by: 'dueAt', where: { clock: 'system', tenantId }, until: clock.now(), limit: SHARE, after })
      return { tenantId, documents }
    }
    while (waiting.length > 0 && !stopping) {
      const next: typeof waiting = []
      for await (const { tenantId, documents } of pMapIterable(waiting, readShare, { concurrency: SHARES_AHEAD, backpressure: SHARES_AHEAD })) {
        if (stopping || !mayBill()) return
        yield* shuffled(documents)
        if (documents.length === SHARE) next.push({ tenantId, after: placeOf(documents.at(-1), 'dueAt') })
      }
      waiting = next
    }
  }

  const dueNow = async function* (collection: 'payments' | 'subscriptions'): AsyncGenerator<Work> {
    const documents: Work[] = await storage[collection].due({ by: 'dueAt', where: { clock: 'system' }, until: clock.now(), limit: BATCH })
    if (documents.length === BATCH) yield* inTurns(collection)
    else yield* shuffled(documents)
  }

  const removeExpired = async (collection: (typeof expiring)[number]): Promise<void> => {
    let removed: number
    do {
      removed = 0
      const expired: { _id: string; revision: number }[] = await storage[collection].due({ by: 'expiresAt', until: clock.now(), limit: BATCH })
      const remove = async (document: { _id: string; revision: number }) => {
        await storage[collection].remove(document)
        removed += 1
      }
      // Another process may have removed it already; where nothing can be removed, the next look is soon enough.
      await atOnce(shuffled(expired), REPAIRS_AT_ONCE, (document) => remove(document).catch(() => undefined))
      if (expired.length < BATCH) return
    } while (removed > 0 && !stopping)
  }

  const lanes: Lane[] = [
    ...repairable.map((collection): Lane => {
      const name = `repair ${collection}`
      return { name, run: () => atOnce(toRepair(collection), REPAIRS_AT_ONCE, (document) => attempt(name, collection, document)) }
    }),
    ...(['payments', 'subscriptions'] as const).map((collection): Lane => {
      const run = async () => {
        if (mayBill()) await atOnce(dueNow(collection), businessAtOnce, (document) => attempt(collection, collection, document))
      }
      return { name: collection, run }
    }),
    ...noted.map((collection): Lane => {
      const name = `events ${collection}`
      const run = async () => {
        const documents = (await storage[collection].due({ by: 'outboxAt', until: clock.now(), limit: BATCH })) as Recorded[]
        await atOnce(shuffled(documents), REPAIRS_AT_ONCE, async (document) => {
          try {
            await events.handOn(collection, document)
            counts.set(name, (counts.get(name) ?? 0) + 1)
          } catch (error) {
            failures.set(name, (failures.get(name) ?? 0) + 1)
            log.error({ err: error, collection, id: document._id }, 'events could not be handed on, and will be tried again')
          }
        })
      }
      return { name, run }
    }),
    {
      name: 'notices',
      run: async () => {
        if (!mayBill()) return
        const documents: Work[] = await storage.subscriptions.due({ by: 'noticeAt', where: { clock: 'system' }, until: clock.now(), limit: BATCH })
        await atOnce(shuffled(documents), REPAIRS_AT_ONCE, (document) => attempt('notices', 'subscriptions', document))
      },
    },
    ...expiring.map((collection): Lane => {
      const run = async () => {
        if (mayBill()) await removeExpired(collection)
      }
      return { name: `expiry ${collection}`, run }
    }),
    {
      name: 'expiry auditBlocks',
      run: async () => {
        if (!mayBill() || clock.nowMs() < auditAgainMs) return
        auditAgainMs = clock.nowMs() + AUDIT_EVERY_MS
        await removeExpiredBlocks(services, () => !stopping)
      },
    },
  ]

  const look = async ({ name, run }: Lane): Promise<void> => {
    try {
      await run()
    } catch (error) {
      log.error({ err: error, lane: name }, 'the worker could not look for work')
    }
  }

  const running = new Map<Lane, Promise<void>>()
  const timers = new Map<Lane, NodeJS.Timeout>()
  const loop = (lane: Lane) => {
    running.set(
      lane,
      look(lane).then(() => {
        if (!stopping) timers.set(lane, setTimeout(loop, pollMs, lane))
      }),
    )
  }
  for (const lane of lanes) loop(lane)

  return {
    // In an order in which little is done twice.
    runOnce: async () => {
      for (const lane of lanes) await look(lane)
    },
    done: () => counts,
    failed: () => failures,
    backlog: () => readBacklog(storage, clock.now()),
    stop: async () => {
      stopping = true
      for (const timer of timers.values()) clearTimeout(timer)
      await Promise.all(running.values())
    },
  }
}
