/**
 * PayPal's words as the port's. Mapping only.
 *
 * Sources: https://developer.paypal.com/docs/api/orders/v2/ (statuses, issues, processor response codes),
 * https://developer.paypal.com/docs/api/payments/v2/, https://developer.paypal.com/api/rest/webhooks/event-names/,
 * https://developer.paypal.com/docs/api/customer-disputes/v1/, https://developer.paypal.com/api/rest/reference/currency-codes/.
 */
import type { DeclineClass } from '../../../schemas/payment.ts'
import { fromDecimal } from '../currency-exponents.ts'
import type { ChargeOutcome, DisputeFacts, PspEvent, RefundOutcome } from '../psp.ts'

/** `details[].issue` of a 422 answer. */
export const paypalIssues: Readonly<Record<string, DeclineClass>> = {
  AUTH_CAPTURE_NOT_ENABLED: 'config',
  BILLING_AGREEMENT_NOT_FOUND: 'credential',
  CARD_BRAND_NOT_SUPPORTED: 'credential',
  CARD_CLOSED: 'hard',
  CARD_EXPIRED: 'credential',
  COMPLIANCE_VIOLATION: 'hard',
  CONSENT_NEEDED: 'action_required',
  COUNTRY_NOT_SUPPORTED_BY_PAYMENT_SOURCE: 'credential',
  CURRENCY_NOT_SUPPORTED_BY_PAYMENT_SOURCE: 'config',
  CURRENCY_NOT_SUPPORTED_FOR_CARD_TYPE: 'config',
  CURRENCY_NOT_SUPPORTED_FOR_COUNTRY: 'config',
  DOMESTIC_TRANSACTION_REQUIRED: 'config',
  INSTRUMENT_DECLINED: 'issuer_soft',
  INVALID_EXPIRY_DATE: 'credential',
  INVALID_SECURITY_CODE_LENGTH: 'credential',
  MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED: 'credential',
  PAYEE_ACCOUNT_INVALID: 'config',
  PAYEE_ACCOUNT_LOCKED_OR_CLOSED: 'config',
  PAYEE_ACCOUNT_RESTRICTED: 'config',
  PAYEE_BLOCKED_TRANSACTION: 'credential',
  PAYEE_NOT_ENABLED_FOR_CARD_PROCESSING: 'config',
  PAYER_ACCOUNT_LOCKED_OR_CLOSED: 'hard',
  PAYER_ACCOUNT_RESTRICTED: 'hard',
  PAYER_ACTION_REQUIRED: 'action_required',
  PAYER_CANNOT_PAY: 'credential',
  PAYER_CONSENT_REQUIRED: 'action_required',
  PAYER_COUNTRY_NOT_SUPPORTED: 'credential',
  PAYMENT_DENIED: 'issuer_soft',
  PAYMENT_SOURCE_CANNOT_BE_USED: 'credential',
  PAYMENT_SOURCE_DECLINED_BY_PROCESSOR: 'issuer_soft',
  PAYMENT_SOURCE_INFO_CANNOT_BE_VERIFIED: 'credential',
  PERMISSION_DENIED: 'config',
  REDIRECT_PAYER_FOR_ALTERNATE_FUNDING: 'credential',
  TOKEN_ID_NOT_FOUND: 'credential',
  TRANSACTION_BLOCKED_BY_PAYEE: 'config',
  TRANSACTION_LIMIT_EXCEEDED: 'funds',
  TRANSACTION_RECEIVING_LIMIT_EXCEEDED: 'config',
  TRANSACTION_REFUSED: 'issuer_soft',
  VAULT_INSTRUCTION_REQUIRED: 'config',
}

/** The invoice id is our reference: there is an earlier payment of it, and it counts. */
export const ALREADY_PAID = [
  'DUPLICATE_INVOICE_ID',
  'DUPLICATE_REQUEST_ID',
  'ORDER_ALREADY_AUTHORIZED',
  'ORDER_ALREADY_CAPTURED',
  'ORDER_ALREADY_COMPLETED',
  'AUTHORIZATION_ALREADY_CAPTURED',
  'PREVIOUSLY_CAPTURED',
]

/** `processor_response.response_code` of a card that was declined. `PP…` codes are PayPal's own: see `processorClass`. */
export const paypalProcessorCodes: Readonly<Record<string, DeclineClass>> = {
  '00N7': 'credential',
  '0100': 'issuer_soft',
  '0390': 'credential',
  '0500': 'issuer_soft',
  '0580': 'issuer_soft',
  '0800': 'technical',
  '0880': 'technical',
  '0890': 'credential',
  '0960': 'technical',
  '0R00': 'action_required',
  '1000': 'funds',
  '10BR': 'issuer_soft',
  '1300': 'config',
  '1310': 'config',
  '1312': 'config',
  '1317': 'config',
  '1320': 'config',
  '1330': 'credential',
  '1335': 'credential',
  '1340': 'config',
  '1350': 'config',
  '1352': 'hard',
  '1360': 'config',
  '1370': 'config',
  '1380': 'credential',
  '1382': 'credential',
  '1384': 'config',
  '1390': 'config',
  '1393': 'issuer_soft',
  '5100': 'issuer_soft',
  '5110': 'credential',
  '5120': 'funds',
  '5130': 'credential',
  '5135': 'credential',
  '5140': 'hard',
  '5150': 'hard',
  '5160': 'hard',
  '5170': 'credential',
  '5180': 'credential',
  '5190': 'credential',
  // A duplicate: nobody else is asked now, the same one later.
  '5200': 'funds',
  '5210': 'config',
  '5400': 'credential',
  '5500': 'credential',
  '5650': 'action_required',
  '5700': 'credential',
  '5710': 'funds',
  '5800': 'technical',
  '5900': 'credential',
  '5910': 'credential',
  '5920': 'issuer_soft',
  '5930': 'credential',
  '5950': 'credential',
  '6300': 'credential',
  '7600': 'technical',
  '7700': 'action_required',
  '7710': 'action_required',
  '7800': 'credential',
  '7900': 'credential',
  '8000': 'technical',
  '8010': 'technical',
  '8020': 'config',
  '8030': 'config',
  '8100': 'technical',
  '8110': 'technical',
  '8220': 'technical',
  '9100': 'issuer_soft',
  '9500': 'hard',
  '9510': 'hard',
  '9520': 'hard',
  '9530': 'hard',
  '9540': 'hard',
  '9600': 'issuer_soft',
  PCNR: 'issuer_soft',
  PCVV: 'credential',
}

/** PayPal's own codes are about the account, its configuration or its limits; which it says in its dashboard alone. */
export const processorClass = (code: string | undefined): DeclineClass =>
  paypalProcessorCodes[code ?? ''] ?? (code?.startsWith('PP') ? 'credential' : 'issuer_soft')

/** In the place of the custom id of an order: it is not captured any more, whatever its customer does. */
export const GIVEN_UP = 'canceled'

interface Money {
  value?: string
  currencyCode?: string
}

/** The parts of an order that are looked at, as the library names them. */
export interface PaypalOrder {
  id?: string
  status?: string
  intent?: string
  links?: { rel: string; href: string }[]
  purchaseUnits?: {
    customId?: string
    invoiceId?: string
    payments?: {
      captures?: { id?: string; status?: string; processorResponse?: { responseCode?: string } }[]
      authorizations?: { id?: string; status?: string; processorResponse?: { responseCode?: string } }[]
      refunds?: { id?: string; status?: string; invoiceId?: string; amount?: Money }[]
    }
  }[]
}

export const isGivenUp = ({ purchaseUnits }: PaypalOrder): boolean => purchaseUnits?.[0]?.customId === GIVEN_UP

const declined = (code: string | undefined, pspReference: string): ChargeOutcome => ({
  status: 'declined',
  declineClass: processorClass(code),
  pspCode: code ?? 'declined',
  pspReference,
})

const captureOutcome = (status: string | undefined, code: string | undefined, pspReference: string): ChargeOutcome => {
  switch (status) {
    case 'COMPLETED':
    case 'PARTIALLY_REFUNDED':
    case 'REFUNDED':
      return { status: 'succeeded', pspReference }
    case 'DECLINED':
    case 'FAILED':
      return declined(code, pspReference)
    default:
      return { status: 'pending', pspReference }
  }
}

export const toOutcome = (order: PaypalOrder): ChargeOutcome => {
  if (!order.id) return { status: 'unknown', pspCode: 'malformed_answer' }
  const pspReference = order.id
  const payments = order.purchaseUnits?.[0]?.payments
  const capture = payments?.captures?.[0]
  if (capture) return captureOutcome(capture.status, capture.processorResponse?.responseCode, pspReference)
  const authorization = payments?.authorizations?.[0]
  if (authorization?.status === 'DENIED') return declined(authorization.processorResponse?.responseCode, pspReference)
  if (authorization?.status === 'VOIDED') return { status: 'declined', declineClass: 'technical', pspCode: 'released', pspReference }
  if (authorization?.status === 'CREATED') return { status: 'authorized', pspReference }
  if (order.status === 'VOIDED') return { status: 'declined', declineClass: 'technical', pspCode: 'voided', pspReference }
  if (isGivenUp(order)) return { status: 'declined', declineClass: 'action_required', pspCode: 'canceled', pspReference }
  const action = order.links?.find(({ rel }) => rel === 'payer-action' || rel === 'approve')
  if (order.status === 'PAYER_ACTION_REQUIRED' && action) return { status: 'requires_action', pspReference, actionUrl: action.href }
  // A status that we do not know is not a decline: somebody may have been charged.
  return { status: 'pending', pspReference }
}

export const toRefundOutcome = (status: string | undefined): RefundOutcome => {
  if (status === 'COMPLETED') return { status: 'succeeded' }
  if (status === 'FAILED' || status === 'CANCELLED') return { status: 'failed', pspCode: status.toLowerCase() }
  return { status: 'pending' }
}

/** An event's resource, as PayPal sends it. */
interface Resource {
  id?: string
  status?: string
  custom_id?: string
  invoice_id?: string
  processor_response?: { response_code?: string }
  supplementary_data?: { related_ids?: { order_id?: string } }
  purchase_units?: { custom_id?: string; invoice_id?: string }[]
  dispute_id?: string
  reason?: string
  dispute_amount?: { value?: string; currency_code?: string }
  dispute_outcome?: { outcome_code?: string }
  disputed_transactions?: { invoice_number?: string; custom?: string; seller_transaction_id?: string }[]
  seller_response_due_date?: string
  update_time?: string
}

export interface PaypalEvent {
  id: string
  event_type: string
  resource_type?: string
  resource: Resource
}

const disputeStatus = (resource: Resource): DisputeFacts['status'] => {
  if (resource.status !== 'RESOLVED') return 'open'
  return resource.dispute_outcome?.outcome_code === 'RESOLVED_BUYER_FAVOUR' || resource.dispute_outcome?.outcome_code === 'ACCEPTED' ? 'lost' : 'won'
}

const toDispute = (resource: Resource): Pick<PspEvent, 'charge' | 'dispute'> => {
  const of = resource.disputed_transactions?.[0]
  const reference = of?.invoice_number ?? of?.custom
  const currency = resource.dispute_amount?.currency_code ?? ''
  if (!reference || !resource.dispute_id) return {}
  return {
    charge: { reference },
    dispute: {
      id: resource.dispute_id,
      status: disputeStatus(resource),
      amountMinor: fromDecimal(resource.dispute_amount?.value ?? '', currency) ?? 0,
      currency,
      reason: resource.reason ?? 'unknown',
      ...(resource.update_time ? { at: new Date(resource.update_time) } : {}),
      ...(resource.seller_response_due_date ? { respondBy: new Date(resource.seller_response_due_date) } : {}),
    },
  }
}

const factsOf = ({ event_type: type, resource }: PaypalEvent): Pick<PspEvent, 'charge' | 'refund' | 'dispute'> => {
  // The custom id is ours as well, unless the order was given up.
  const reference = resource.invoice_id ?? resource.custom_id
  if (type.startsWith('CUSTOMER.DISPUTE.')) return toDispute(resource)
  if (type === 'PAYMENT.CAPTURE.REFUNDED' || type.startsWith('PAYMENT.REFUND.')) {
    return reference ? { refund: { reference, outcome: toRefundOutcome(resource.status) } } : {}
  }
  if (type.startsWith('PAYMENT.CAPTURE.')) {
    const orderId = resource.supplementary_data?.related_ids?.order_id
    if (!reference || !orderId) return {}
    return { charge: { reference, pspReference: orderId, outcome: captureOutcome(resource.status, resource.processor_response?.response_code, orderId) } }
  }
  // An order that the customer has approved is only paid when it is asked about, which captures it.
  if (type === 'CHECKOUT.ORDER.APPROVED' && resource.id) {
    const of = resource.purchase_units?.[0]?.invoice_id ?? resource.purchase_units?.[0]?.custom_id
    return of ? { charge: { reference: of, pspReference: resource.id } } : {}
  }
  return {}
}

export const toEvent = (event: PaypalEvent): PspEvent => ({ id: event.id, type: event.event_type, ...factsOf(event) })
