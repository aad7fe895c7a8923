/** The simulator's words as the port's. Mapping only. */
import { z } from 'zod'
import { declineClasses } from '../../../schemas/payment.ts'
import type { ChargeOutcome, PspEvent } from '../psp.ts'

export const simulatedCharge = z.object({
  id: z.string(),
  reference: z.string(),
  status: z.string(),
  declineClass: z.enum(declineClasses).optional(),
  actionUrl: z.string().optional(),
})

export const simulatedClock = z.object({ next: z.string().nullable() })

export const toOutcome = (charge: z.infer<typeof simulatedCharge>): ChargeOutcome => {
  const pspReference = charge.id
  if (charge.status === 'succeeded') return { status: 'succeeded', pspReference }
  if (charge.status === 'declined' && charge.declineClass) {
    return { status: 'declined', declineClass: charge.declineClass, pspCode: `decline_${charge.declineClass}`, pspReference }
  }
  if (charge.status === 'requires_action' && charge.actionUrl) return { status: 'requires_action', pspReference, actionUrl: charge.actionUrl }
  // A status we do not know is not a decline: somebody may have been charged.
  return { status: 'pending', pspReference }
}

const simulatedEvent = z.object({ type: z.string(), data: simulatedCharge.optional() })

export const toEvent = (id: string, body: unknown): PspEvent => {
  const { type, data } = simulatedEvent.parse(body)
  return data ? { id, type, charge: { reference: data.reference, outcome: toOutcome(data) } } : { id, type }
}
