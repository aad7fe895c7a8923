import type { ChargeName, ChargeOutcome, Psp } from './psp.ts'

/** Completes a charge of a provider that notices by itself that the customer has acted: it only has to be asked. */
export const completeByInquiry = async (psp: Pick<Psp, 'inquire'>, charge: ChargeName): Promise<ChargeOutcome> => {
  const found = await psp.inquire(charge)
  return found.status === 'not_found' || found.status === 'cannot_tell' ? { status: 'unknown', pspCode: found.status } : found
}
