import test from 'ava'
import type Stripe from 'stripe'
import { toOutcome as adyen, toEvent as adyenEvent } from '../../control-plane/payments/psp/adyen/mapping.ts'
import { cardNetworkOf } from '../../control-plane/payments/psp/card-networks.ts'
import { toOutcome as mercadopago } from '../../control-plane/payments/psp/mercadopago/mapping.ts'
import { toOutcome as paypal } from '../../control-plane/payments/psp/paypal/mapping.ts'
import { toOutcome as stripe } from '../../control-plane/payments/psp/stripe/mapping.ts'

test("providers' names for Visa and Mastercard are known, and no other name is", (t) => {
  for (const name of ['visa', 'VISA', 'visa_applepay', 'visadebit', 'debvisa']) t.is(cardNetworkOf(name), 'visa', name)
  for (const name of ['mastercard', 'MASTERCARD', 'mc', 'mc_googlepay', 'mcdebit', 'master', 'debmaster']) t.is(cardNetworkOf(name), 'mastercard', name)
  for (const name of ['amex', 'maestro', 'elo', 'unknown', '', undefined, null]) t.is(cardNetworkOf(name), undefined, String(name))
})

test('a decline names the network of its card where the provider does', (t) => {
  const refused = { resultCode: 'Refused', pspReference: 'p', refusalReasonCode: '12' }
  t.like(adyen({ ...refused, paymentMethod: { brand: 'mc', type: 'scheme' } }, false), { status: 'declined', network: 'mastercard' })
  t.like(adyen({ ...refused, additionalData: { merchantAdviceCode: '02 : Cannot approve at this time, try again later' } }, false), { network: 'mastercard' })
  t.false('network' in adyen(refused, false))
  const notification = { eventCode: 'AUTHORISATION', success: 'false', pspReference: 'p', merchantAccountCode: 'm', amount: { value: 1, currency: 'EUR' } }
  t.like(adyenEvent({ ...notification, merchantReference: 'r', reason: 'Refused', paymentMethod: 'visa' }, false).charge?.outcome, { network: 'visa' })
  const intent = {
    id: 'pi',
    status: 'requires_payment_method',
    last_payment_error: { decline_code: 'insufficient_funds', payment_method: { card: { brand: 'visa' } } },
  }
  t.like(stripe(intent as unknown as Stripe.PaymentIntent), { status: 'declined', declineClass: 'funds', network: 'visa' })
  const captures = [{ status: 'DECLINED', processorResponse: { responseCode: '5120' } }]
  t.like(paypal({ id: 'o', paymentSource: { card: { brand: 'MASTERCARD' } }, purchaseUnits: [{ payments: { captures } }] }), { network: 'mastercard' })
  t.like(mercadopago({ id: 1, status: 'rejected', status_detail: 'cc_rejected_other_reason', payment_method_id: 'master' }), { network: 'mastercard' })
})
