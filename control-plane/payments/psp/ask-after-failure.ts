/**
 * An operation on a charge that exists, which the provider has not confirmed: what became of the charge is asked for
 * before anything is said of it, since a refusal often only means that it has happened already.
 */
import type { ChargeName, ChargeOutcome, Psp, RefundOutcome, RefundRequest } from './psp.ts'

export type Refusal = Extract<ChargeOutcome, { status: 'declined' }>

/**
 * The refusal that a failed operation on an existing charge proves, if it proves one. A limit, or a passing fault, is none;
 * nor is a 404. The provider has had the charge, so whoever does not find it is most likely asked in the name of another
 * account, and what an earlier call did to the charge is not known there.
 */
export const refusalIn = (failure: ChargeOutcome, httpStatus: number | undefined): Refusal | undefined =>
  failure.status === 'declined' && failure.declineClass !== 'technical' && httpStatus !== 404 ? failure : undefined

/**
 * After a `capture` or a `release`. What has happened has happened, whatever was said about doing it. While the money is
 * still only held, a capture that is refused is a decline: nobody will take that money. A release that is refused is not
 * made: the money stays held, and is let go at the next inquiry.
 * @param pspCode what the provider, or the way to it, said.
 * @param refusal of a capture.
 */
export const askWhatBecame = async (psp: Pick<Psp, 'inquire'>, charge: ChargeName, pspCode: string, refusal?: Refusal): Promise<ChargeOutcome> => {
  const found = await psp.inquire(charge)
  switch (found.status) {
    case 'authorized':
      return refusal ? { ...refusal, pspReference: found.pspReference } : found
    case 'succeeded':
    case 'pending':
    case 'requires_action':
    case 'declined':
      return found
    case 'not_sent':
    case 'unknown':
    case 'not_found':
    case 'cannot_tell':
      return { status: 'unknown', pspCode }
    default:
      return found satisfies never
  }
}

/** A refund is often refused because it has been made already: then it is there. @param pspCode of the refusal. */
export const askAfterRefund = async (psp: Pick<Psp, 'inquireRefund'>, request: RefundRequest, pspCode: string): Promise<RefundOutcome> => {
  const found = await psp.inquireRefund(request)
  return found.status === 'not_found' || found.status === 'cannot_tell' ? { status: 'failed', pspCode } : found
}

/**
 * The answer to a `cancel`. A cancellation is a technical decline in the provider's words; here the customer was asked to
 * act and did not, so nobody else is asked with the same method until something changes. A card that was refused
 * meanwhile keeps the class that it was refused with.
 */
export const givenUp = (outcome: ChargeOutcome): ChargeOutcome => {
  if (outcome.status === 'requires_action') return { status: 'unknown', pspCode: 'not_canceled' }
  return outcome.status === 'declined' && outcome.declineClass === 'technical' ? { ...outcome, declineClass: 'action_required' } : outcome
}

/** @param pspCode what the provider, or the way to it, said instead of giving the charge up. */
export const askAfterCancel = async (psp: Pick<Psp, 'inquire'>, charge: ChargeName, pspCode: string): Promise<ChargeOutcome> => {
  const found = await psp.inquire(charge)
  switch (found.status) {
    case 'succeeded':
    case 'authorized':
    case 'pending':
      return found
    case 'declined':
      return givenUp(found)
    // It still waits, or nobody can say: the customer may act at any time.
    case 'requires_action':
    case 'not_sent':
    case 'unknown':
    case 'not_found':
    case 'cannot_tell':
      return { status: 'unknown', pspCode }
    default:
      return found satisfies never
  }
}
