/**
 * Applies a stored event to its payment. Late, repeated and out-of-order events are harmless: what they say is merged
 * into what is known, and never takes back money that moved.
 */
import { defined } from '../../../common/defined.ts'
import type { Payment } from '../../schemas/payment.ts'
import type { WebhookEvent } from '../../schemas/webhook-event.ts'
import { update } from '../../storage/update.ts'
import type { TenantScope } from '../../tenant-scope.ts'
import { tellOutcome } from '../attempt-outcome.ts'
import { paymentIdOfAttempt, recordOutcome } from '../machine/attempts.ts'
import { recordDispute } from '../machine/disputes.ts'
import { attemptIdOfRefund, recordRefund, refundNamed } from '../machine/refunds.ts'
import { openAccount } from '../open-account.ts'
import type { ChargeOutcome, DisputeFacts, RefundOutcome } from '../psp/psp.ts'

export interface EventEffect {
  /** The payment that it is about, as it is then; the caller takes that further. */
  payment?: Payment
  /** Why nothing follows from it. */
  ignored?: string
}

interface ChargeFacts {
  reference: string
  outcome?: ChargeOutcome | undefined
  dispute?: DisputeFacts | undefined
}

/** The event's facts, with those that the provider has to be asked for. @throws Error when the provider cannot be asked now. */
const chargeFactsOf = async (of: TenantScope, event: WebhookEvent): Promise<ChargeFacts | undefined> => {
  const { charge } = event
  if (!charge) return undefined
  const dispute = event.dispute as DisputeFacts | undefined
  const outcome = charge.outcome as ChargeOutcome | undefined
  if (charge.reference) return { reference: charge.reference, outcome, dispute }
  const opened = await openAccount(of, event.account)
  if ('unusable' in opened) throw new Error(`the PSP account cannot be used: ${opened.unusable}`)
  const found = charge.pspReference ? await opened.psp.lookUp(charge.pspReference) : undefined
  return found && { reference: found.reference, outcome: dispute ? outcome : found.outcome, dispute: dispute ?? found.dispute }
}

/** An outcome that the event does not say: it is asked for, by the provider's reference. */
const outcomeOf = async (of: TenantScope, payment: Payment, event: WebhookEvent, facts: ChargeFacts): Promise<ChargeOutcome | undefined> => {
  if (facts.outcome || facts.dispute) return facts.outcome
  const opened = await openAccount(of, event.account)
  if ('unusable' in opened) throw new Error(`the PSP account cannot be used: ${opened.unusable}`)
  const { amountMinor, currency } = payment
  const found = await opened.psp.inquire({ reference: facts.reference, pspReference: event.charge?.pspReference, amountMinor, currency })
  return found.status === 'not_found' || found.status === 'cannot_tell' ? undefined : found
}

const applyCharge = async (of: TenantScope, event: WebhookEvent, facts: ChargeFacts): Promise<EventEffect> => {
  const { payments } = of.storage
  const { reference } = facts
  const id = of.keys.payment(paymentIdOfAttempt(reference))
  const payment = await payments.find(id)
  const attempt = payment?.attempts.find((one) => one.id === reference)
  if (!payment || !attempt) return { ignored: `there is no attempt ${reference}` }
  // Another account's event about this attempt would be a provider's mistake, or an attack with a valid signature.
  if (attempt.account !== event.account) return { ignored: `the attempt ${reference} was made at another account` }
  const outcome = await outcomeOf(of, payment, event, facts)
  const { dispute } = facts
  if (attempt.status === 'succeeded' && outcome?.status === 'declined' && !dispute) {
    // Events come late and out of order, so this one may only be older: the books stay, and whoever reads the inbox may look.
    const { tenantId } = of
    of.log.warn({ tenantId, paymentId: payment.id, attempt: reference, pspCode: outcome.pspCode }, 'a provider declined a payment that had succeeded')
    return {
      payment,
      ignored: `the attempt ${reference} had succeeded before; if the provider's own books differ, refund the payment or cancel by hand`,
    }
  }
  let before = payment
  const record = (latest: Payment): Payment | undefined => {
    before = latest
    const now = of.now()
    const charged = outcome && recordOutcome(latest, reference, outcome, now, of.repairAt())
    // Declined and disputed at once is money taken back: of a payment that was not made there is none.
    const hadMoney = outcome?.status !== 'declined' || latest.attempts.some(({ id: of, status }) => of === reference && status === 'succeeded')
    const disputed = dispute && hadMoney ? recordDispute(charged ?? latest, reference, dispute, dispute.at ?? now, of.repairAt()) : undefined
    return disputed ?? charged
  }
  const stored = await update(payments, id, record, payment)
  tellOutcome(of, reference, before, stored)
  return { payment: stored }
}

interface RefundFacts {
  reference: string
  pspReference?: string
  outcome: RefundOutcome
}

const applyRefund = async (of: TenantScope, event: WebhookEvent, refund: RefundFacts): Promise<EventEffect> => {
  const { payments } = of.storage
  const attemptId = attemptIdOfRefund(refund.reference)
  const id = of.keys.payment(paymentIdOfAttempt(attemptId))
  const payment = await payments.find(id)
  if (payment?.attempts.find((one) => one.id === attemptId)?.account !== event.account)
    return { ignored: `there is no refund ${refund.reference} at this account` }
  const named = refundNamed(payment, refund.reference, refund.pspReference)
  if (named === undefined) {
    // Told before the answer to its request was stored: it is applied a little later.
    if (payment.refunds.some(({ status }) => status === 'due')) throw new Error('no refund has this reference yet')
    return { ignored: `there is no refund ${refund.reference}` }
  }
  const record = (latest: Payment) => recordRefund(latest, named, refund.outcome, of.now(), of.repairAt(), 'event')
  return { payment: await update(payments, id, record, payment) }
}

/** @throws Error when it cannot be applied now. */
export const applyEvent = async (of: TenantScope, event: WebhookEvent): Promise<EventEffect> => {
  if (event.refund) return applyRefund(of, event, event.refund as RefundFacts)
  const facts = await chargeFactsOf(of, event)
  if (facts) return applyCharge(of, event, facts)
  return { ignored: event.charge ? 'the charge does not belong to Tollgate' : 'it names no payment of Tollgate, or its type has no effect' }
}

/** The event's work is done, or there was none. */
export const markApplied = (of: TenantScope, event: WebhookEvent, { payment, ignored }: EventEffect): Promise<WebhookEvent> => {
  const result = ignored === undefined ? ({ status: 'applied', why: undefined } as const) : ({ status: 'ignored', why: ignored } as const)
  const mark = (latest: WebhookEvent): WebhookEvent | undefined =>
    latest.appliedAt ? undefined : defined({ ...latest, ...result, paymentId: payment?.id, appliedAt: of.clock.now(), repairAt: undefined })
  return update(of.storage.webhookEvents, event._id, mark, event)
}

/** It is tried again. */
export const markFailed = (of: TenantScope, event: WebhookEvent, why: string): Promise<WebhookEvent> =>
  update(of.storage.webhookEvents, event._id, (latest) => (latest.appliedAt || latest.why === why ? undefined : { ...latest, status: 'failed', why }))
