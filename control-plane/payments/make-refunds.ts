/** Giving money back, once. */
import type { Payment, Refund } from '../schemas/payment.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { nameOf, unknownOutcome } from './attempt-outcome.ts'
import { dueRefund, isBeyond, markAsked, recordRefund, refundReference } from './machine/refunds.ts'
import { openAccount } from './open-account.ts'
import type { Psp, RefundOutcome, RefundRequest } from './psp/psp.ts'

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

/** Makes every refund that is due now, and asks about those that were only accepted. */
export const makeRefunds = async (of: TenantScope, payment: Payment): Promise<Payment> => {
  let current = payment
  for (;;) {
    const now = of.now()
    const refund = dueRefund(current, now)
    if (!refund) return current
    const attempt = current.attempts.find(({ id }) => id === refund.attemptId)
    if (!attempt) throw new Error(`payment ${payment.id} has a refund of no attempt`)
    const opened = await openAccount(of, attempt.account)
    const reference = refundReference(refund)
    const request = { reference, charge: nameOf(current, attempt), amountMinor: refund.amountMinor }
    if ('psp' in opened) {
      const marked = await update(of.storage.payments, payment._id, (latest) => markAsked(latest, reference, now, of.repairAt()))
      // Somebody has told of it meanwhile.
      if (!dueRefund(marked, now) || refundReference(dueRefund(marked, now) as Refund) !== reference) {
        current = marked
        continue
      }
    }
    const outcome = 'psp' in opened ? await refundOrInquire(opened.psp, refund, request, now) : unknownOutcome('account_unusable')
    if (outcome.status === 'failed') {
      const { tenantId, id: paymentId } = payment
      of.log.error({ tenantId, paymentId, refundId: refund.id, pspCode: outcome.pspCode }, 'a refund was refused')
    }
    current = await update(of.storage.payments, payment._id, (latest) => recordRefund(latest, reference, outcome, of.now(), of.repairAt()))
  }
}
