/** Takes what is personal out of a tenant's log of events. */
import type { LoggedEvent } from '../schemas/event.ts'
import type { OutboxEvent } from '../schemas/schema.ts'
import { every } from '../storage/every.ts'
import { removeForGood, removeIfSame } from '../storage/remove.ts'
import { MAX_PAGE } from '../storage/storage.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { subjectPath } from './noters/noter.ts'

/** Receivers who have kept something of the customer need this one to know whom to forget; it goes with its time. */
const KEPT: LoggedEvent['type'] = 'customer.erased'

/** The document with nothing personal in the events that it still holds. @param as the pseudonym that they name instead. */
export const withErasedEvents = <D extends { outbox?: OutboxEvent[] }>(document: D, as?: string): D =>
  document.outbox
    ? { ...document, outbox: document.outbox.map((event) => ({ ...event, ...(as === undefined ? {} : { customerId: as }), data: { erased: true } })) }
    : document

/**
 * Takes the data out of a customer's events, and its id. Whatever its documents still hold has to be handed on before.
 * @param as the customer's pseudonym.
 */
export const eraseEvents = async (
  { storage, tenantId }: TenantScope,
  { storefrontId, customerId }: { storefrontId: string; customerId: string },
  as: string,
): Promise<void> => {
  const [own, pseudonymous] = [subjectPath('storefronts', storefrontId, 'customers', customerId), subjectPath('storefronts', storefrontId, 'customers', as)]
  const renamed = (subject: string): string => (subject === own || subject.startsWith(`${own}/`) ? `${pseudonymous}${subject.slice(own.length)}` : subject)
  for await (const { _id, type } of every(storage.loggedEvents, { tenantId, storefrontId, customerId })) {
    if (type === KEPT) continue
    await update(storage.loggedEvents, _id, (event) => ({ ...event, customerId: as, subject: renamed(event.subject), data: { erased: true } }))
  }
}

/** Removes a tenant's log. */
export const removeEvents = async ({ storage, tenantId, keys }: TenantScope): Promise<void> => {
  for (let above = 0; ; ) {
    const events = await storage.loggedEvents.after({ where: { tenantId }, above, limit: MAX_PAGE })
    for (const event of events) await removeIfSame(storage.loggedEvents, event)
    const last = events.at(-1)
    if (!last) break
    above = last.position
  }
  await removeForGood(storage.eventCursors, keys.eventCursors())
  await removeForGood(storage.eventLogs, keys.eventLog())
}
