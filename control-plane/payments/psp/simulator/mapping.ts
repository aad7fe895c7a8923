/** The simulator's words as the port's. Mapping only. */
import { z } from 'zod'
import { declineClasses } from '../../../schemas/payment.ts'
import type { ChargeOutcome, DisputeFacts, PspEvent, RefundOutcome } from '../psp.ts'

export const simulatedCharge = z.object({
  id: z.string(),
  reference: z.string(),
  status: z.string(),
  declineClass: z.enum(declineClasses).optional(),
  actionUrl: z.string().optional(),
})

export const simulatedRefund = z.object({ id: z.string().optional(), reference: z.string(), status: z.string(), code: z.string().optional() })

const simulatedDispute = z.object({
  id: z.string(),
  /** The charge's. */
  reference: z.string(),
  chargeId: z.string(),
  status: z.enum(['open', 'won', 'lost']),
  amount: z.int(),
  currency: z.string(),
  reason: z.string(),
  respondBy: z.iso.datetime().optional(),
  at: z.iso.datetime(),
})

export const simulatedClock = z.object({ next: z.string().nullable() })

export const toOutcome = (charge: z.infer<typeof simulatedCharge>): ChargeOutcome => {
  const pspReference = charge.id
  if (charge.status === 'succeeded' || charge.status === 'authorized') return { status: charge.status, pspReference }
  if (charge.status === 'declined' && charge.declineClass) {
    return { status: 'declined', declineClass: charge.declineClass, pspCode: `decline_${charge.declineClass}`, pspReference }
  }
  if (charge.status === 'released') return { status: 'declined', declineClass: 'technical', pspCode: 'released', pspReference }
  if (charge.status === 'requires_action' && charge.actionUrl) return { status: 'requires_action', pspReference, actionUrl: charge.actionUrl }
  // A status we do not know is not a decline: somebody may have been charged.
  return { status: 'pending', pspReference }
}

export const toRefundOutcome = ({ id, status, code }: z.infer<typeof simulatedRefund>): RefundOutcome => {
  const named = id === undefined ? {} : { pspReference: id }
  if (status === 'succeeded') return { status: 'succeeded', ...named }
  if (status === 'failed') return { status: 'failed', pspCode: code ?? 'refused' }
  return { status: 'pending', ...named }
}

const toDispute = (dispute: z.infer<typeof simulatedDispute>): Pick<PspEvent, 'charge' | 'dispute'> => {
  const { id, status, amount: amountMinor, currency, reason, respondBy, at } = dispute
  const facts: DisputeFacts = { id, status, amountMinor, currency, reason, at: new Date(at) }
  return {
    // Only a charge that was made can be disputed, whether or not that has been told yet.
    charge: { reference: dispute.reference, outcome: { status: 'succeeded', pspReference: dispute.chargeId } },
    dispute: respondBy === undefined ? facts : { ...facts, respondBy: new Date(respondBy) },
  }
}

const simulatedEvent = z.object({
  type: z.string(),
  data: simulatedCharge.optional(),
  refund: simulatedRefund.optional(),
  dispute: simulatedDispute.optional(),
})

export const toEvent = (id: string, body: unknown): PspEvent => {
  const { type, data, refund, dispute } = simulatedEvent.parse(body)
  if (dispute) return { id, type, ...toDispute(dispute) }
  if (refund) return { id, type, refund: { reference: refund.reference, outcome: toRefundOutcome(refund) } }
  return data ? { id, type, charge: { reference: data.reference, outcome: toOutcome(data) } } : { id, type }
}
