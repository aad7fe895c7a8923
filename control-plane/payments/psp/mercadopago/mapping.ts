/**
 * MercadoPago's words as the port's. Mapping only.
 *
 * Sources: https://www.mercadopago.com/developers/en/docs/checkout-api-payments/response-handling/collection-results,
 * https://www.mercadopago.com/developers/en/reference/online-payments/checkout-api-payments/create-payment/post,
 * https://www.mercadopago.com/developers/en/docs/your-integrations/notifications/webhooks.
 */
import { table } from '../../../../common/table.ts'
import type { DeclineClass } from '../../../schemas/payment.ts'
import { networkNamed } from '../card-networks.ts'
import { fromDecimal } from '../currency-exponents.ts'
import type { ChargeOutcome, FoundCharge, PspEvent, RefundOutcome } from '../psp.ts'

/**
 * `status_detail` of a payment that is rejected:
 * https://www.mercadopago.com/developers/en/docs/checkout-api-payments/response-handling/collection-results, and, for
 * `cc_rejected_3ds_…`, .../how-tos/integrate-3ds, "Possible payment status".
 */
export const mercadopagoRejections = table<DeclineClass>({
  bank_error: 'technical',
  cc_amount_rate_limit_exceeded: 'funds',
  cc_rejected_3ds_challenge: 'action_required',
  cc_rejected_3ds_mandatory: 'action_required',
  cc_rejected_bad_filled_card_number: 'credential',
  cc_rejected_bad_filled_date: 'credential',
  cc_rejected_bad_filled_other: 'credential',
  cc_rejected_bad_filled_security_code: 'credential',
  cc_rejected_blacklist: 'hard',
  cc_rejected_call_for_authorize: 'action_required',
  cc_rejected_card_disabled: 'credential',
  cc_rejected_card_error: 'issuer_soft',
  cc_rejected_card_type_not_allowed: 'credential',
  // There is another like it: nobody else is asked now, the same one later.
  cc_rejected_duplicated_payment: 'funds',
  cc_rejected_fraud: 'hard',
  cc_rejected_high_risk: 'hard',
  cc_rejected_insufficient_amount: 'funds',
  cc_rejected_insufficient_data: 'config',
  cc_rejected_invalid_installments: 'config',
  cc_rejected_max_attempts: 'credential',
  cc_rejected_other_reason: 'issuer_soft',
  cc_rejected_time_out: 'technical',
  insufficient_amount: 'funds',
  insufficient_money: 'funds',
  // An invalid transaction is one elsewhere, and later.
  invalid_operation: 'hard',
  rejected_by_bank: 'issuer_soft',
  rejected_by_biz_rule: 'hard',
  rejected_by_issuer: 'issuer_soft',
  rejected_by_regulations: 'hard',
  rejected_high_risk: 'hard',
  rejected_insufficient_data: 'config',
  rejected_other_reason: 'issuer_soft',
})

/**
 * `cause[].code` of a request that is refused:
 * https://www.mercadopago.com/developers/en/reference/online-payments/checkout-api-payments/create-payment/post, "Errors".
 * What is about the customer or the card; the others are about the request, which is `config`.
 */
export const mercadopagoCauses = table<DeclineClass>({
  // The customer, or the token of their card, is not found or not valid.
  '2002': 'credential',
  '2006': 'credential',
  '2062': 'credential',
  '3003': 'credential',
  // The card, its date, its number or its security code.
  ...Object.fromEntries(
    ['2010', '3006', '3008', '3010', '3012', '3013', '3015', '3016', '3017', '3018', '3019', '3026', '3029', '3030'].map((code) => [
      code,
      'credential' as const,
    ]),
  ),
  // The payer cannot pay here, or (151) not with this.
  '106': 'hard',
  '150': 'hard',
  '151': 'credential',
  '2020': 'hard',
  // The amount is not one that can be paid, or not with this.
  '129': 'hard',
  '4037': 'hard',
  // The card cannot be asked now; the tokens cannot.
  '204': 'technical',
  '2007': 'technical',
})

/** "Already posted the same request in the last minute", and a failure on the way to the acquirer: there may be an earlier one, and it counts. */
export const UNCLEAR_CAUSES = ['801', '2001', '2004']

/** The parts of a payment that are looked at. */
export interface MercadopagoPayment {
  id?: number | string
  status?: string
  status_detail?: string
  payment_method_id?: string
  external_reference?: string
  transaction_amount?: number
  currency_id?: string
  three_ds_info?: { external_resource_url?: string }
  transaction_details?: { external_resource_url?: string }
}

export const toOutcome = (payment: MercadopagoPayment): ChargeOutcome => {
  if (payment.id === undefined) return { status: 'unknown', pspCode: 'malformed_answer' }
  const pspReference = String(payment.id)
  const detail = payment.status_detail ?? ''
  switch (payment.status) {
    // Money that came and went came: what took it back is told apart.
    case 'approved':
    case 'refunded':
    case 'charged_back':
    case 'in_mediation':
      return { status: 'succeeded', pspReference }
    case 'authorized':
      return { status: 'authorized', pspReference }
    case 'rejected':
      return {
        status: 'declined',
        declineClass: mercadopagoRejections[detail] ?? 'issuer_soft',
        pspCode: detail || 'rejected',
        pspReference,
        ...networkNamed(payment.payment_method_id),
      }
    case 'cancelled':
      return {
        status: 'declined',
        declineClass: detail === 'expired' || detail === 'by_payer' ? 'action_required' : 'technical',
        pspCode: `cancelled_${detail}`,
        pspReference,
      }
    default: {
      const actionUrl = payment.three_ds_info?.external_resource_url ?? payment.transaction_details?.external_resource_url
      // A status that we do not know is not a decline: somebody may have been charged.
      return payment.status === 'pending' && actionUrl ? { status: 'requires_action', pspReference, actionUrl } : { status: 'pending', pspReference }
    }
  }
}

const disputeOf = (payment: MercadopagoPayment): Pick<FoundCharge, 'dispute'> => {
  if (payment.status !== 'charged_back' && payment.status !== 'in_mediation') return {}
  const lost = payment.status === 'charged_back' && payment.status_detail === 'settled'
  const won = payment.status === 'charged_back' && payment.status_detail === 'reimbursed'
  const currency = payment.currency_id ?? ''
  return {
    dispute: {
      id: `chargeback-${payment.id}`,
      status: lost ? 'lost' : won ? 'won' : 'open',
      amountMinor: fromDecimal(String(payment.transaction_amount ?? 0), currency) ?? 0,
      currency,
      reason: `${payment.status}: ${payment.status_detail ?? ''}`,
    },
  }
}

export const toFoundCharge = (payment: MercadopagoPayment): FoundCharge | undefined => {
  const { external_reference: reference } = payment
  return reference ? { reference, outcome: toOutcome(payment), ...disputeOf(payment) } : undefined
}

export const toRefundOutcome = (status: string | undefined): RefundOutcome => {
  if (status === 'approved') return { status: 'succeeded' }
  if (status === 'rejected' || status === 'cancelled') return { status: 'failed', pspCode: status }
  return { status: 'pending' }
}

export interface MercadopagoEvent {
  id: number | string
  type?: string
  action?: string
  data?: { id?: number | string }
}

/** An event names a payment and says nothing of it: that has to be asked. */
export const toEvent = (event: MercadopagoEvent): PspEvent => {
  const id = String(event.id)
  const type = event.action ?? event.type ?? 'unknown'
  const of = event.data?.id
  return event.type === 'payment' && of !== undefined ? { id, type, charge: { pspReference: String(of) } } : { id, type }
}
