/**
 * An operator records the outcome of an attempt or a refund that no provider can report. Kept with it: who, when and why.
 * It takes effect as if the provider had reported it.
 */
import { DAY_MS } from '../../common/durations.ts'
import { AppError, fieldError } from '../../common/errors.ts'
import { nameOf, storeOutcome } from '../payments/attempt-outcome.ts'
import { type OperatorDecision, resolveByOperator } from '../payments/machine/attempts.ts'
import { recordRefund, refundReference } from '../payments/machine/refunds.ts'
import { openAccount } from '../payments/open-account.ts'
import type { Attempt, DeclineClass, Payment, Refund } from '../schemas/payment.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { advancePayment } from './advance-payment.ts'

export interface ResolutionByHand {
  outcome: 'succeeded' | 'declined' | 'not_sent'
  declineClass?: DeclineClass | undefined
  /** The provider's reference of a charge that succeeded: refunds need it. */
  pspReference?: string | undefined
  reason: string
  tryElsewhere: boolean
}

const outcomeOf = ({ outcome, declineClass, pspReference }: ResolutionByHand, known: string | undefined): OperatorDecision['outcome'] => {
  switch (outcome) {
    case 'succeeded': {
      const reference = pspReference ?? known
      if (reference === undefined) throw fieldError('invalid_request', 'pspReference', "is required: the provider's reference of the charge, for refunds")
      return { status: 'succeeded', pspReference: reference }
    }
    case 'declined':
      return { status: 'declined', declineClass: declineClass ?? 'technical', pspCode: 'resolved_by_operator' }
    case 'not_sent':
      return { status: 'not_sent', pspCode: 'resolved_by_operator' }
    default:
      return outcome satisfies never
  }
}

/** An attempt that has been pending for so long may never come to its end. */
const PENDING_FOR_MS = 3 * DAY_MS

const hasAnswered = (status: string) =>
  new AppError('not_allowed_in_state', `Tollgate asked the provider once more, and it says ${status}: that outcome is now recorded`)

/**
 * Asks the provider first: its own answer counts for more than what was read in its books.
 * @throws AppError `not_allowed_in_state` when the provider has an answer.
 */
const askFirst = async (of: TenantScope, payment: Payment, attempt: Attempt): Promise<{ mayResolvePending: boolean }> => {
  const opened = await openAccount(of, attempt.account)
  if ('unusable' in opened) return { mayResolvePending: true }
  const mayResolvePending = of.now().getTime() - attempt.at.getTime() >= PENDING_FOR_MS
  const found = await opened.psp.inquire(nameOf(payment, attempt))
  if (found.status === 'unknown' || found.status === 'not_found' || found.status === 'cannot_tell' || found.status === 'not_sent') return { mayResolvePending }
  if (mayResolvePending && (found.status === 'pending' || found.status === 'authorized')) return { mayResolvePending }
  await storeOutcome(of, payment, attempt.id, found)
  throw hasAnswered(found.status)
}

/** @param by the key that the decision was made with. @throws AppError `not_found`, `not_allowed_in_state` or `invalid_request`; what `check` throws. */
export const resolveAttempt = async (
  of: TenantScope,
  paymentId: string,
  attemptId: string,
  by: string,
  check: (payment: Payment) => void,
  decision: ResolutionByHand,
): Promise<Payment> => {
  const asked = await of.storage.payments.get(of.keys.payment(paymentId))
  check(asked)
  const open = asked.attempts.find(({ id }) => id === attemptId)
  const isAsked = open?.status === 'unknown' || open?.status === 'pending' || open?.status === 'authorized'
  const { mayResolvePending } = isAsked ? await askFirst(of, asked, open) : { mayResolvePending: false }
  const resolved = await update(of.storage.payments, of.keys.payment(paymentId), (payment) => {
    check(payment)
    const known = payment.attempts.find(({ id }) => id === attemptId)?.pspReference
    const outcome = outcomeOf(decision, known)
    return resolveByOperator(
      payment,
      attemptId,
      { outcome, by, reason: decision.reason, tryElsewhere: decision.tryElsewhere, mayResolvePending },
      of.now(),
      of.repairAt(),
    )
  })
  of.log.warn({ tenantId: of.tenantId, paymentId, attemptId, by, outcome: decision.outcome, reason: decision.reason }, 'an operator resolved an attempt')
  return advancePayment(of, resolved)
}

/** Asks the provider first, like `askFirst`. */
const askAboutRefundFirst = async (of: TenantScope, payment: Payment, refund: Refund): Promise<void> => {
  const attempt = payment.attempts.find(({ id }) => id === refund.attemptId)
  const opened = attempt && (await openAccount(of, attempt.account))
  if (!opened || 'unusable' in opened) return
  const reference = refundReference(refund)
  const found = await opened.psp.inquireRefund({ reference, charge: nameOf(payment, attempt), amountMinor: refund.amountMinor })
  if (found.status !== 'succeeded' && found.status !== 'failed') return
  await update(of.storage.payments, payment._id, (latest) => recordRefund(latest, reference, found, of.now(), of.repairAt()))
  throw hasAnswered(found.status)
}

/**
 * A refund that no provider answers for. One that has `failed` is made anew where it is owed.
 * @throws AppError `not_found` or `not_allowed_in_state`; what `check` throws.
 */
export const resolveRefund = async (
  of: TenantScope,
  paymentId: string,
  refundId: string,
  check: (payment: Payment) => void,
  { outcome, by, reason }: { outcome: 'succeeded' | 'failed'; by: string; reason: string },
): Promise<Payment> => {
  const asked = await of.storage.payments.get(of.keys.payment(paymentId))
  check(asked)
  const open = asked.refunds.find(({ id }) => id === refundId)
  if (open?.status === 'due' || open?.status === 'pending') await askAboutRefundFirst(of, asked, open)
  const resolved = await update(of.storage.payments, of.keys.payment(paymentId), (payment) => {
    check(payment)
    const refund = payment.refunds.find(({ id }) => id === refundId)
    if (!refund) throw new AppError('not_found', 'the payment has no such refund')
    if (refund.status !== 'due' && refund.status !== 'pending') {
      throw new AppError('not_allowed_in_state', `the refund is ${refund.status}: there is nothing to resolve`)
    }
    const now = of.now()
    const said = outcome === 'succeeded' ? ({ status: 'succeeded' } as const) : ({ status: 'failed', pspCode: 'resolved_by_operator' } as const)
    const next = recordRefund(payment, refundReference(refund), said, now, of.repairAt())
    return next && { ...next, refunds: next.refunds.map((one) => (one.id === refundId ? { ...one, resolution: { by, reason, at: now } } : one)) }
  })
  of.log.warn({ tenantId: of.tenantId, paymentId, refundId, by, outcome, reason }, 'an operator resolved a refund')
  return advancePayment(of, resolved)
}
