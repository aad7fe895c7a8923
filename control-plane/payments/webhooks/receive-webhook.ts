/**
 * A PSP's event: verified on the raw body, stored once per account and event id, and only then applied. What is stored
 * is never lost: whatever goes wrong later is tried again by the worker, or by an operator from the inbox.
 */
import { AppError, isAppError } from '../../../common/errors.ts'
import { keys } from '../../keys.ts'
import type { Tenant } from '../../schemas/tenant.ts'
import type { WebhookEvent } from '../../schemas/webhook-event.ts'
import { repairTime, type Services } from '../../services.ts'
import { insertOrGet, update } from '../../storage/update.ts'
import type { Psp, PspEvent, WebhookRequest } from '../psp/psp.ts'
import { openAccount } from '../routing/load-route.ts'

/** Longer than any provider sends an event again, so that none is applied twice; and bounds what is kept. */
const KEPT_FOR_MS = 90 * 24 * 3_600_000

const read = (psp: Psp, request: WebhookRequest): PspEvent[] => {
  try {
    return psp.readEvents(request)
  } catch (error) {
    if (isAppError(error)) throw error
    throw new AppError('invalid_request', 'the event cannot be read', [], { cause: error })
  }
}

const partsOf = ({ charge, refund, dispute }: PspEvent): Pick<WebhookEvent, 'charge' | 'refund' | 'dispute'> => ({ charge, refund, dispute })

/** @throws AppError `not_found`, `signature_invalid` or `invalid_request`. */
export const receiveWebhook = async (services: Services, tenant: Tenant, accountId: string, request: WebhookRequest): Promise<WebhookEvent[]> => {
  const opened = await openAccount(services, tenant, accountId)
  if ('unusable' in opened) {
    if (opened.unusable === 'no such account') throw new AppError('not_found', 'no such PSP account')
    services.log.warn({ tenantId: tenant.tenantId, account: accountId, why: opened.unusable }, 'a webhook came for a PSP account that cannot be used')
    throw new AppError('unavailable', 'the PSP account cannot be used at present; send the event again later')
  }
  try {
    await opened.psp.verifyWebhook(request)
  } catch (error) {
    services.log.warn({ tenantId: tenant.tenantId, account: accountId, err: error }, 'a webhook was refused: its signature does not verify')
    throw error
  }
  const now = services.clock.now()
  return Promise.all(
    read(opened.psp, request).map((event) =>
      insertOrGet(services.storage.webhookEvents, {
        _id: keys.webhookEvent(tenant.tenantId, accountId, event.id),
        tenantId: tenant.tenantId,
        createdAt: now,
        account: accountId,
        eventId: event.id,
        type: event.type,
        status: 'received',
        rawBody: request.rawBody,
        ...partsOf(event),
        expiresAt: new Date(now.getTime() + KEPT_FOR_MS),
        repairAt: repairTime(services),
      }),
    ),
  )
}

/**
 * Reads a stored event anew, with what this version of its adapter understands, and makes it due to be applied.
 * @throws AppError `not_found` or `not_allowed_in_state`; what `check` throws.
 */
export const replayEvent = async (
  services: Services,
  tenant: Tenant,
  accountId: string,
  eventId: string,
  check: (event: WebhookEvent) => void,
): Promise<WebhookEvent> => {
  const opened = await openAccount(services, tenant, accountId)
  if ('unusable' in opened) throw new AppError('not_allowed_in_state', `the PSP account cannot be used: ${opened.unusable}`)
  return update(services.storage.webhookEvents, keys.webhookEvent(tenant.tenantId, accountId, eventId), (stored) => {
    check(stored)
    if (stored.rawBody === undefined || stored.rawBody === null)
      throw new AppError('not_allowed_in_state', 'what the event said was erased with its customer: there is nothing left to read anew')
    const request = { headers: { 'webhook-id': stored.eventId }, query: {}, rawBody: stored.rawBody }
    const event = read(opened.psp, request).find(({ id }) => id === stored.eventId)
    if (!event) throw new AppError('not_allowed_in_state', 'the stored body does not hold this event any more')
    const { why: _, appliedAt: __, ...kept } = stored
    return { ...kept, ...partsOf(event), type: event.type, status: 'received', replays: (stored.replays ?? 0) + 1, repairAt: repairTime(services) }
  })
}
