/**
 * Codes whose meaning is published, each with the class that follows from it. The tables of the mappings are held
 * against what the providers say, not against themselves.
 */
import test from 'ava'
import { toEvent as toAdyenEvent, toOutcome as toAdyenOutcome } from '../../control-plane/payments/psp/adyen/mapping.ts'
import { withNetworkWords } from '../../control-plane/payments/psp/declined-for-good.ts'
import { toOutcome as toMercadopagoOutcome } from '../../control-plane/payments/psp/mercadopago/mapping.ts'
import { paypalIssues, toOutcome as toPaypalOutcome } from '../../control-plane/payments/psp/paypal/mapping.ts'
import { classOf, toOutcome as toStripeOutcome } from '../../control-plane/payments/psp/stripe/mapping.ts'
import type { DeclineClass } from '../../control-plane/schemas/payment.ts'

type Known = [code: string, published: string, declineClass: DeclineClass]

const stripe: Known[] = [
  ['do_not_honor', 'declined for an unknown reason', 'issuer_soft'],
  ['try_again_later', 'ask the customer to attempt the payment again', 'issuer_soft'],
  ['reenter_transaction', 'could not be processed by the issuer; attempt again', 'issuer_soft'],
  ['processing_error', 'an error occurred while processing the card', 'technical'],
  ['insufficient_funds', 'insufficient funds', 'funds'],
  ['card_velocity_exceeded', 'exceeded the balance, credit limit or transaction amount limit', 'funds'],
  ['withdrawal_count_limit_exceeded', 'exceeded the balance or credit limit', 'funds'],
  ['payment_limit_exceeded', "exceeds a limit on the customer's account", 'funds'],
  ['authentication_required', 'requires authentication such as 3D Secure', 'action_required'],
  ['expired_card', 'the card has expired', 'credential'],
  ['incorrect_cvc', 'the CVC number is incorrect', 'credential'],
  ['incorrect_number', 'the card number is incorrect', 'credential'],
  ['currency_not_supported', 'the card does not support the specified currency', 'credential'],
  ['invalid_amount', "exceeds the amount that's allowed; retries won't succeed", 'hard'],
  ['transaction_not_allowed', 'network codes 12 and 57', 'hard'],
  ['not_permitted', 'the payment is not permitted', 'hard'],
  ['lost_card', 'reported lost', 'hard'],
  ['stolen_card', 'reported stolen', 'hard'],
  ['pickup_card', 'possibly reported lost or stolen', 'hard'],
  ['fraudulent', 'suspected fraudulent', 'hard'],
  ['stop_payment_order', 'network code R0', 'hard'],
  ['revocation_of_authorization', 'network code R1', 'hard'],
  ['revocation_of_all_authorizations', 'network code R3', 'hard'],
  ['do_not_try_again', 'deprecated for advice_code', 'hard'],
  ['invalid_authorization', "revoked its authorization; retries won't succeed", 'hard'],
  ['compliance_violation', "retries won't succeed", 'hard'],
  ['testmode_decline', 'a Stripe test card number was used', 'config'],
  ['invalid_business_account', 'the business account is deactivated', 'config'],
]

test('Stripe, https://docs.stripe.com/declines/codes', (t) => {
  for (const [code, published, declineClass] of stripe) t.is(classOf({ decline_code: code, code: 'card_declined' }), declineClass, `${code}: ${published}`)
})

const stripeErrors: Known[] = [
  ['amount_too_small', 'less than the minimum amount', 'hard'],
  ['api_key_expired', 'the API key has expired', 'config'],
  ['payment_method_unactivated', 'the payment method is not activated', 'config'],
  ['card_decline_rate_limit_exceeded', 'declined too many times; try again after 24 hours', 'funds'],
  ['debit_not_authorized', 'the customer has notified their bank that it was unauthorized', 'hard'],
  ['refer_to_customer', 'the customer has stopped the payment with their bank', 'hard'],
  ['account_closed', "the customer's bank account has been closed", 'hard'],
  ['rate_limit', 'too many requests', 'technical'],
]

test('Stripe, https://docs.stripe.com/error-codes', (t) => {
  for (const [code, published, declineClass] of stripeErrors) t.is(classOf({ code }), declineClass, `${code}: ${published}`)
})

const adyen: Known[] = [
  ['2', 'Refused', 'issuer_soft'],
  ['4', 'Acquirer Error', 'technical'],
  ['5', 'Blocked Card', 'hard'],
  ['6', 'Expired Card', 'credential'],
  ['7', 'Invalid Amount', 'hard'],
  ['8', 'Invalid Card Number', 'credential'],
  ['9', 'Issuer Unavailable', 'issuer_soft'],
  ['11', '3D Not Authenticated', 'action_required'],
  ['12', 'Not enough balance', 'funds'],
  ['14', 'Acquirer Fraud', 'hard'],
  ['20', 'FRAUD', 'hard'],
  ['23', 'Transaction Not Permitted', 'hard'],
  ['24', 'CVC Declined', 'credential'],
  ['26', 'Revocation Of Auth', 'hard'],
  ['28', 'Withdrawal amount exceeded', 'funds'],
  ['29', 'Withdrawal count exceeded', 'funds'],
  ['31', 'Issuer Suspected Fraud', 'hard'],
  ['38', 'Authentication required', 'action_required'],
  ['46', 'Transaction blocked by Adyen to prevent excessive retry fees', 'hard'],
]

test('Adyen, https://docs.adyen.com/development-resources/refusal-reasons, by code and, in webhooks, by reason', (t) => {
  for (const [refusalReasonCode, reason, declineClass] of adyen) {
    const outcome = toAdyenOutcome({ resultCode: 'Refused', refusalReasonCode, refusalReason: reason, pspReference: '1' }, false)
    t.like(outcome, { status: 'declined', declineClass }, `${refusalReasonCode}: ${reason}`)
    const amount = { value: 1, currency: 'EUR' }
    const item = { eventCode: 'AUTHORISATION', success: 'false', pspReference: '1', merchantReference: 'pay_1-1', merchantAccountCode: 'Shop', reason, amount }
    t.like(toAdyenEvent(item, false).charge?.outcome, { declineClass, pspCode: refusalReasonCode }, reason)
  }
})

const paypal: Known[] = [
  ['0500', 'DO_NOT_HONOR', 'issuer_soft'],
  ['9100', 'DECLINED_PLEASE_RETRY', 'issuer_soft'],
  ['5920', 'ISSUER_NOT_AVAILABLE_RETRIABLE', 'issuer_soft'],
  ['5910', 'ISSUER_NOT_AVAILABLE_NOT_RETRIABLE', 'hard'],
  ['8000', 'PROCESSOR_SYSTEM_ERROR', 'technical'],
  ['5120', 'INSUFFICIENT_FUNDS', 'funds'],
  ['5710', 'TX_ATTEMPTS_EXCEED_LIMIT', 'funds'],
  ['PPAX', 'AMOUNT_EXCEEDED', 'funds'],
  ['PPEL', 'EXCEEDS_FREQUENCY_LIMIT', 'funds'],
  ['5650', 'DECLINED_SCA_REQUIRED', 'action_required'],
  ['PPD3', 'SECURE_ERROR_3DS', 'action_required'],
  ['5400', 'EXPIRED_CARD', 'credential'],
  ['5110', 'CVV2_FAILURE', 'credential'],
  ['1330', 'INVALID_ACCOUNT', 'credential'],
  ['1310', 'INVALID_AMOUNT', 'hard'],
  ['5210', 'INVALID_TRANSACTION', 'hard'],
  ['5180', 'INVALID_OR_RESTRICTED_CARD. Do not retry the same card', 'hard'],
  ['5700', 'TRANSACTION_NOT_PERMITTED', 'hard'],
  ['0R00', 'CANCELLED_PAYMENT', 'hard'],
  ['9500', 'SUSPECTED_FRAUD. Do not retry the same card', 'hard'],
  ['9520', 'LOST_OR_STOLEN. Do not retry the same card', 'hard'],
  ['PPRN', 'REATTEMPT_NOT_PERMITTED', 'hard'],
  ['PPAB', 'ACCOUNT_BLOCKED_BY_ISSUER', 'hard'],
  ['1350', 'INVALID_MERCHANT', 'config'],
  ['8020', 'CONFIGURATION_ERROR', 'config'],
  ['PPRR', 'MERCHANT_NOT_REGISTERED', 'config'],
  ['PPNM', 'NO_MID_FOUND', 'config'],
]

const paypalCapture = (responseCode: string, paymentAdviceCode?: string) =>
  toPaypalOutcome({
    id: 'order',
    status: 'COMPLETED',
    purchaseUnits: [{ payments: { captures: [{ id: 'capture', status: 'DECLINED', processorResponse: { responseCode, paymentAdviceCode } }] } }],
  })

test('PayPal, https://developer.paypal.com/docs/api/orders/v2/#definition-processor_response', (t) => {
  for (const [code, published, declineClass] of paypal) t.like(paypalCapture(code), { status: 'declined', declineClass, pspCode: code }, published)
})

test('PayPal, https://developer.paypal.com/api/rest/reference/orders/v2/errors/', (t) => {
  t.is(paypalIssues.CARD_EXPIRED, 'credential')
  t.is(paypalIssues.REFERENCED_CARD_EXPIRED, 'credential')
  t.is(paypalIssues.INSTRUMENT_DECLINED, 'issuer_soft')
  t.is(paypalIssues.PAYER_ACTION_REQUIRED, 'action_required')
  t.is(paypalIssues.TRANSACTION_LIMIT_EXCEEDED, 'funds')
  t.is(paypalIssues.PAYEE_ACCOUNT_RESTRICTED, 'config')
  t.is(paypalIssues.COMPLIANCE_VIOLATION, 'hard')
  t.is(paypalIssues.AGREEMENT_ALREADY_CANCELLED, 'hard')
})

const mercadopago: Known[] = [
  ['cc_rejected_insufficient_amount', 'does not have enough funds', 'funds'],
  ['cc_amount_rate_limit_exceeded', 'exceeds the limit of the payment method', 'funds'],
  ['cc_rejected_bad_filled_security_code', 'check card security code', 'credential'],
  ['cc_rejected_bad_filled_date', 'check expiration date', 'credential'],
  ['cc_rejected_card_disabled', 'call to activate your card', 'credential'],
  ['cc_rejected_max_attempts', 'attempt limit reached; select a different card', 'credential'],
  ['cc_rejected_3ds_mandatory', 'rejected for not complying with 3DS validation', 'action_required'],
  ['cc_rejected_3ds_challenge', 'rejected due to challenge failure', 'action_required'],
  ['cc_rejected_call_for_authorize', 'authorize the payment with the issuer', 'action_required'],
  ['cc_rejected_blacklist', 'could not be processed', 'hard'],
  ['cc_rejected_high_risk', 'select a different payment method', 'hard'],
  ['rejected_by_regulations', 'a restriction of the regulator', 'hard'],
  ['cc_rejected_invalid_installments', 'does not process payments in these installments', 'config'],
  ['cc_rejected_other_reason', 'did not process the payment', 'issuer_soft'],
  ['bank_error', 'an error of the bank', 'technical'],
]

test('MercadoPago, .../checkout-api-payments/response-handling/collection-results', (t) => {
  for (const [code, published, declineClass] of mercadopago) {
    t.like(toMercadopagoOutcome({ id: 1, status: 'rejected', status_detail: code }), { status: 'declined', declineClass }, `${code}: ${published}`)
  }
  // Who canceled it was the customer, or nobody came: no other account is asked at once.
  for (const detail of ['expired', 'by_payer'])
    t.like(toMercadopagoOutcome({ id: 1, status: 'cancelled', status_detail: detail }), { declineClass: 'action_required' })
})

test('what the network says for good wins over a soft code, at each provider that passes it on', (t) => {
  const soft = { decline_code: 'do_not_honor', code: 'card_declined' }
  t.is(classOf(soft), 'issuer_soft')
  t.is(classOf({ ...soft, advice_code: 'try_again_later' }), 'issuer_soft')
  t.is(classOf({ ...soft, advice_code: 'do_not_try_again' }), 'hard')
  t.is(classOf({ ...soft, network_advice_code: '03' }), 'hard')
  t.is(classOf({ ...soft, network_advice_code: '02' }), 'funds')
  t.is(classOf({ ...soft, network_advice_code: '01' }), 'credential')
  t.is(classOf({ ...soft, network_advice_code: '27' }), 'funds')
  t.is(classOf({ ...soft, network_advice_code: '43' }), 'issuer_soft')
  t.is(classOf({ ...soft, advice_code: 'confirm_card_data' }), 'credential')
  for (const code of ['04', '07', '12', '13', '14', '15', '41', '43', '46', '57', 'R0', 'R1', 'R3'])
    t.is(classOf({ ...soft, network_decline_code: code }), 'hard', code)
  for (const code of ['05', '51', '65', '91', '00']) t.is(classOf({ ...soft, network_decline_code: code }), 'issuer_soft', code)
  const intent = { id: 'pi_1', status: 'requires_payment_method', last_payment_error: { ...soft, advice_code: 'do_not_try_again' } }
  t.like(toStripeOutcome(intent as never), { status: 'declined', declineClass: 'hard', pspCode: 'do_not_honor' })

  const refused = { resultCode: 'Refused', refusalReasonCode: '2', pspReference: '1' }
  const raw = (additionalData: object) => toAdyenOutcome({ ...refused, additionalData }, false)
  t.like(raw({ refusalReasonRaw: '05 : Do not honor', merchantAdviceCode: '02 : Try again later' }), { declineClass: 'funds' })
  t.like(raw({ refusalReasonRaw: 'DECLINED' }), { declineClass: 'issuer_soft' })
  t.like(raw({ merchantAdviceCode: '03 : Do not try again' }), { declineClass: 'hard' })
  t.like(raw({ merchantAdviceCode: '21: Payment Cancellation' }), { declineClass: 'hard' })
  t.like(raw({ refusalReasonRaw: 'R1 : Revocation of authorization order' }), { declineClass: 'hard' })
  const amount = { value: 1, currency: 'EUR' }
  const item = { eventCode: 'AUTHORISATION', success: 'false', pspReference: '1', merchantReference: 'pay_1-1', merchantAccountCode: 'Shop', amount }
  const told = toAdyenEvent({ ...item, reason: 'Refused', additionalData: { merchantAdviceCode: '03 : Do not try again' } }, false)
  t.like(told.charge?.outcome, { declineClass: 'hard' })

  t.like(paypalCapture('0500', '02'), { declineClass: 'funds' })
  t.like(paypalCapture('0500', '03'), { declineClass: 'hard' })
  t.like(paypalCapture('5120', '21'), { declineClass: 'hard' })
})

test('what stops already keeps its reason: a customer who has to act may still do so', (t) => {
  t.is(withNetworkWords('action_required', { advice: '03' }), 'action_required')
  t.is(withNetworkWords('credential', { response: '46' }), 'credential')
  t.is(withNetworkWords('funds', { advice: '03' }), 'hard')
  t.is(withNetworkWords('technical', {}), 'technical')
})
