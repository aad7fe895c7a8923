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

/** Stores a PSP's answer about an attempt with the payment, as `recordOutcome` decides. @throws AppError `not_found`. */
export const storeOutcome = (of: TenantScope, payment: Payment, attemptId: string, outcome: ChargeOutcome): Promise<Payment> =>
  update(of.storage.payments, payment._id, (latest) => recordOutcome(latest, attemptId, outcome, of.now(), of.repairAt()), payment)
