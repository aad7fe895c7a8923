/**
 * Stripe's words as the port's. Mapping only.
 *
 * Sources: https://docs.stripe.com/declines/codes, https://docs.stripe.com/error-codes,
 * https://docs.stripe.com/payments/paymentintents/lifecycle, https://docs.stripe.com/currencies.
 */
import type Stripe from 'stripe'
import type { DeclineClass } from '../../../schemas/payment.ts'
import { countedBy } from '../counted-currencies.ts'
import { fromPspUnits } from '../currency-exponents.ts'
import type { ChargeOutcome, DisputeFacts, PspEvent, RefundOutcome } from '../psp.ts'

/** Where our references are: in the metadata of a payment intent, and of a refund. */
export const REFERENCE = 'tollgate_reference'

export const stripeDeclines: Readonly<Record<string, DeclineClass>> = {
  approve_with_id: 'issuer_soft',
  authentication_not_handled: 'action_required',
  authentication_required: 'action_required',
  call_issuer: 'issuer_soft',
  card_not_supported: 'credential',
  card_velocity_exceeded: 'funds',
  currency_not_supported: 'config',
  do_not_honor: 'issuer_soft',
  do_not_try_again: 'hard',
  // There is another like it: nobody else is asked now, the same one later.
  duplicate_transaction: 'funds',
  expired_card: 'credential',
  fraudulent: 'hard',
  generic_decline: 'issuer_soft',
  highest_risk_level: 'hard',
  incorrect_address: 'credential',
  incorrect_cvc: 'credential',
  incorrect_number: 'credential',
  incorrect_pin: 'credential',
  incorrect_zip: 'credential',
  insufficient_funds: 'funds',
  invalid_account: 'credential',
  invalid_amount: 'config',
  invalid_cvc: 'credential',
  invalid_expiry_month: 'credential',
  invalid_expiry_year: 'credential',
  invalid_number: 'credential',
  invalid_pin: 'credential',
  issuer_not_available: 'issuer_soft',
  lost_card: 'hard',
  merchant_blacklist: 'hard',
  mobile_device_authentication_required: 'action_required',
  new_account_information_available: 'credential',
  no_action_taken: 'issuer_soft',
  not_permitted: 'credential',
  offline_pin_required: 'credential',
  online_or_offline_pin_required: 'credential',
  pickup_card: 'hard',
  pin_try_exceeded: 'credential',
  previously_declined_do_not_retry: 'hard',
  processing_error: 'technical',
  reenter_transaction: 'technical',
  restricted_card: 'hard',
  revocation_of_all_authorizations: 'hard',
  revocation_of_authorization: 'hard',
  security_violation: 'hard',
  service_not_allowed: 'credential',
  stolen_card: 'hard',
  stop_payment_order: 'hard',
  testmode_decline: 'config',
  transaction_not_allowed: 'credential',
  try_again_later: 'issuer_soft',
  withdrawal_count_limit_exceeded: 'funds',
}

/** Error codes that come without a decline code. */
export const stripeErrorCodes: Readonly<Record<string, DeclineClass>> = {
  ...stripeDeclines,
  amount_too_large: 'config',
  amount_too_small: 'config',
  api_key_expired: 'config',
  card_declined: 'issuer_soft',
  lock_timeout: 'technical',
  payment_intent_authentication_failure: 'action_required',
  payment_intent_payment_attempt_failed: 'issuer_soft',
  payment_method_customer_decline: 'credential',
  payment_method_invalid_parameter: 'config',
  payment_method_provider_decline: 'issuer_soft',
  payment_method_provider_timeout: 'technical',
  payment_method_unactivated: 'config',
  payment_method_unexpected_state: 'credential',
  platform_api_key_expired: 'config',
  rate_limit: 'technical',
  resource_missing: 'credential',
  secret_key_required: 'config',
}

/** A code that nobody knows yet is most likely an issuer's: one other provider may be asked, and later the same. */
export const classOf = (declineCode: string | undefined, code: string | undefined): DeclineClass =>
  stripeDeclines[declineCode ?? ''] ?? stripeErrorCodes[code ?? ''] ?? 'issuer_soft'

const declined = (error: Stripe.PaymentIntent['last_payment_error'], pspReference: string): ChargeOutcome => ({
  status: 'declined',
  declineClass: classOf(error?.decline_code ?? undefined, error?.code ?? undefined),
  pspCode: error?.decline_code ?? error?.code ?? 'payment_failed',
  pspReference,
})

export const toOutcome = (intent: Stripe.PaymentIntent): ChargeOutcome => {
  const pspReference = intent.id
  switch (intent.status) {
    case 'succeeded':
      return { status: 'succeeded', pspReference }
    case 'requires_capture':
      return { status: 'authorized', pspReference }
    case 'requires_action': {
      const actionUrl = intent.next_action?.redirect_to_url?.url
      return actionUrl ? { status: 'requires_action', pspReference, actionUrl } : { status: 'pending', pspReference }
    }
    case 'requires_payment_method':
      // Every intent is made confirmed: back at this state, the charge was refused.
      return declined(intent.last_payment_error, pspReference)
    case 'canceled':
      // What is abandoned waited for its customer: whoever asks later hears the same as whoever gave it up.
      return {
        status: 'declined',
        declineClass: intent.cancellation_reason === 'abandoned' ? 'action_required' : 'technical',
        pspCode: `canceled_${intent.cancellation_reason ?? 'unknown'}`,
        pspReference,
      }
    default:
      // A status that we do not know is not a decline: somebody may have been charged.
      return { status: 'pending', pspReference }
  }
}

export const toRefundOutcome = (refund: Pick<Stripe.Refund, 'status' | 'failure_reason'>): RefundOutcome => {
  switch (refund.status) {
    case 'succeeded':
      return { status: 'succeeded' }
    case 'failed':
    case 'canceled':
      return { status: 'failed', pspCode: refund.failure_reason ?? refund.status }
    default:
      return { status: 'pending' }
  }
}

const disputeStatus = (status: string): DisputeFacts['status'] => {
  if (status === 'won' || status === 'warning_closed' || status === 'prevented') return 'won'
  return status === 'lost' ? 'lost' : 'open'
}

const idOf = (value: string | { id: string } | null | undefined): string | undefined => (typeof value === 'string' ? value : value?.id)

const toDispute = (dispute: Stripe.Dispute): Pick<PspEvent, 'charge' | 'dispute'> => {
  const pspReference = idOf(dispute.payment_intent)
  if (!pspReference) return {}
  const currency = dispute.currency.toUpperCase()
  const dueBy = dispute.evidence_details?.due_by
  return {
    charge: { pspReference },
    dispute: {
      id: dispute.id,
      status: disputeStatus(dispute.status),
      amountMinor: fromPspUnits(dispute.amount, currency, countedBy.stripe),
      currency,
      reason: dispute.reason,
      ...(dueBy ? { respondBy: new Date(dueBy * 1000) } : {}),
    },
  }
}

const toCharge = (intent: Stripe.PaymentIntent): Pick<PspEvent, 'charge'> => {
  const reference = intent.metadata?.[REFERENCE]
  return reference ? { charge: { reference, pspReference: intent.id, outcome: toOutcome(intent) } } : {}
}

const toRefund = (refund: Stripe.Refund): Pick<PspEvent, 'refund'> => {
  const reference = refund.metadata?.[REFERENCE]
  return reference ? { refund: { reference, outcome: toRefundOutcome(refund) } } : {}
}

/** By what the event holds, not by its name: new names of known things are understood. */
export const toEvent = (event: Stripe.Event): PspEvent => {
  const { id, type } = event
  const object = event.data.object as { object?: string }
  if (object.object === 'payment_intent' && type !== 'payment_intent.created') return { id, type, ...toCharge(object as Stripe.PaymentIntent) }
  if (object.object === 'refund') return { id, type, ...toRefund(object as Stripe.Refund) }
  if (object.object === 'dispute') return { id, type, ...toDispute(object as Stripe.Dispute) }
  return { id, type }
}
