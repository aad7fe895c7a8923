/**
 * PayPal's words as the port's. Mapping only.
 *
 * Sources: https://developer.paypal.com/docs/api/orders/v2/ (statuses, issues, processor response codes),
 * https://developer.paypal.com/docs/api/payments/v2/, https://developer.paypal.com/api/rest/webhooks/event-names/,
 * https://developer.paypal.com/docs/api/customer-disputes/v1/, https://developer.paypal.com/api/rest/reference/currency-codes/.
 */
import { table } from '../../../../common/table.ts'
import type { DeclineClass } from '../../../schemas/payment.ts'
import { networkNamed } from '../card-networks.ts'
import { fromDecimal } from '../currency-exponents.ts'
import { withNetworkWords } from '../declined-for-good.ts'
import type { ChargeOutcome, DisputeFacts, PspEvent, RefundOutcome } from '../psp.ts'

/**
 * `details[].issue` of a 422 answer: https://developer.paypal.com/api/rest/reference/orders/v2/errors/ and
 * https://developer.paypal.com/api/rest/reference/payments/v2/errors/. One that is not here is about the request, which
 * is `config`.
 */
export const paypalIssues = table<DeclineClass>({
  AGREEMENT_ALREADY_CANCELLED: 'hard',
  AUTHORIZATION_AMOUNT_EXCEEDED: 'config',
  AUTHORIZATION_CURRENCY_MISMATCH: 'config',
  AUTHORIZATION_DENIED: 'issuer_soft',
  AUTHORIZATION_EXPIRED: 'technical',
  AUTHORIZATION_VOIDED: 'technical',
  AUTH_CAPTURE_NOT_ENABLED: 'config',
  BILLING_AGREEMENT_NOT_FOUND: 'credential',
  CARD_BRAND_NOT_SUPPORTED: 'credential',
  CARD_CLOSED: 'hard',
  CARD_EXPIRED: 'credential',
  CARD_TYPE_NOT_SUPPORTED: 'credential',
  COMPLIANCE_VIOLATION: 'hard',
  CONSENT_NEEDED: 'action_required',
  COUNTRY_NOT_SUPPORTED_BY_PAYMENT_SOURCE: 'credential',
  CURRENCY_NOT_SUPPORTED: 'config',
  CURRENCY_NOT_SUPPORTED_BY_PAYMENT_SOURCE: 'config',
  CURRENCY_NOT_SUPPORTED_FOR_CARD_TYPE: 'config',
  CURRENCY_NOT_SUPPORTED_FOR_COUNTRY: 'config',
  DOMESTIC_TRANSACTION_REQUIRED: 'config',
  INSTRUMENT_DECLINED: 'issuer_soft',
  INVALID_EXPIRY_DATE: 'credential',
  INVALID_SECURITY_CODE_LENGTH: 'credential',
  MAX_CAPTURE_AMOUNT_EXCEEDED: 'config',
  MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED: 'credential',
  NOT_ENABLED_FOR_CARD_PROCESSING: 'config',
  ORDER_NOT_APPROVED: 'action_required',
  PAYEE_ACCOUNT_INVALID: 'config',
  PAYEE_ACCOUNT_LOCKED_OR_CLOSED: 'config',
  PAYEE_ACCOUNT_RESTRICTED: 'config',
  // The merchant's own fraud filters refuse this payer, as they are meant to.
  PAYEE_BLOCKED_TRANSACTION: 'hard',
  PAYEE_NOT_CONSENTED: 'config',
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
  POSTAL_CODE_REQUIRED: 'config',
  REDIRECT_PAYER_FOR_ALTERNATE_FUNDING: 'credential',
  REFERENCED_CARD_EXPIRED: 'credential',
  SHIPPING_ADDRESS_INVALID: 'config',
  TOKEN_ID_NOT_FOUND: 'credential',
  TRANSACTION_BLOCKED_BY_PAYEE: 'hard',
  TRANSACTION_LIMIT_EXCEEDED: 'funds',
  TRANSACTION_RECEIVING_LIMIT_EXCEEDED: 'config',
  TRANSACTION_REFUSED: 'issuer_soft',
  VAULT_INSTRUCTION_REQUIRED: 'config',
})

/** The invoice id is our reference: there is an earlier payment of it, and it counts. */
export const ALREADY_PAID = [
  'DUPLICATE_INVOICE_ID',
  'DUPLICATE_REQUEST_ID',
  'ORDER_ALREADY_AUTHORIZED',
  'ORDER_ALREADY_CAPTURED',
  'ORDER_ALREADY_COMPLETED',
  'PREVIOUS_REQUEST_IN_PROGRESS',
  'AUTHORIZATION_ALREADY_CAPTURED',
  'PREVIOUSLY_CAPTURED',
]

/**
 * `processor_response.response_code` of a card that was declined, its name, and what it means:
 * https://developer.paypal.com/docs/api/orders/v2/#definition-processor_response, "response_code". Those that begin with
 * `PP` are PayPal's own.
 */
const processorCodes: [code: string, name: string, declineClass: DeclineClass][] = [
  ['00N7', 'CVV2_FAILURE_POSSIBLE_RETRY_WITH_CVV', 'credential'],
  ['0100', 'REFERRAL', 'issuer_soft'],
  ['0390', 'ACCOUNT_NOT_FOUND', 'credential'],
  ['0500', 'DO_NOT_HONOR', 'issuer_soft'],
  ['0580', 'UNAUTHORIZED_TRANSACTION', 'credential'],
  ['0800', 'BAD_RESPONSE_REVERSAL_REQUIRED', 'technical'],
  ['0880', 'CRYPTOGRAPHIC_FAILURE', 'technical'],
  ['0890', 'UNACCEPTABLE_PIN', 'credential'],
  ['0960', 'SYSTEM_MALFUNCTION', 'technical'],
  // R0: the customer has had this payment stopped.
  ['0R00', 'CANCELLED_PAYMENT', 'hard'],
  ['1000', 'PARTIAL_AUTHORIZATION', 'funds'],
  ['10BR', 'ISSUER_REJECTED', 'issuer_soft'],
  ['1300', 'INVALID_DATA_FORMAT', 'config'],
  // The amount is what is owed: with this card it is refused elsewhere and later too.
  ['1310', 'INVALID_AMOUNT', 'hard'],
  ['1312', 'INVALID_TRANSACTION_CARD_ISSUER_ACQUIRER', 'hard'],
  ['1317', 'INVALID_CAPTURE_DATE', 'config'],
  ['1320', 'INVALID_CURRENCY_CODE', 'config'],
  ['1330', 'INVALID_ACCOUNT', 'credential'],
  ['1335', 'INVALID_ACCOUNT_RECURRING', 'credential'],
  ['1340', 'INVALID_TERMINAL', 'config'],
  ['1350', 'INVALID_MERCHANT', 'config'],
  ['1352', 'RESTRICTED_OR_INACTIVE_ACCOUNT', 'hard'],
  ['1360', 'BAD_PROCESSING_CODE', 'config'],
  ['1370', 'INVALID_MCC', 'config'],
  ['1380', 'INVALID_EXPIRATION', 'credential'],
  ['1382', 'INVALID_CARD_VERIFICATION_VALUE', 'credential'],
  ['1384', 'INVALID_LIFE_CYCLE_OF_TRANSACTION', 'config'],
  ['1390', 'INVALID_ORDER', 'config'],
  ['1393', 'TRANSACTION_CANNOT_BE_COMPLETED', 'hard'],
  ['5100', 'GENERIC_DECLINE', 'issuer_soft'],
  ['5110', 'CVV2_FAILURE', 'credential'],
  ['5120', 'INSUFFICIENT_FUNDS', 'funds'],
  ['5130', 'INVALID_PIN', 'credential'],
  ['5135', 'DECLINED_PIN_TRY_EXCEEDED', 'credential'],
  ['5140', 'CARD_CLOSED', 'hard'],
  ['5150', 'PICKUP_CARD_SPECIAL_CONDITIONS', 'hard'],
  ['5160', 'UNAUTHORIZED_USER', 'hard'],
  ['5170', 'AVS_FAILURE', 'credential'],
  // "Do not retry the same card."
  ['5180', 'INVALID_OR_RESTRICTED_CARD', 'hard'],
  ['5190', 'SOFT_AVS', 'credential'],
  // A duplicate: nobody else is asked now, the same one later.
  ['5200', 'DUPLICATE_TRANSACTION', 'funds'],
  ['5210', 'INVALID_TRANSACTION', 'hard'],
  ['5400', 'EXPIRED_CARD', 'credential'],
  ['5500', 'INCORRECT_PIN_REENTER', 'credential'],
  ['5650', 'DECLINED_SCA_REQUIRED', 'action_required'],
  // 57, in Visa's category 1.
  ['5700', 'TRANSACTION_NOT_PERMITTED', 'hard'],
  ['5710', 'TX_ATTEMPTS_EXCEED_LIMIT', 'funds'],
  ['5800', 'REVERSAL_REJECTED', 'technical'],
  ['5900', 'INVALID_ISSUE', 'credential'],
  // "Not retriable": no such issuer.
  ['5910', 'ISSUER_NOT_AVAILABLE_NOT_RETRIABLE', 'hard'],
  ['5920', 'ISSUER_NOT_AVAILABLE_RETRIABLE', 'issuer_soft'],
  ['5930', 'CARD_NOT_ACTIVATED', 'credential'],
  ['5950', 'DECLINED_DUE_TO_UPDATED_ACCOUNT', 'credential'],
  ['6300', 'ACCOUNT_NOT_ON_FILE', 'credential'],
  ['7600', 'APPROVED_NON_CAPTURE', 'technical'],
  ['7700', 'ERROR_3DS', 'action_required'],
  ['7710', 'AUTHENTICATION_FAILED', 'action_required'],
  ['7800', 'BIN_ERROR', 'credential'],
  ['7900', 'PIN_ERROR', 'credential'],
  ['8000', 'PROCESSOR_SYSTEM_ERROR', 'technical'],
  ['8010', 'HOST_KEY_ERROR', 'technical'],
  ['8020', 'CONFIGURATION_ERROR', 'config'],
  ['8030', 'UNSUPPORTED_OPERATION', 'config'],
  ['8100', 'FATAL_COMMUNICATION_ERROR', 'technical'],
  ['8110', 'RETRIABLE_COMMUNICATION_ERROR', 'technical'],
  ['8220', 'SYSTEM_UNAVAILABLE', 'technical'],
  ['9100', 'DECLINED_PLEASE_RETRY', 'issuer_soft'],
  ['9500', 'SUSPECTED_FRAUD', 'hard'],
  ['9510', 'SECURITY_VIOLATION', 'hard'],
  ['9520', 'LOST_OR_STOLEN', 'hard'],
  ['9530', 'HOLD_CALL_CENTER', 'hard'],
  ['9540', 'REFUSED_CARD', 'hard'],
  ['9600', 'UNRECOGNIZED_RESPONSE_CODE', 'issuer_soft'],
  // What the customer was asked for, 3-D Secure for one, was not done.
  ['PCNR', 'CONTINGENCIES_NOT_RESOLVED', 'action_required'],
  ['PCVV', 'CVV_FAILURE', 'credential'],
  ['PP06', 'ACCOUNT_CLOSED', 'hard'],
  ['PPAB', 'ACCOUNT_BLOCKED_BY_ISSUER', 'hard'],
  ['PPAD', 'BILLING_ADDRESS', 'credential'],
  ['PPAE', 'AMEX_DISABLED', 'config'],
  ['PPAG', 'ADULT_GAMING_UNSUPPORTED', 'config'],
  ['PPAI', 'AMOUNT_INCOMPATIBLE', 'hard'],
  ['PPAR', 'AUTH_RESULT', 'issuer_soft'],
  ['PPAU', 'MCC_CODE', 'config'],
  ['PPAV', 'ARC_AVS', 'credential'],
  ['PPAX', 'AMOUNT_EXCEEDED', 'funds'],
  ['PPBG', 'BAD_GAMING', 'config'],
  ['PPC2', 'ARC_CVV', 'credential'],
  ['PPCE', 'CE_REGISTRATION_INCOMPLETE', 'config'],
  ['PPCO', 'COUNTRY', 'config'],
  ['PPCR', 'CREDIT_ERROR', 'config'],
  ['PPCT', 'CARD_TYPE_UNSUPPORTED', 'credential'],
  ['PPCU', 'CURRENCY_USED_INVALID', 'config'],
  ['PPD3', 'SECURE_ERROR_3DS', 'action_required'],
  ['PPDC', 'DCC_UNSUPPORTED', 'config'],
  ['PPDI', 'DINERS_REJECT', 'credential'],
  ['PPDT', 'DECLINE_THRESHOLD_BREACH', 'hard'],
  ['PPDV', 'AUTH_MESSAGE', 'issuer_soft'],
  ['PPEF', 'EXPIRED_FUNDING_INSTRUMENT', 'credential'],
  ['PPEL', 'EXCEEDS_FREQUENCY_LIMIT', 'funds'],
  ['PPER', 'INTERNAL_SYSTEM_ERROR', 'technical'],
  ['PPEX', 'EXPIRY_DATE', 'credential'],
  ['PPFE', 'FUNDING_SOURCE_ALREADY_EXISTS', 'config'],
  ['PPFI', 'INVALID_FUNDING_INSTRUMENT', 'credential'],
  ['PPFR', 'RESTRICTED_FUNDING_INSTRUMENT', 'hard'],
  ['PPFV', 'FIELD_VALIDATION_FAILED', 'config'],
  ['PPGR', 'GAMING_REFUND_ERROR', 'config'],
  ['PPH1', 'H1_ERROR', 'technical'],
  // There is another under the same key, as with a duplicate.
  ['PPIF', 'IDEMPOTENCY_FAILURE', 'funds'],
  ['PPII', 'INVALID_INPUT_FAILURE', 'config'],
  ['PPIM', 'ID_MISMATCH', 'config'],
  ['PPIT', 'INVALID_TRACE_ID', 'config'],
  ['PPLR', 'LATE_REVERSAL', 'technical'],
  ['PPLS', 'LARGE_STATUS_CODE', 'technical'],
  ['PPMB', 'MISSING_BUSINESS_RULE_OR_DATA', 'config'],
  ['PPMC', 'BLOCKED_Mastercard', 'config'],
  ['PPNC', 'NOT_SUPPORTED_NRC', 'config'],
  ['PPNL', 'EXCEEDS_NETWORK_FREQUENCY_LIMIT', 'funds'],
  ['PPNM', 'NO_MID_FOUND', 'config'],
  ['PPNT', 'NETWORK_ERROR', 'technical'],
  ['PPPH', 'NO_PHONE_FOR_DCC_TRANSACTION', 'config'],
  ['PPPI', 'INVALID_PRODUCT', 'config'],
  ['PPPM', 'INVALID_PAYMENT_METHOD', 'credential'],
  ['PPQC', 'QUASI_CASH_UNSUPPORTED', 'config'],
  ['PPRE', 'UNSUPPORT_REFUND_ON_PENDING_BC', 'config'],
  ['PPRF', 'INVALID_PARENT_TRANSACTION_STATUS', 'config'],
  ['PPRN', 'REATTEMPT_NOT_PERMITTED', 'hard'],
  ['PPRR', 'MERCHANT_NOT_REGISTERED', 'config'],
  ['PPS0', 'BANKAUTH_ROW_MISMATCH', 'config'],
  // The hold is gone, and with it nothing was taken: another charge may be made.
  ['PPS1', 'BANKAUTH_ROW_SETTLED', 'technical'],
  ['PPS2', 'BANKAUTH_ROW_VOIDED', 'technical'],
  ['PPS3', 'BANKAUTH_EXPIRED', 'technical'],
  ['PPS4', 'CURRENCY_MISMATCH', 'config'],
  ['PPS5', 'CREDITCARD_MISMATCH', 'config'],
  ['PPS6', 'AMOUNT_MISMATCH', 'config'],
  ['PPSC', 'ARC_SCORE', 'hard'],
  ['PPSD', 'STATUS_DESCRIPTION', 'issuer_soft'],
  ['PPSE', 'AMEX_DENIED', 'issuer_soft'],
  ['PPTE', 'VERIFICATION_TOKEN_EXPIRED', 'credential'],
  ['PPTF', 'INVALID_TRACE_REFERENCE', 'config'],
  ['PPTI', 'INVALID_TRANSACTION_ID', 'config'],
  ['PPTR', 'VERIFICATION_TOKEN_REVOKED', 'credential'],
  ['PPTT', 'TRANSACTION_TYPE_UNSUPPORTED', 'config'],
  ['PPTV', 'INVALID_VERIFICATION_TOKEN', 'credential'],
  ['PPUA', 'USER_NOT_AUTHORIZED', 'config'],
  ['PPUC', 'CURRENCY_CODE_UNSUPPORTED', 'config'],
  ['PPUE', 'UNSUPPORT_ENTITY', 'config'],
  ['PPUI', 'UNSUPPORT_INSTALLMENT', 'config'],
  ['PPUP', 'UNSUPPORT_POS_FLAG', 'config'],
  ['PPUR', 'UNSUPPORTED_REVERSAL', 'config'],
  ['PPVC', 'VALIDATE_CURRENCY', 'config'],
  ['PPVE', 'VALIDATION_ERROR', 'config'],
  ['PPVT', 'VIRTUAL_TERMINAL_UNSUPPORTED', 'config'],
]

export const paypalProcessorCodes: Readonly<Record<string, DeclineClass>> = Object.fromEntries(
  processorCodes.map(([code, , declineClass]) => [code, declineClass]),
)

/**
 * A code of PayPal's own that nobody knows yet is about the account or its limits, and is not tried again by itself. What the
 * network advises (`payment_advice_code`) wins.
 */
const processorClass = (code: string | undefined, advice?: string): DeclineClass =>
  withNetworkWords(paypalProcessorCodes[code ?? ''] ?? (code?.startsWith('PP') ? 'credential' : 'issuer_soft'), { advice })

/** The custom id of an order that was given up: it is not captured any more, whatever its customer does. */
export const CANCELED_CUSTOM_ID = 'canceled'

interface Money {
  value?: string
  currencyCode?: string
}

interface ProcessorResponse {
  responseCode?: string | undefined
  paymentAdviceCode?: string | undefined
}

/** The parts of an order that are looked at, as the library names them. */
export interface PaypalOrder {
  id?: string
  status?: string
  intent?: string
  paymentSource?: { card?: { brand?: string } }
  links?: { rel: string; href: string }[]
  purchaseUnits?: {
    customId?: string
    invoiceId?: string
    payments?: {
      captures?: { id?: string; status?: string; processorResponse?: ProcessorResponse }[]
      authorizations?: { id?: string; status?: string; processorResponse?: ProcessorResponse }[]
      refunds?: { id?: string; status?: string; invoiceId?: string; amount?: Money }[]
    }
  }[]
}

export const isGivenUp = ({ purchaseUnits }: PaypalOrder): boolean => purchaseUnits?.[0]?.customId === CANCELED_CUSTOM_ID

const declined = (response: ProcessorResponse | undefined, pspReference: string, brand?: string): ChargeOutcome => ({
  status: 'declined',
  declineClass: processorClass(response?.responseCode, response?.paymentAdviceCode),
  pspCode: response?.responseCode ?? 'declined',
  pspReference,
  ...networkNamed(brand),
})

const captureOutcome = (status: string | undefined, response: ProcessorResponse | undefined, pspReference: string, brand?: string): ChargeOutcome => {
  switch (status) {
    case 'COMPLETED':
    case 'PARTIALLY_REFUNDED':
    case 'REFUNDED':
      return { status: 'succeeded', pspReference }
    case 'DECLINED':
    case 'FAILED':
      return declined(response, pspReference, brand)
    default:
      return { status: 'pending', pspReference }
  }
}

export const toOutcome = (order: PaypalOrder): ChargeOutcome => {
  if (!order.id) return { status: 'unknown', pspCode: 'malformed_answer' }
  const pspReference = order.id
  const payments = order.purchaseUnits?.[0]?.payments
  const capture = payments?.captures?.[0]
  const brand = order.paymentSource?.card?.brand
  if (capture) return captureOutcome(capture.status, capture.processorResponse, pspReference, brand)
  const authorization = payments?.authorizations?.[0]
  if (authorization?.status === 'DENIED') return declined(authorization.processorResponse, pspReference, brand)
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
  processor_response?: { response_code?: string; payment_advice_code?: string }
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

/** The custom id is ours as well, unless the order was given up. */
const referenceOf = ({ invoice_id: invoiceId, custom_id: customId }: Pick<Resource, 'invoice_id' | 'custom_id'>): string | undefined => invoiceId ?? customId

const toRefund = (resource: Resource): Pick<PspEvent, 'refund'> => {
  const reference = referenceOf(resource)
  return reference ? { refund: { reference, outcome: toRefundOutcome(resource.status) } } : {}
}

const toCapture = (resource: Resource): Pick<PspEvent, 'charge'> => {
  const reference = referenceOf(resource)
  const orderId = resource.supplementary_data?.related_ids?.order_id
  if (!reference || !orderId) return {}
  const { response_code: responseCode, payment_advice_code: paymentAdviceCode } = resource.processor_response ?? {}
  return { charge: { reference, pspReference: orderId, outcome: captureOutcome(resource.status, { responseCode, paymentAdviceCode }, orderId) } }
}

/** An order that the customer has approved is only paid when it is asked about, which captures it. */
const toApproval = (resource: Resource): Pick<PspEvent, 'charge'> => {
  const reference = referenceOf(resource.purchase_units?.[0] ?? {})
  return resource.id && reference ? { charge: { reference, pspReference: resource.id } } : {}
}

/** The events that are read, by how their names begin. The first that fits counts. */
const readers: [prefix: string, read: (resource: Resource) => Pick<PspEvent, 'charge' | 'refund' | 'dispute'>][] = [
  ['CUSTOMER.DISPUTE.', toDispute],
  ['PAYMENT.CAPTURE.REFUNDED', toRefund],
  ['PAYMENT.REFUND.', toRefund],
  ['PAYMENT.CAPTURE.', toCapture],
  ['CHECKOUT.ORDER.APPROVED', toApproval],
]

const readerOf = (type: string) => readers.find(([prefix]) => type.startsWith(prefix))?.[1]

/** True for the types that are read, and that a webhook is set up for. */
export const isReadEvent = (type: string): boolean => readerOf(type) !== undefined

export const toEvent = ({ id, event_type: type, resource }: PaypalEvent): PspEvent => ({ id, type, ...readerOf(type)?.(resource) })
