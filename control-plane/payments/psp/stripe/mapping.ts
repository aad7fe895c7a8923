/**
 * Stripe's words as the port's. Mapping only.
 *
 * Sources: https://docs.stripe.com/declines/codes, https://docs.stripe.com/error-codes,
 * https://docs.stripe.com/payments/paymentintents/lifecycle, https://docs.stripe.com/currencies.
 */
import type Stripe from 'stripe'
import { table } from '../../../../common/table.ts'
import type { DeclineClass } from '../../../schemas/payment.ts'
import { networkNamed } from '../card-networks.ts'
import { countedBy } from '../counted-currencies.ts'
import { fromPspUnits } from '../currency-exponents.ts'
import { withNetworkWords } from '../declined-for-good.ts'
import type { ChargeOutcome, DisputeFacts, PspEvent, RefundOutcome } from '../psp.ts'

/** The key of our references in the metadata of a payment intent, and of a refund. */
export const REFERENCE = 'tollgate_reference'

/**
 * `decline_code`: https://docs.stripe.com/declines/codes, "Card Decline Codes" and "LPM Decline Codes"; which network
 * codes they stand for is in https://docs.stripe.com/declines/network-codes.
 */
export const stripeDeclines = table<DeclineClass>({
  approve_with_id: 'issuer_soft',
  authentication_not_handled: 'action_required',
  authentication_required: 'action_required',
  call_issuer: 'issuer_soft',
  card_not_supported: 'credential',
  card_velocity_exceeded: 'funds',
  compliance_violation: 'hard',
  // The card does not do this currency: no account of the merchant's changes that, another card does.
  currency_not_supported: 'credential',
  do_not_honor: 'issuer_soft',
  do_not_try_again: 'hard',
  // There is another like it: nobody else is asked now, the same one later.
  duplicate_transaction: 'funds',
  expired_card: 'credential',
  expired_payment_information: 'credential',
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
  // The amount is what is owed: it is the same elsewhere, and later. So for `amount_too_small` and its like, below.
  invalid_amount: 'hard',
  invalid_authorization: 'hard',
  invalid_billing_agreement: 'credential',
  invalid_business_account: 'config',
  invalid_customer_account: 'credential',
  invalid_cvc: 'credential',
  invalid_expiry_month: 'credential',
  invalid_expiry_year: 'credential',
  invalid_number: 'credential',
  invalid_payment_information: 'credential',
  invalid_pin: 'credential',
  issuer_not_available: 'issuer_soft',
  live_mode_test_card: 'config',
  lost_card: 'hard',
  merchant_blacklist: 'hard',
  mobile_device_authentication_required: 'action_required',
  new_account_information_available: 'credential',
  no_action_taken: 'issuer_soft',
  // 57, in Visa's category 1: the cardholder may not do this, wherever it is asked.
  not_permitted: 'hard',
  offline_pin_required: 'credential',
  online_or_offline_pin_required: 'credential',
  partner_generic_decline: 'issuer_soft',
  partner_high_risk_customer: 'hard',
  partner_insufficient_funds: 'funds',
  partner_payment_not_found: 'technical',
  payment_disputed: 'credential',
  payment_limit_exceeded: 'funds',
  pickup_card: 'hard',
  pin_try_exceeded: 'credential',
  previously_declined_do_not_retry: 'hard',
  processing_error: 'technical',
  // The issuer's answer, so it counts as one: one other account, and later.
  reenter_transaction: 'issuer_soft',
  restricted_card: 'hard',
  revocation_of_all_authorizations: 'hard',
  revocation_of_authorization: 'hard',
  security_violation: 'hard',
  service_not_allowed: 'credential',
  stolen_card: 'hard',
  stop_payment_order: 'hard',
  testmode_decline: 'config',
  // 12, invalid transaction, and 57: both in Visa's category 1.
  transaction_not_allowed: 'hard',
  try_again_later: 'issuer_soft',
  withdrawal_count_limit_exceeded: 'funds',
})

/** `code` of an error that comes without a decline code: https://docs.stripe.com/error-codes, those that a charge can meet. */
export const stripeErrorCodes = table<DeclineClass>({
  ...stripeDeclines,
  account_closed: 'hard',
  account_invalid: 'config',
  amount_too_large: 'hard',
  amount_too_small: 'hard',
  api_key_expired: 'config',
  account_number_invalid: 'credential',
  authentication_failure: 'action_required',
  bank_account_bad_routing_numbers: 'credential',
  bank_account_declined: 'credential',
  bank_account_restricted: 'credential',
  bank_account_unusable: 'credential',
  bank_account_unverified: 'credential',
  // Declined too often within a day; it may be asked again after that.
  card_decline_rate_limit_exceeded: 'funds',
  // As `charge_expired_for_capture`.
  capture_charge_authorization_expired: 'technical',
  card_declined: 'issuer_soft',
  // The merchant's own limits at Stripe, none of the customer's.
  charge_exceeds_source_limit: 'config',
  charge_exceeds_transaction_limit: 'config',
  charge_exceeds_weekly_limit: 'config',
  charge_expired_for_capture: 'technical',
  country_unsupported: 'config',
  // The customer has told their bank that they never agreed to it.
  debit_not_authorized: 'hard',
  expired_payment_method: 'credential',
  incorrect_postal_code: 'credential',
  // The customer has canceled what allowed the merchant to charge.
  india_recurring_payment_mandate_canceled: 'hard',
  invalid_card_type: 'credential',
  invalid_characters: 'config',
  invalid_charge_amount: 'hard',
  invalid_source_usage: 'credential',
  livemode_mismatch: 'config',
  lock_timeout: 'technical',
  no_account: 'credential',
  not_allowed_on_standard_account: 'config',
  parameter_invalid_empty: 'config',
  parameter_invalid_integer: 'config',
  parameter_invalid_string_blank: 'config',
  parameter_invalid_string_empty: 'config',
  parameter_missing: 'config',
  parameter_unknown: 'config',
  parameters_exclusive: 'config',
  payment_intent_action_required: 'action_required',
  payment_intent_authentication_failure: 'action_required',
  payment_intent_incompatible_payment_method: 'config',
  payment_intent_invalid_parameter: 'config',
  payment_intent_mandate_invalid: 'credential',
  payment_intent_payment_attempt_expired: 'action_required',
  payment_intent_payment_attempt_failed: 'issuer_soft',
  payment_intent_rate_limit_exceeded: 'technical',
  payment_intent_unexpected_state: 'config',
  payment_method_bank_account_blocked: 'credential',
  payment_method_billing_details_address_missing: 'credential',
  payment_method_configuration_failures: 'config',
  payment_method_currency_mismatch: 'credential',
  payment_method_microdeposit_failed: 'credential',
  payment_method_microdeposit_verification_attempts_exceeded: 'credential',
  payment_method_microdeposit_verification_timeout: 'credential',
  payment_method_restricted: 'credential',
  payment_method_customer_decline: 'credential',
  payment_method_invalid_parameter: 'config',
  payment_method_invalid_parameter_testmode: 'config',
  payment_method_not_available: 'technical',
  payment_method_provider_decline: 'issuer_soft',
  payment_method_provider_timeout: 'technical',
  payment_method_unactivated: 'config',
  payment_method_unexpected_state: 'credential',
  payment_method_unsupported_type: 'config',
  platform_account_required: 'config',
  platform_api_key_expired: 'config',
  postal_code_invalid: 'credential',
  rate_limit: 'technical',
  // The customer has stopped the payment at their bank.
  refer_to_customer: 'hard',
  resource_missing: 'credential',
  routing_number_invalid: 'credential',
  secret_key_required: 'config',
  sepa_unsupported_account: 'config',
  testmode_charges_only: 'config',
  three_d_secure_authentication_not_supported: 'action_required',
  three_d_secure_authentication_upstream_error: 'technical',
  tls_version_unsupported: 'config',
  token_already_used: 'credential',
  url_invalid: 'config',
})

/** The parts of an error, or of an intent's last one, that tell why. */
interface DeclineError {
  code?: string | undefined
  decline_code?: string | undefined
  advice_code?: string | undefined
  network_advice_code?: string | undefined
  network_decline_code?: string | undefined
}

/** Null as well as absent, which is how the API and the library leave out what there is not. */
type Nullable<T> = { [key in keyof T]?: T[key] | null }

/**
 * A code that nobody knows yet is most likely an issuer's: one other provider may be asked, and later the same. What the
 * network advises (https://docs.stripe.com/declines/card#retrying-issuer-declines) wins.
 */
export const classOf = (error: Nullable<DeclineError>): DeclineClass =>
  withNetworkWords(stripeDeclines[error.decline_code ?? ''] ?? stripeErrorCodes[error.code ?? ''] ?? 'issuer_soft', {
    doNotTryAgain: error.advice_code === 'do_not_try_again',
    confirmCard: error.advice_code === 'confirm_card_data',
    advice: error.network_advice_code ?? undefined,
    response: error.network_decline_code ?? undefined,
  })

const declined = (error: Stripe.PaymentIntent['last_payment_error'], pspReference: string): ChargeOutcome => ({
  status: 'declined',
  declineClass: classOf(error ?? {}),
  pspCode: error?.decline_code ?? error?.code ?? 'payment_failed',
  pspReference,
  ...networkNamed(error?.payment_method?.card?.brand),
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

type EventType = Stripe.WebhookEndpointCreateParams.EnabledEvent
type Facts = Pick<PspEvent, 'charge' | 'refund' | 'dispute'>

/** The objects that are read, each with the events that Stripe sends of it. Whether an event is asked for and whether it is read is decided here. */
const objects = table<{ read(object: unknown): Facts; events: readonly EventType[] }>({
  payment_intent: {
    read: (object) => toCharge(object as Stripe.PaymentIntent),
    events: [
      'payment_intent.amount_capturable_updated',
      'payment_intent.canceled',
      'payment_intent.partially_funded',
      'payment_intent.payment_failed',
      'payment_intent.processing',
      'payment_intent.requires_action',
      'payment_intent.succeeded',
    ],
  },
  refund: {
    read: (object) => toRefund(object as Stripe.Refund),
    // `charge.refund.updated` is an older name of what `refund.updated` says too.
    events: ['refund.created', 'refund.failed', 'refund.updated'],
  },
  dispute: {
    read: (object) => toDispute(object as Stripe.Dispute),
    events: ['charge.dispute.closed', 'charge.dispute.created', 'charge.dispute.funds_reinstated', 'charge.dispute.funds_withdrawn', 'charge.dispute.updated'],
  },
})

/** The events that a webhook is set up for. */
export const stripeEvents: EventType[] = Object.values(objects).flatMap(({ events }) => events)

/**
 * Reads an event by what it holds, not by its name, so that new names of known things are understood. An intent that was only
 * just created says nothing yet.
 */
export const toEvent = ({ id, type, data }: Stripe.Event): PspEvent => {
  const { object } = data.object as { object?: string }
  return { id, type, ...(type === 'payment_intent.created' ? {} : objects[object ?? '']?.read(data.object)) }
}
