/** The name of an attempt at its provider, and how its outcome is stored. */
import type { Attempt, Payment } from '../schemas/payment.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { recordOutcome } from './machine/attempts.ts'
import type { ChargeName, ChargeOutcome } from './psp/psp.ts'

export const unknownOutcome = (pspCode: string) => ({ status: 'unknown', pspCode }) as const

/** The charge as every PSP is asked about it: the attempt's id is the reference; amounts are in minor units. */
export const nameOf = (payment: Payment, attempt: Attempt): ChargeName => ({
  reference: attempt.id,
  pspReference: attempt.pspReference,
  amountMinor: attempt.amountMinor ?? payment.amountMinor,
  currency: payment.currency,
})

/** Tells the observer of an attempt's outcome once it is stored, unless it was known before. */
export const tellOutcome = ({ paymentObserver, tenant }: TenantScope, attemptId: string, before: Payment, stored: Payment): void => {
  const [known, attempt] = [before, stored].map(({ attempts }) => attempts.find(({ id }) => id === attemptId))
  if (attempt && attempt.status !== known?.status) paymentObserver?.attempted({ tenant, account: attempt.account }, attempt)
}

/** Stores a PSP's answer about an attempt with the payment, as `recordOutcome` decides. @throws AppError `not_found`. */
export const storeOutcome = async (of: TenantScope, payment: Payment, attemptId: string, outcome: ChargeOutcome): Promise<Payment> => {
  let before = payment
  const record = (latest: Payment): Payment | undefined => {
    before = latest
    return recordOutcome(latest, attemptId, outcome, of.now(), of.repairAt())
  }
  const stored = await update(of.storage.payments, payment._id, record, payment)
  tellOutcome(of, attemptId, before, stored)
  return stored
}
