/**
 * Takes a payment as far as it can go now: attempt after attempt over the accounts that routing allows, and refunds
 * that are due. Each step is stored before the next is taken, so whoever calls this again goes on where it stopped.
 */
import { isAppError } from '../../common/errors.ts'
import type { Attempt, Payment } from '../schemas/payment.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { attemptRepairTime, repairTime, type Services, tenantNow } from '../services.ts'
import { update } from '../storage/update.ts'
import { loadAccounts, routeFor } from './load-route.ts'
import {
  barrier,
  dueRefund,
  fail,
  nextAccount,
  nextStep,
  recordInquiry,
  recordNeverArrived,
  recordOutcome,
  recordRefund,
  startAttempt,
} from './payment-machine.ts'
import type { ChargeOutcome, Psp } from './psp/psp.ts'
import { tokenFor } from './route-payment.ts'

/** One attempt an account and a few lost races; more steps than this on one payment is a fault. */
const MAX_STEPS = 200

/** @returns the payment at rest: final, waiting for an outcome, or waiting for a new payment method. */
export const collectPayment = async (services: Services, tenant: Tenant, payment: Payment): Promise<Payment> => {
  const { payments } = services.storage
  let current = await makeRefunds(services, tenant, payment)
  for (let steps = 0; steps < MAX_STEPS; steps += 1) {
    if (nextStep(current) === 'nothing') return current
    try {
      current = await makeAttempt(services, tenant, current)
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
  const { route, method, limits } = await routeFor(services, tenant, payment)
  const now = tenantNow(services, tenant)
  const barred = method ? barrier(payment, method.id, limits, now) : 'there is no payment method'
  const account = barred === undefined ? nextAccount(payment, route) : undefined
  if (!method || !account) return payments.replace(fail(payment, barred, repairTime(services)))
  const started = await payments.replace(startAttempt(payment, account, method.id, route, now, attemptRepairTime(services)))
  const attempt = started.attempts.at(-1)
  if (!attempt) throw new Error('an attempt was started and is not there')
  const outcome = (await charge(services, tenant, started, attempt)) ?? ({ status: 'not_sent', pspCode: 'account_or_token_removed' } as const)
  return store(services, tenant, started, attempt.id, outcome)
}

const store = (services: Services, tenant: Tenant, payment: Payment, attemptId: string, outcome: ChargeOutcome): Promise<Payment> =>
  update(
    services.storage.payments,
    payment._id,
    (latest) => recordOutcome(latest, attemptId, outcome, tenantNow(services, tenant), repairTime(services)),
    payment,
  )

/**
 * Under the attempt's id, which the PSP knows as idempotency key: made twice, it charges once.
 * @returns undefined when the account or the token is there no more, and so nothing was sent by this call.
 */
const charge = async (services: Services, tenant: Tenant, payment: Payment, attempt: Attempt): Promise<ChargeOutcome | undefined> => {
  const { method } = await routeFor(services, tenant, payment, attempt.paymentMethodId)
  const token = method && tokenFor(method, attempt.account)
  const psp = await openPsp(services, tenant, attempt.account)
  if (!token || !psp) return undefined
  return psp.charge({
    reference: attempt.id,
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
export const resolveAttempt = async (services: Services, tenant: Tenant, payment: Payment, attempt: Attempt): Promise<Payment> => {
  const { payments } = services.storage
  const psp = await openPsp(services, tenant, attempt.account)
  const unknown = (pspCode: string) => ({ status: 'unknown', pspCode }) as const
  const found = psp ? await psp.inquire(attempt.id) : unknown('account_unusable')
  const now = tenantNow(services, tenant)
  if (found.status !== 'not_found') await store(services, tenant, payment, attempt.id, found)
  else if (payment.abandoned) {
    const early = unknown('not_seen_yet')
    await update(
      payments,
      payment._id,
      (latest) => recordNeverArrived(latest, attempt.id, now, repairTime(services)) ?? recordOutcome(latest, attempt.id, early, now, repairTime(services)),
    )
  } else {
    // That nothing could be sent now says nothing of what was sent before.
    const again = (await charge(services, tenant, payment, attempt)) ?? unknown('account_or_token_removed')
    await store(services, tenant, payment, attempt.id, again.status === 'not_sent' ? unknown(again.pspCode) : again)
  }
  // What a crash left as sent is as good as sent now: its inquiries begin.
  if (attempt.status === 'sent') return payments.get(payment._id)
  return update(payments, payment._id, (latest) => recordInquiry(latest, attempt.id, now, repairTime(services)))
}

/** Makes every refund that is due now. */
export const makeRefunds = async (services: Services, tenant: Tenant, payment: Payment): Promise<Payment> => {
  let current = payment
  for (;;) {
    const refund = dueRefund(current, tenantNow(services, tenant))
    if (!refund) return current
    const attempt = current.attempts.find(({ id }) => id === refund.attemptId)
    if (!attempt) throw new Error(`payment ${payment.id} has a refund of no attempt`)
    const psp = await openPsp(services, tenant, attempt.account)
    const outcome = psp
      ? await psp.refund({ reference: refund.id, chargeReference: attempt.id, amountMinor: refund.amountMinor, currency: payment.currency })
      : ({ status: 'unknown', pspCode: 'account_unusable' } as const)
    if (outcome.status === 'failed') {
      const { tenantId, id: paymentId } = payment
      services.log.error({ tenantId, paymentId, refundId: refund.id, pspCode: outcome.pspCode }, 'a refund was refused')
    }
    current = await update(services.storage.payments, payment._id, (latest) =>
      recordRefund(latest, refund.id, outcome, tenantNow(services, tenant), repairTime(services)),
    )
  }
}
