/**
 * Takes a payment as far as it can go now: attempt after attempt over the accounts and methods that are allowed,
 * captures, and refunds that are due. Each step is stored before the next is taken, so whoever calls this again goes
 * on where it stopped.
 */
import { AppError, isAppError } from '../../common/errors.ts'
import { keys } from '../keys.ts'
import type { Attempt, Payment, Refund } from '../schemas/payment.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { attemptRepairTime, repairTime, type Services, tenantNow } from '../services.ts'
import { update } from '../storage/update.ts'
import { askForCapture, fail, recordInquiry, recordNeverArrived, recordOutcome, startAttempt } from './machine/attempts.ts'
import { methodsFor, nextAttempt, nextStep } from './machine/next-attempt.ts'
import { dueRefund, isBeyond, recordRefund, refundReference } from './machine/refunds.ts'
import { isOpen } from './machine/state.ts'
import type { Opened } from './psp/directory.ts'
import type { ChargeName, ChargeOutcome, InquiryOutcome, Psp, RefundOutcome, RefundRequest } from './psp/psp.ts'
import { loadParties, loadRoutableAccounts, openAccount, type PaymentParties, routeOf } from './routing/load-route.ts'
import { tokenFor } from './routing/route-payment.ts'

/** One attempt an account and a few lost races; more steps than this on one payment is a fault. */
const MAX_STEPS = 200

/** @returns the payment at rest: final, waiting for an outcome, or waiting for a new payment method. */
export const collectPayment = async (services: Services, tenant: Tenant, payment: Payment): Promise<Payment> => {
  const { payments } = services.storage
  let current = await makeRefunds(services, tenant, payment)
  for (let steps = 0; steps < MAX_STEPS; steps += 1) {
    const step = nextStep(current)
    if (step.kind === 'nothing') return current
    try {
      current = step.kind === 'attempt' ? await makeAttempt(services, tenant, current) : await askPspTo(services, tenant, current, step.kind, step.attempt)
    } catch (error) {
      // Someone else took the step; look again at what there is to do.
      if (!isAppError(error, 'revision_conflict')) throw error
      current = await payments.get(current._id)
    }
  }
  throw new Error(`payment ${payment.id} does not come to rest`)
}

const makeAttempt = async (services: Services, tenant: Tenant, payment: Payment): Promise<Payment> => {
  const { payments } = services.storage
  const parties = await loadParties(services, tenant, payment)
  const accounts = await loadRoutableAccounts(services, tenant, parties.storefront)
  const now = tenantNow(services, tenant)
  const methods = methodsFor(payment, parties.customer.paymentMethods, parties.storefront.billing.tryOtherMethods === true, now)
  const routed = methods.map((method) => ({ method, ...routeOf(payment, parties, accounts, method) }))
  const next = nextAttempt(payment, routed, parties.storefront.billing, now)
  if ('none' in next) return payments.replace(fail(payment, next.none, repairTime(services)))
  const opened = await openAccount(services, tenant, next.account)
  const wait = 'psp' in opened ? opened.timeoutMs : 0
  const starting = startAttempt(payment, next.account, next.method.id, next.route, now, attemptRepairTime(services, wait))
  if (next.circuitOpen) {
    const attempt = starting.attempts.at(-1) as Attempt
    const unsent = { status: 'not_sent', pspCode: 'circuit_open' } as const
    return payments.replace(recordOutcome(starting, attempt.id, unsent, now, repairTime(services)) ?? starting)
  }
  const started = await payments.replace(starting)
  const attempt = started.attempts.at(-1) as Attempt
  const outcome = (await charge(opened, parties, started, attempt)) ?? ({ status: 'not_sent', pspCode: 'account_or_token_removed' } as const)
  return store(services, tenant, started, attempt.id, outcome)
}

const store = (services: Services, tenant: Tenant, payment: Payment, attemptId: string, outcome: ChargeOutcome): Promise<Payment> =>
  update(
    services.storage.payments,
    payment._id,
    (latest) => recordOutcome(latest, attemptId, outcome, tenantNow(services, tenant), repairTime(services)),
    payment,
  )

/** Renewals are made without the customer. */
const isOffSession = ({ subscriptionId, seq }: Payment): boolean => Boolean(subscriptionId) && (seq ?? 0) > 0

/**
 * Under the attempt's id, which the PSP knows as idempotency key: made twice, it charges once.
 * @returns undefined when the account or the token is there no more, and so nothing was sent by this call.
 */
const charge = async (opened: Opened, { customer }: PaymentParties, payment: Payment, attempt: Attempt): Promise<ChargeOutcome | undefined> => {
  const method = customer.paymentMethods.find(({ id }) => id === attempt.paymentMethodId)
  const token = method && tokenFor(method, attempt.account)
  if (!token || 'unusable' in opened) return undefined
  const { psp, circuit, capture } = opened
  const order = {
    reference: attempt.id,
    amountMinor: payment.amountMinor,
    currency: payment.currency,
    token,
    capture,
    offSession: isOffSession(payment),
    ...(payment.description ? { description: payment.description } : {}),
  }
  return circuit ? circuit.run(() => psp.charge(order)) : psp.charge(order)
}

const nameOf = (payment: Payment, attempt: Attempt): ChargeName => ({
  reference: attempt.id,
  pspReference: attempt.pspReference ?? undefined,
  amountMinor: payment.amountMinor,
  currency: payment.currency,
})

const unknown = (pspCode: string) => ({ status: 'unknown', pspCode }) as const

/** Takes the money that an attempt has authorized, or lets it go. */
const askPspTo = async (services: Services, tenant: Tenant, payment: Payment, what: 'capture' | 'release', attempt: Attempt): Promise<Payment> => {
  const opened = await openAccount(services, tenant, attempt.account)
  const wait = 'psp' in opened ? opened.timeoutMs : 0
  const asked = await services.storage.payments.replace(askForCapture(payment, attempt.id, tenantNow(services, tenant), attemptRepairTime(services, wait)))
  const outcome = 'psp' in opened ? await opened.psp[what](`${attempt.id}-${what}`, nameOf(payment, attempt)) : unknown('account_unusable')
  return store(services, tenant, asked, attempt.id, outcome)
}

/** Whether the same charge, sent again, can only bring the first one's outcome. */
const maySendAgain = (found: InquiryOutcome, psp: Psp, attempt: Attempt, now: Date): boolean =>
  found.status === 'not_found' || (found.status === 'cannot_tell' && now.getTime() - attempt.at.getTime() < psp.idempotencyMs)

/**
 * Asks the PSP what became of an attempt that has no final outcome. If the PSP never saw it, or cannot be asked, the
 * same attempt is sent again under the same reference, which is harmless even when the first one is still on its way;
 * unless nobody wants it any more.
 */
export const resolveAttempt = async (services: Services, tenant: Tenant, payment: Payment, attempt: Attempt): Promise<Payment> => {
  const { payments } = services.storage
  const opened = await openAccount(services, tenant, attempt.account)
  const found: InquiryOutcome = 'psp' in opened ? await opened.psp.inquire(nameOf(payment, attempt)) : unknown('account_unusable')
  const now = tenantNow(services, tenant)
  if (found.status === 'authorized' && 'psp' in opened) {
    const what = payment.abandoned || payment.status === 'succeeded' ? 'release' : 'capture'
    await store(services, tenant, payment, attempt.id, found)
    await store(
      services,
      tenant,
      payment,
      attempt.id,
      await opened.psp[what](`${attempt.id}-${what}`, nameOf(payment, { ...attempt, pspReference: found.pspReference })),
    )
  } else if (found.status !== 'not_found' && found.status !== 'cannot_tell') await store(services, tenant, payment, attempt.id, found)
  else if (payment.abandoned) {
    await update(
      payments,
      payment._id,
      (latest) =>
        // Only a provider that can be asked can say that it has never seen it.
        (found.status === 'not_found' ? recordNeverArrived(latest, attempt.id, now, repairTime(services)) : undefined) ??
        recordOutcome(latest, attempt.id, unknown('not_seen_yet'), now, repairTime(services)),
    )
  } else if ('psp' in opened && attempt.pspReference == null && maySendAgain(found, opened.psp, attempt, now)) {
    // That nothing could be sent now says nothing of what was sent before.
    const again = (await charge(opened, await loadParties(services, tenant, payment), payment, attempt)) ?? unknown('account_or_token_removed')
    await store(services, tenant, payment, attempt.id, again.status === 'not_sent' ? unknown(again.pspCode) : again)
  } else await store(services, tenant, payment, attempt.id, unknown('cannot_be_asked'))
  // What a crash left as sent is as good as sent now: its inquiries begin.
  if (attempt.status === 'sent') return payments.get(payment._id)
  return update(payments, payment._id, (latest) => recordInquiry(latest, attempt.id, now, repairTime(services)))
}

/** The refund is made, or asked about where making it again might give the money back twice. */
const refundOrInquire = async (psp: Psp, refund: Refund, request: RefundRequest, now: Date): Promise<RefundOutcome> => {
  if (refund.status === 'due' && !isBeyond(refund, psp.idempotencyMs, now)) return psp.refund(request)
  const found = await psp.inquireRefund(request)
  switch (found.status) {
    case 'not_found':
      return psp.refund(request)
    case 'cannot_tell':
      // Only a webhook can.
      return { status: 'pending' }
    default:
      return found
  }
}

/**
 * The customer has come back from where they had to act: what they bring is handed to the provider, and what became of
 * the attempt is asked for at once.
 * @throws AppError `not_found`.
 */
export const completeAttempt = async (
  services: Services,
  tenant: Tenant,
  paymentId: string,
  attemptId: string,
  details: Record<string, string>,
): Promise<Payment> => {
  const payment = await services.storage.payments.get(keys.payment(tenant.tenantId, paymentId))
  const attempt = payment.attempts.find(({ id }) => id === attemptId)
  if (!attempt) throw new AppError('not_found', 'the payment has no such attempt')
  if (!isOpen(attempt)) return payment
  const opened = await openAccount(services, tenant, attempt.account)
  const outcome = 'psp' in opened ? await opened.psp.complete(nameOf(payment, attempt), details) : unknown('account_unusable')
  return store(services, tenant, payment, attempt.id, outcome)
}

/** Makes every refund that is due now, and asks about those that were only accepted. */
export const makeRefunds = async (services: Services, tenant: Tenant, payment: Payment): Promise<Payment> => {
  let current = payment
  for (;;) {
    const now = tenantNow(services, tenant)
    const refund = dueRefund(current, now)
    if (!refund) return current
    const attempt = current.attempts.find(({ id }) => id === refund.attemptId)
    if (!attempt) throw new Error(`payment ${payment.id} has a refund of no attempt`)
    const opened = await openAccount(services, tenant, attempt.account)
    const reference = refundReference(refund)
    const request = { reference, charge: nameOf(current, attempt), amountMinor: refund.amountMinor }
    const outcome = 'psp' in opened ? await refundOrInquire(opened.psp, refund, request, now) : unknown('account_unusable')
    if (outcome.status === 'failed') {
      const { tenantId, id: paymentId } = payment
      services.log.error({ tenantId, paymentId, refundId: refund.id, pspCode: outcome.pspCode }, 'a refund was refused')
    }
    current = await update(services.storage.payments, payment._id, (latest) =>
      recordRefund(latest, reference, outcome, tenantNow(services, tenant), repairTime(services)),
    )
  }
}
