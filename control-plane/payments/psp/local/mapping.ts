/** The words of the bank protocol as the port's. Mapping only; `docs/local-psp-protocol.md` is the protocol. */
import { z } from 'zod'
import { AppError } from '../../../../common/errors.ts'
import { declineClasses } from '../../../schemas/payment.ts'
import type { ChargeOutcome, PspEvent, RefundOutcome } from '../psp.ts'

export const bankCharge = z.object({
  reference: z.string(),
  id: z.string(),
  status: z.string(),
  declineClass: z.string().optional(),
  declineCode: z.string().optional(),
  actionUrl: z.string().optional(),
})

export const bankRefund = z.object({ reference: z.string(), status: z.string(), code: z.string().optional() })

const bankDispute = z.object({
  id: z.string(),
  reference: z.string(),
  status: z.enum(['open', 'won', 'lost']),
  amount: z.int(),
  currency: z.string(),
  reason: z.string(),
  respondBy: z.iso.datetime().optional(),
})

const bankEvent = z.object({ id: z.string().min(1), type: z.string().min(1), charge: z.unknown(), refund: z.unknown(), dispute: z.unknown() }).partial({
  charge: true,
  refund: true,
  dispute: true,
})

export const toOutcome = (charge: z.infer<typeof bankCharge>): ChargeOutcome => {
  const pspReference = charge.id
  switch (charge.status) {
    case 'succeeded':
      return { status: 'succeeded', pspReference }
    case 'authorized':
      return { status: 'authorized', pspReference }
    case 'requires_action':
      return charge.actionUrl ? { status: 'requires_action', pspReference, actionUrl: charge.actionUrl } : { status: 'pending', pspReference }
    case 'declined': {
      const declineClass = declineClasses.find((one) => one === charge.declineClass) ?? 'issuer_soft'
      return { status: 'declined', declineClass, pspCode: charge.declineCode ?? declineClass, pspReference }
    }
    case 'released':
      return { status: 'declined', declineClass: 'technical', pspCode: 'released', pspReference }
    default:
      return { status: 'pending', pspReference }
  }
}

export const toRefundOutcome = (refund: z.infer<typeof bankRefund>): RefundOutcome => {
  if (refund.status === 'succeeded') return { status: 'succeeded' }
  if (refund.status === 'failed') return { status: 'failed', pspCode: refund.code ?? 'refused' }
  return { status: 'pending' }
}

/** @throws AppError `invalid_request`. */
export const toEvent = (body: unknown): PspEvent => {
  const parsed = bankEvent.safeParse(body)
  if (!parsed.success) throw new AppError('invalid_request', 'the body is not an event of the bank protocol: it needs id and type')
  const { id, type, ...parts } = parsed.data
  const charge = bankCharge.safeParse(parts.charge)
  const refund = bankRefund.safeParse(parts.refund)
  const dispute = bankDispute.safeParse(parts.dispute)
  if (dispute.success) {
    const { id: disputeId, status, amount, currency, reason, respondBy, reference } = dispute.data
    const facts = { id: disputeId, status, amountMinor: amount, currency, reason, ...(respondBy ? { respondBy: new Date(respondBy) } : {}) }
    return { id, type, charge: { reference }, dispute: facts }
  }
  if (refund.success) return { id, type, refund: { reference: refund.data.reference, outcome: toRefundOutcome(refund.data) } }
  if (charge.success) return { id, type, charge: { reference: charge.data.reference, pspReference: charge.data.id, outcome: toOutcome(charge.data) } }
  return { id, type }
}
