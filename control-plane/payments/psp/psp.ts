/**
 * The PSP port: what Tollgate asks of a payment service provider. An adapter is two files: `adapter.ts` does the
 * I/O, `mapping.ts` turns the provider's words into these.
 *
 * An adapter never rejects for anything that happens to a payment: every outcome is a value, and what it cannot
 * interpret is `unknown` or `pending`, never a decline. Amounts are ISO 4217 minor units; a provider's own
 * exponents are the adapter's concern.
 */
import type { DeclineClass } from '../../schemas/payment.ts'

export interface ChargeRequest {
  /** Ours, unique for ever; the provider is given it as idempotency key and as merchant reference. */
  reference: string
  amountMinor: number
  currency: string
  token: string
  description?: string
}

export type ChargeOutcome =
  | { status: 'succeeded' | 'pending' | 'authorized'; pspReference: string }
  /** The customer has to act (3-D Secure); the outcome follows by webhook or inquiry. */
  | { status: 'requires_action'; pspReference: string; actionUrl: string }
  | { status: 'declined'; declineClass: DeclineClass; pspCode: string; pspReference?: string }
  /** Provably never reached the provider. */
  | { status: 'not_sent'; pspCode: string }
  /** It may have reached the provider: no answer, or one that says nothing. */
  | { status: 'unknown'; pspCode: string }

export interface RefundRequest {
  /** Ours, unique for ever: the idempotency key of the refund. */
  reference: string
  chargeReference: string
  amountMinor: number
  currency: string
}

export type RefundOutcome = { status: 'succeeded' } | { status: 'failed'; pspCode: string } | { status: 'unknown'; pspCode: string }

export interface WebhookRequest {
  /** Lower-case names. */
  headers: Record<string, string | undefined>
  /** As received: signatures are over these bytes. */
  rawBody: string
}

export interface PspEvent {
  id: string
  type: string
  /** Absent for a type that Tollgate does not act on. */
  charge?: { reference: string; outcome: ChargeOutcome }
}

export interface Psp {
  charge(request: ChargeRequest): Promise<ChargeOutcome>

  /** What became of a charge. `not_found`: the provider never saw the reference. */
  inquire(reference: string): Promise<ChargeOutcome | { status: 'not_found' }>

  refund(request: RefundRequest): Promise<RefundOutcome>

  /** @throws AppError `signature_invalid` unless the event provably comes from the provider and is recent. */
  readWebhook(request: WebhookRequest): PspEvent
}
