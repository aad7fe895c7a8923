/** The record of each event's way to each endpoint. */
import { DAY_MS } from '../../../common/durations.ts'
import { isAppError } from '../../../common/errors.ts'
import { derivedId } from '../../keys.ts'
import type { LoggedEvent } from '../../schemas/event.ts'
import type { WebhookDelivery } from '../../schemas/webhook-delivery.ts'
import type { WebhookEndpoint } from '../../schemas/webhook-endpoint.ts'
import { update } from '../../storage/update.ts'
import type { TenantScope } from '../../tenant-scope.ts'
import { matches } from '../event-types.ts'
import { nextTryAt, TRIED_FOR_MS } from './schedule.ts'
import type { Sent } from './send.ts'

const KEPT_FOR_MS = 30 * DAY_MS
/** Of one delivery: a replay may add to them for as long as it is kept. */
const MOST_ATTEMPTS = 30

/** Stands for the subject of an event. */
export const subjectKeyOf = ({ tenantId, subject }: Pick<LoggedEvent, 'tenantId' | 'subject'>): string => derivedId('subject', tenantId, subject)

interface Place {
  endpointId: string
  event: LoggedEvent
}

/** A delivery of which nothing was tried yet. */
export const begunDelivery = (of: TenantScope, { endpointId, event }: Place): Omit<WebhookDelivery, 'revision' | 'updatedAt' | 'schemaVersion'> => {
  const now = of.clock.now()
  return {
    _id: of.keys.webhookDelivery(endpointId, event.id),
    tenantId: of.tenantId,
    endpointId,
    eventId: event.id,
    type: event.type,
    subjectKey: subjectKeyOf(event),
    position: event.position,
    status: 'waiting',
    attempts: [],
    tries: 0,
    createdAt: now,
    giveUpAt: new Date(now.getTime() + TRIED_FOR_MS),
    expiresAt: new Date(now.getTime() + KEPT_FOR_MS),
  }
}

/** The event is of a type, and of a storefront, that the endpoint asks for. */
export const isWantedBy = ({ types, storefrontIds }: WebhookEndpoint, { type, storefrontId }: LoggedEvent): boolean =>
  matches(types, type) && (!storefrontIds || (storefrontId !== undefined && storefrontIds.includes(storefrontId)))

const withAttempt = <D extends Pick<WebhookDelivery, 'attempts' | 'tries' | 'giveUpAt' | 'status'> & { dueAt?: Date }>(
  of: TenantScope,
  delivery: D,
  url: string,
  at: Date,
  sent: Sent,
): D => {
  const { outcome, status, answer, durationMs, error, retryAfterMs } = sent
  const attempts = [
    ...delivery.attempts,
    {
      at,
      outcome,
      durationMs,
      ...(status === undefined ? {} : { status }),
      ...(answer === undefined ? {} : { answer }),
      ...(error === undefined ? {} : { error }),
    },
  ].slice(-MOST_ATTEMPTS)
  const tries = delivery.tries + 1
  const { dueAt: _, ...kept } = delivery
  const made = { ...kept, url, attempts, tries }
  if (outcome === 'delivered') return { ...made, status: 'delivered' } as unknown as D
  const dueAt = nextTryAt(tries, of.clock.now(), delivery.giveUpAt, retryAfterMs, Math.random())
  return (dueAt ? { ...made, status: 'retrying', dueAt } : { ...made, status: 'failed' }) as unknown as D
}

/** @returns the delivery, if there is one already. */
export const findDelivery = (of: TenantScope, { endpointId, event }: Place): Promise<WebhookDelivery | undefined> =>
  of.storage.webhookDeliveries.find(of.keys.webhookDelivery(endpointId, event.id))

/** Stores what became of an attempt. @param known undefined: the first. */
export const recordAttempt = async (
  of: TenantScope,
  place: Place,
  known: WebhookDelivery | undefined,
  { url, at, sent }: { url: string; at: Date; sent: Sent },
): Promise<WebhookDelivery> => {
  const { webhookDeliveries } = of.storage
  const first = begunDelivery(of, place)
  if (!known) {
    try {
      return await webhookDeliveries.insert(withAttempt(of, first, url, at, sent))
    } catch (error) {
      if (!isAppError(error, 'already_exists')) throw error
    }
  }
  return update(webhookDeliveries, first._id, (latest) => withAttempt(of, latest, url, at, sent), known)
}

/** Stores that an event waits for an earlier one of its subject. */
export const recordWaiting = async (of: TenantScope, place: Place): Promise<void> => {
  await of.storage.webhookDeliveries.insert(begunDelivery(of, place)).catch((error: unknown) => {
    if (!isAppError(error, 'already_exists')) throw error
  })
}

/** Stores that it waits for an earlier one, although it was to be tried. */
export const holdBack = async (of: TenantScope, { _id }: WebhookDelivery): Promise<void> => {
  await update(of.storage.webhookDeliveries, _id, ({ dueAt: _, ...latest }) => ({ ...latest, status: 'waiting' as const }))
}

/** Ends a delivery without another attempt. */
export const giveUp = (of: TenantScope, delivery: WebhookDelivery, error: string): Promise<WebhookDelivery> =>
  update(of.storage.webhookDeliveries, delivery._id, ({ dueAt: _, ...latest }) => {
    const attempt = { at: of.clock.now(), outcome: 'unreachable' as const, durationMs: 0, error }
    return { ...latest, status: 'failed', attempts: [...latest.attempts, attempt].slice(-MOST_ATTEMPTS) }
  })
