import type { ChargeName, ChargeOutcome, Psp } from './psp.ts'

/** For providers that notice by themselves that the customer has acted: they only have to be asked. */
export const completeByInquiry = async (psp: Pick<Psp, 'inquire'>, charge: ChargeName): Promise<ChargeOutcome> => {
  const found = await psp.inquire(charge)
  return found.status === 'not_found' || found.status === 'cannot_tell' ? { status: 'unknown', pspCode: found.status } : found
}
