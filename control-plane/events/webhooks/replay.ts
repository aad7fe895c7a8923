/** Sends events again that an endpoint has had, or has missed. */
import { DAY_MS } from '../../../common/durations.ts'
import { AppError, isAppError } from '../../../common/errors.ts'
import type { LoggedEvent } from '../../schemas/event.ts'
import type { WebhookDelivery } from '../../schemas/webhook-delivery.ts'
import type { WebhookEndpoint } from '../../schemas/webhook-endpoint.ts'
import { every } from '../../storage/every.ts'
import { update } from '../../storage/update.ts'
import type { TenantScope } from '../../tenant-scope.ts'
import { begunDelivery, isWantedBy } from './deliveries.ts'
import { TRIED_FOR_MS } from './schedule.ts'

/** One call looks at so many events; the next goes on after them. */
const MOST_AT_ONCE = 1_000

const anew = (of: TenantScope, { status: _, ...delivery }: WebhookDelivery): WebhookDelivery => {
  const now = of.clock.now()
  const giveUpAt = new Date(now.getTime() + TRIED_FOR_MS)
  const expiresAt = new Date(Math.max(delivery.expiresAt.getTime(), giveUpAt.getTime() + DAY_MS))
  return { ...delivery, status: 'retrying', tries: 0, dueAt: now, giveUpAt, expiresAt }
}

const replayOne = async (of: TenantScope, endpoint: WebhookEndpoint, event: LoggedEvent): Promise<WebhookDelivery> => {
  const { webhookDeliveries } = of.storage
  const begun = begunDelivery(of, { endpointId: endpoint.id, event })
  try {
    return await webhookDeliveries.insert({ ...begun, status: 'retrying', dueAt: of.clock.now() })
  } catch (error) {
    if (!isAppError(error, 'already_exists')) throw error
    return update(webhookDeliveries, begun._id, (latest) => anew(of, latest))
  }
}

/** @throws AppError `not_allowed_in_state`. */
const mustBeEnabled = ({ id, enabled }: WebhookEndpoint): void => {
  if (!enabled) throw new AppError('not_allowed_in_state', `the endpoint ${id} is disabled; enable it first (PATCH with {"enabled": true})`)
}

/** @throws AppError `not_found` for an event that is not kept; `not_allowed_in_state`. */
export const replayDelivery = async (of: TenantScope, endpoint: WebhookEndpoint, eventId: string): Promise<WebhookDelivery> => {
  mustBeEnabled(endpoint)
  const event = await of.storage.loggedEvents.find(of.keys.loggedEvent(eventId))
  if (!event) throw new AppError('not_found', 'no such event; events are kept for EVENT_DAYS')
  const delivery = await replayOne(of, endpoint, event)
  await of.events.logs.nudge(of.tenantId)
  return delivery
}

export interface Replay {
  queued: number
  /** Where the next call goes on. Undefined: that was all. */
  next: number | undefined
}

/** Every event that was logged in `[from, to)` and that the endpoint wants. */
export const replayRange = async (of: TenantScope, endpoint: WebhookEndpoint, { from, to }: { from: Date; to: Date }, after: number): Promise<Replay> => {
  mustBeEnabled(endpoint)
  let [queued, upTo] = [0, after]
  let next: number | undefined
  for (let looked = 0; ; ) {
    const page = await of.events.logs.read(of.tenantId, upTo, 200)
    for (const event of page.events) {
      if (event.createdAt < from || event.createdAt >= to || !isWantedBy(endpoint, event)) continue
      await replayOne(of, endpoint, event)
      queued += 1
    }
    looked += page.events.length
    upTo = page.upTo
    const last = page.events.at(-1)
    if (!last || last.createdAt >= to || page.events.length < 200) break
    if (looked >= MOST_AT_ONCE) {
      next = upTo
      break
    }
  }
  await of.events.logs.nudge(of.tenantId)
  return { queued, next }
}

/** Every delivery that was given up. */
export const replayFailed = async (of: TenantScope, endpoint: WebhookEndpoint): Promise<Replay> => {
  mustBeEnabled(endpoint)
  let queued = 0
  for await (const { _id } of every(of.storage.webhookDeliveries, { tenantId: of.tenantId, endpointId: endpoint.id, status: 'failed' })) {
    await update(of.storage.webhookDeliveries, _id, (latest) => (latest.status === 'failed' ? anew(of, latest) : undefined))
    queued += 1
    if (queued >= MOST_AT_ONCE) break
  }
  // Always: a call that was cut off has queued some, and told nobody.
  await of.events.logs.nudge(of.tenantId)
  // What is queued is no longer `failed`: the next call finds the others.
  return { queued, next: queued >= MOST_AT_ONCE ? 0 : undefined }
}
