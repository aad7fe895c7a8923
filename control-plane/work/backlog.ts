/** What is due and has not been done: how far behind the workers of an installation are, whichever process asks. */
import { type NotedCollection, noted } from '../events/noters/index.ts'
import { type DueQuery, MAX_PAGE, type Storage } from '../storage/storage.ts'
import { type Repairable, repairable } from './do-work.ts'

/** Collections whose documents are removed when they are past their time. */
export const expiring = ['idempotencyRecords', 'webhookEvents', 'sessions', 'countedReports', 'usageMonths', 'loggedEvents', 'webhookDeliveries'] as const

export interface Backlog {
  /** As the worker calls it. */
  lane: string
  /** Documents that are due, counted up to `MAX_PAGE`: whether there are more makes no difference to what has to be done. */
  due: number
  /** Since when the oldest of them has been due; undefined: there is none. */
  oldest: Date | undefined
}

type Due = Partial<Record<DueQuery['by'], Date>>

interface Kind extends Pick<DueQuery, 'by' | 'where'> {
  lane: string
  collection: Repairable | NotedCollection | (typeof expiring)[number]
}

/** Sandboxes are left out of the business: their own clocks move it. */
const kinds: readonly Kind[] = [
  ...repairable.map((collection): Kind => ({ lane: `repair ${collection}`, collection, by: 'repairAt' })),
  ...(['payments', 'subscriptions'] as const).map((collection): Kind => ({ lane: collection, collection, by: 'dueAt', where: { clock: 'system' } })),
  ...noted.map((collection): Kind => ({ lane: `events ${collection}`, collection, by: 'outboxAt' })),
  ...expiring.map((collection): Kind => ({ lane: `expiry ${collection}`, collection, by: 'expiresAt' })),
]

/** @throws AppError `unavailable`. */
export const readBacklog = (storage: Storage, now: Date): Promise<Backlog[]> =>
  Promise.all(
    kinds.map(async ({ lane, collection, by, where }) => {
      const documents: Due[] = await storage[collection].due({
        by,
        ...(where ? { where } : {}),
        until: now,
        limit: MAX_PAGE,
      })
      return { lane, due: documents.length, oldest: documents[0]?.[by] }
    }),
  )
