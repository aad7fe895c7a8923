/**
 * A PSP's event: verified, stored once per account and event id, then applied to its payment. Late, repeated and
 * out-of-order events are harmless, since an outcome is merged into the attempt and never replaces a success.
 */
import { AppError } from '../../common/errors.ts'
import { keys } from '../keys.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { WebhookEvent } from '../schemas/webhook-event.ts'
import { repairTime, type Services, tenantNow } from '../services.ts'
import { insertOrGet, update } from '../storage/update.ts'
import { loadAccounts } from './load-route.ts'
import { paymentIdOfAttempt, recordOutcome } from './payment-machine.ts'
import type { ChargeOutcome, WebhookRequest } from './psp/psp.ts'

/** @throws AppError `not_found`, `signature_invalid` or `invalid_request`. */
export const receiveWebhook = async (services: Services, tenant: Tenant, accountId: string, request: WebhookRequest): Promise<WebhookEvent> => {
  const [account] = await loadAccounts(services, tenant, [accountId])
  const opened = services.psps.open(tenant, accountId, account)
  if ('unusable' in opened) throw new AppError('not_found', 'no such PSP account')
  const event = opened.psp.readWebhook(request)
  const { tenantId } = tenant
  const { charge } = event
  return insertOrGet(services.storage.webhookEvents, {
    _id: keys.webhookEvent(tenantId, accountId, event.id),
    tenantId,
    createdAt: services.clock.now(),
    account: accountId,
    eventId: event.id,
    type: event.type,
    ...(charge ? { outcome: { paymentId: paymentIdOfAttempt(charge.reference), attemptId: charge.reference, ...charge.outcome } } : {}),
    repairAt: repairTime(services),
  })
}

/** @returns the id of the payment that it is about, if any; the caller takes that further. */
export const applyWebhook = async (services: Services, tenant: Tenant, event: WebhookEvent): Promise<string | undefined> => {
  const { outcome } = event
  if (!outcome || event.appliedAt) return undefined
  const { payments } = services.storage
  const id = keys.payment(tenant.tenantId, outcome.paymentId)
  const payment = await payments.find(id)
  const attempt = payment?.attempts.find((one) => one.id === outcome.attemptId)
  // Another account's event about this attempt would be a provider's mistake, or an attack with a valid signature.
  if (attempt?.account !== event.account) return undefined
  const { paymentId: _, attemptId, ...said } = outcome
  await update(payments, id, (latest) => recordOutcome(latest, attemptId, said as ChargeOutcome, tenantNow(services, tenant), repairTime(services)))
  return outcome.paymentId
}

/** The event's work is done, or there was none. */
export const markApplied = (services: Services, event: WebhookEvent): Promise<WebhookEvent> =>
  update(services.storage.webhookEvents, event._id, (latest) =>
    latest.appliedAt ? undefined : { ...latest, appliedAt: services.clock.now(), repairAt: undefined },
  )
