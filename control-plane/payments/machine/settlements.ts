/** The lines of settlement reports about a payment: that the money has been paid out, and what it cost. */
import type { Payment, Settlement } from '../../schemas/payment.ts'
import { marked } from './state.ts'

/** A charge, its refunds, its disputes and their fees, and as many corrections; bounds the document. */
const MAX_SETTLEMENTS = 300

/** @returns undefined when this line is known already. */
export const recordSettlement = (payment: Payment, settlement: Settlement): Payment | undefined => {
  const known = payment.settlements ?? []
  if (known.some(({ id }) => id === settlement.id) || known.length >= MAX_SETTLEMENTS) return undefined
  return marked({ ...payment, settlements: [...known, settlement] }, payment.repairAt)
}

export const isSettled = (payment: Pick<Payment, 'settlements'>): boolean => (payment.settlements ?? []).some(({ kind }) => kind === 'charge')
