/**
 * An operation on a charge that exists, which the provider has not confirmed: what became of the charge is asked for
 * before anything is said of it, since a refusal often only means that it has happened already.
 */
import type { ChargeName, ChargeOutcome, Psp } from './psp.ts'

/** The answer to a `cancel`. The customer was asked to act and did not: nobody else is asked with the same method until something changes. */
export const givenUp = (outcome: ChargeOutcome): ChargeOutcome => {
  if (outcome.status === 'requires_action') return { status: 'unknown', pspCode: 'not_canceled' }
  return outcome.status === 'declined' ? { ...outcome, declineClass: 'action_required' } : outcome
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
