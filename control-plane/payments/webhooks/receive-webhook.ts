/**
 * A PSP's event: verified on the raw body, stored once per account and event id, and only then applied. What is stored
 * is never lost: whatever goes wrong later is tried again by the worker, or by an operator from the inbox.
 */

import { RateLimiterMemory } from 'rate-limiter-flexible'
import { defined } from '../../../common/defined.ts'
import { DAY_MS } from '../../../common/durations.ts'
import { AppError, isAppError } from '../../../common/errors.ts'
import { keys } from '../../keys.ts'
import type { Services } from '../../ports.ts'
import type { WebhookEvent } from '../../schemas/webhook-event.ts'
import { insertOrGet, update } from '../../storage/update.ts'
import { type TenantScope, tenantScope } from '../../tenant-scope.ts'
import { openAccount } from '../open-account.ts'
import type { Psp, PspEvent, WebhookRequest } from '../psp/psp.ts'

/** Longer than any provider sends an event again, so that none is applied twice; and they may name payers. */
const KEPT_DAYS = 30

const read = (psp: Psp, request: WebhookRequest): PspEvent[] => {
  try {
    return psp.readEvents(request)
  } catch (error) {
    if (isAppError(error)) throw error
    throw new AppError('invalid_request', 'the event cannot be read', [], { cause: error })
  }
}

export interface ReceivedWebhook {
  of: TenantScope
  events: WebhookEvent[]
}

const partsOf = ({ charge, refund, dispute }: PspEvent): Pick<WebhookEvent, 'charge' | 'refund' | 'dispute'> => defined({ charge, refund, dispute })

/** Anybody may send anything here: so many refusals a minute are told of, in one line each, of one account and in all. */
const [toldOfOne, toldOfAll] = [new RateLimiterMemory({ points: 5, duration: 60 }), new RateLimiterMemory({ points: 60, duration: 60 })]

/**
 * Whatever is wrong, the sender is told the same: who is not the provider does not learn which tenants and accounts there
 * are, or which of them can be used. The log says why.
 */
const refuse = async ({ log }: Services, tenantId: string, account: string, why: string): Promise<never> => {
  const isNews = await toldOfOne
    .consume(`${tenantId}/${account}`)
    .then(() => toldOfAll.consume('all'))
    .then(
      () => true,
      () => false,
    )
  if (isNews) log.warn({ tenantId, account, why }, 'a webhook was refused')
  throw new AppError('signature_invalid', 'the event is not for this account: its signature does not verify')
}

/** @throws AppError `signature_invalid` or `invalid_request`. */
export const receiveWebhook = async (services: Services, tenantId: string, accountId: string, request: WebhookRequest): Promise<ReceivedWebhook> => {
  const tenant = await services.storage.tenants.find(keys.tenant(tenantId))
  if (!tenant || tenant.ended) return refuse(services, tenantId, accountId, 'no such tenant')
  const of = tenantScope(services, tenant)
  const opened = await openAccount(of, accountId)
  if ('unusable' in opened) return refuse(services, tenantId, accountId, opened.unusable)
  try {
    await opened.psp.verifyWebhook(request)
  } catch (error) {
    // A provider that has to be asked and cannot be is no refusal.
    if (!isAppError(error, 'signature_invalid')) throw error
    const { cause } = error as Error
    return refuse(services, tenantId, accountId, cause instanceof Error ? cause.message : (error as Error).message)
  }
  const now = of.clock.now()
  const events = await Promise.all(
    read(opened.psp, request).map((event) =>
      insertOrGet(of.storage.webhookEvents, {
        _id: of.keys.webhookEvent(accountId, event.id),
        tenantId: tenant.tenantId,
        createdAt: now,
        account: accountId,
        eventId: event.id,
        type: event.type,
        status: 'received',
        rawBody: request.rawBody,
        ...partsOf(event),
        expiresAt: new Date(now.getTime() + (of.webhookEventDays ?? KEPT_DAYS) * DAY_MS),
        repairAt: of.repairAt(),
      }),
    ),
  )
  return { of, events }
}

/**
 * Reads a stored event anew, with what this version of its adapter understands, and makes it due to be applied.
 * @throws AppError `not_found` or `not_allowed_in_state`; what `check` throws.
 */
export const replayEvent = async (of: TenantScope, accountId: string, eventId: string, check: (event: WebhookEvent) => void): Promise<WebhookEvent> => {
  const opened = await openAccount(of, accountId)
  if ('unusable' in opened) throw new AppError('not_allowed_in_state', `the PSP account cannot be used: ${opened.unusable}`)
  return update(of.storage.webhookEvents, of.keys.webhookEvent(accountId, eventId), (stored) => {
    check(stored)
    if (stored.rawBody === undefined)
      throw new AppError('not_allowed_in_state', 'what the event said was erased with its customer: there is nothing left to read anew')
    const request = { headers: { 'webhook-id': stored.eventId }, query: {}, rawBody: stored.rawBody }
    const event = read(opened.psp, request).find(({ id }) => id === stored.eventId)
    if (!event) throw new AppError('not_allowed_in_state', 'the stored body no longer contains this event')
    const { why: _, appliedAt: __, charge: ___, refund: ____, dispute: _____, ...kept } = stored
    return { ...kept, ...partsOf(event), type: event.type, status: 'received', replays: (stored.replays ?? 0) + 1, repairAt: of.repairAt() }
  })
}
