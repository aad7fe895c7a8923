import type { Subscription } from '../schemas/subscription.ts'
import { insertOrGet } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'

/** Large enough that handing on is rare, small enough that a subscription is quick to write. */
const CHUNK = 40

export const isTimeToArchive = ({ events }: Subscription): boolean => events.length >= CHUNK

/** Stores the oldest chunk, under an id that a repeat computes again. @returns the subscription without it, not stored. */
export const archiveEvents = async (of: TenantScope, subscription: Subscription): Promise<Subscription> => {
  const { tenantId, id: subscriptionId } = subscription
  const events = subscription.events.slice(0, CHUNK)
  const [first] = events
  if (!first) return subscription
  await insertOrGet(of.storage.eventChunks, {
    _id: of.keys.eventChunk(subscriptionId, first.seq),
    tenantId,
    subscriptionId,
    events,
    createdAt: first.at,
  })
  return { ...subscription, events: subscription.events.slice(CHUNK) }
}
