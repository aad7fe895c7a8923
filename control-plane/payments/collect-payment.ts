/**
 * Takes a payment as far as it can go now: attempt after attempt over the accounts that routing allows, and refunds
 * that are due. Each step is stored before the next is taken, so whoever calls this again goes on where it stopped.
 */
import { isAppError } from '../../common/errors.ts'
import { keys } from '../keys.ts'
import type { Payment } from '../schemas/payment.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { attemptRepairTime, repairTime, type Services, tenantNow } from '../services.ts'
import { update } from '../storage/update.ts'
import { loadAccounts, routeFor } from './load-route.ts'
import { cancel, dueRefund, fail, nextAccount, nextStep, openAttempt, recordInquiry, recordOutcome, recordRefund, startAttempt } from './payment-machine.ts'
import type { ChargeOutcome, Psp } from './psp/psp.ts'
import { tokenFor } from './route-payment.ts'

/** One attempt an account and a few lost races; more steps than this on one payment is a fault. */
const MAX_STEPS = 200

/** @returns the payment at rest: final, waiting for an outcome, or waiting for a new payment method. */
export const collectPayment = async (services: Services, tenant: Tenant, paymentId: string): Promise<Payment> => {
  const { payments } = services.storage
  const id = keys.payment(tenant.tenantId, paymentId)
  for (let steps = 0; steps < MAX_STEPS; steps += 1) {
    const payment = await payments.get(id)
    const refund = dueRefund(payment)
    if (refund && (payment.dueAt ?? new Date(0)) <= tenantNow(services, tenant)) {
      await makeRefund(services, tenant, payment, refund.id)
      continue
    }
    try {
      const step = nextStep(payment)
      if (step === 'nothing') return payment
      if (step === 'cancel') await payments.replace(cancel(payment))
      else await makeAttempt(services, tenant, payment)
    } catch (error) {
      // Someone else took the step; look again at what there is to do.
      if (!isAppError(error, 'revision_conflict')) throw error
    }
  }
  throw new Error(`payment ${paymentId} does not come to rest`)
}

const makeAttempt = async (services: Services, tenant: Tenant, payment: Payment): Promise<void> => {
  const { payments } = services.storage
  const { route, method } = await routeFor(services, tenant, payment)
  const account = method && nextAccount(payment, route)
  if (!method || !account) {
    await payments.replace(fail(payment, repairTime(services)))
    return
  }
  const now = tenantNow(services, tenant)
  const started = await payments.replace(startAttempt(payment, account, method.id, route, now, attemptRepairTime(services)))
  const attempt = started.attempts.at(-1)
  if (!attempt) throw new Error('an attempt was started and is not there')
  const outcome = (await charge(services, tenant, started, attempt.id)) ?? ({ status: 'not_sent', pspCode: 'account_or_token_removed' } as const)
  await store(services, tenant, started, attempt.id, outcome)
}

const store = (services: Services, tenant: Tenant, payment: Payment, attemptId: string, outcome: ChargeOutcome): Promise<Payment> =>
  update(services.storage.payments, payment._id, (latest) => recordOutcome(latest, attemptId, outcome, tenantNow(services, tenant), repairTime(services)))

/**
 * Under the attempt's id, which the PSP knows as idempotency key: made twice, it charges once.
 * @returns undefined when the account or the token is there no more, and so nothing was sent by this call.
 */
const charge = async (services: Services, tenant: Tenant, payment: Payment, attemptId: string): Promise<ChargeOutcome | undefined> => {
  const attempt = payment.attempts.find(({ id }) => id === attemptId)
  const { method } = await routeFor(services, tenant, payment, attempt?.paymentMethodId)
  const token = attempt && method && tokenFor(method, attempt.account)
  const psp = attempt && (await openPsp(services, tenant, attempt.account))
  if (!token || !psp) return undefined
  return psp.charge({
    reference: attemptId,
    amountMinor: payment.amountMinor,
    currency: payment.currency,
    token,
    ...(payment.description ? { description: payment.description } : {}),
  })
}

const openPsp = async (services: Services, tenant: Tenant, account: string): Promise<Psp | undefined> => {
  const [stored] = await loadAccounts(services, tenant, [account])
  const opened = services.psps.open(tenant, account, stored)
  return 'psp' in opened ? opened.psp : undefined
}

/**
 * Asks the PSP what became of an attempt that has no final outcome. If the PSP never saw it, the same attempt is sent
 * again under the same reference, which is harmless even when the first one is still on its way; unless nobody wants
 * it any more.
 */
export const resolveOpenAttempt = async (services: Services, tenant: Tenant, paymentId: string): Promise<void> => {
  const payment = await services.storage.payments.get(keys.payment(tenant.tenantId, paymentId))
  const attempt = openAttempt(payment)
  if (!attempt) return
  const psp = await openPsp(services, tenant, attempt.account)
  const unknown = (pspCode: string) => ({ status: 'unknown', pspCode }) as const
  const found = psp ? await psp.inquire(attempt.id) : unknown('account_unusable')
  const answer = found.status === 'not_found' ? await afterNotFound(services, tenant, payment, attempt.id) : found
  const now = tenantNow(services, tenant)
  // That nothing could be sent now says nothing of what was sent before.
  await store(services, tenant, payment, attempt.id, answer ?? unknown('account_or_token_removed'))
  await update(services.storage.payments, payment._id, (latest) => recordInquiry(latest, attempt.id, now))
}

const afterNotFound = async (services: Services, tenant: Tenant, payment: Payment, attemptId: string): Promise<ChargeOutcome | undefined> =>
  payment.abandoned ? { status: 'not_sent', pspCode: 'never_arrived' } : charge(services, tenant, payment, attemptId)

const makeRefund = async (services: Services, tenant: Tenant, payment: Payment, refundId: string): Promise<void> => {
  const refund = payment.refunds.find(({ id }) => id === refundId)
  const attempt = payment.attempts.find(({ id }) => id === refund?.attemptId)
  if (!refund || !attempt) throw new Error(`payment ${payment.id} has a refund of no attempt`)
  const psp = await openPsp(services, tenant, attempt.account)
  const outcome = psp
    ? await psp.refund({ reference: refund.id, chargeReference: attempt.id, amountMinor: refund.amountMinor, currency: payment.currency })
    : ({ status: 'unknown', pspCode: 'account_unusable' } as const)
  if (outcome.status === 'failed') {
    services.log.error(
      { tenantId: payment.tenantId, paymentId: payment.id, refundId, pspCode: outcome.pspCode },
      'a refund that is owed was refused; it needs a person',
    )
  }
  await update(services.storage.payments, payment._id, (latest) => recordRefund(latest, refundId, outcome, tenantNow(services, tenant)))
}
