/** The events that a webhook is set up for are those that the adapter reads: of each something follows. */
import test from 'ava'
import { toEvent as adyenEvent, adyenEvents } from '../../control-plane/payments/psp/adyen/mapping.ts'
import { isReadEvent, toEvent as paypalEvent } from '../../control-plane/payments/psp/paypal/mapping.ts'
import type { PspEvent } from '../../control-plane/payments/psp/psp.ts'
import { toEvent as stripeEvent, stripeEvents } from '../../control-plane/payments/psp/stripe/mapping.ts'

const saysSomething = ({ charge, refund, dispute }: PspEvent): boolean => [charge, refund, dispute].some((part) => part !== undefined)

test('every event that Stripe is asked for is read', (t) => {
  const objects = {
    payment_intent: { object: 'payment_intent', id: 'pi_1', status: 'succeeded', metadata: { tollgate_reference: 'pay_1-1' } },
    refund: { object: 'refund', id: 're_1', status: 'succeeded', metadata: { tollgate_reference: 'pay_1-1.ref_1' } },
    dispute: { object: 'dispute', id: 'dp_1', status: 'lost', payment_intent: 'pi_1', amount: 1, currency: 'usd', reason: 'fraudulent' },
  }
  const objectOf = (type: string) => objects[type.split('.').at(-2) as keyof typeof objects]
  const event = (type: string, object: object) => stripeEvent({ id: 'evt_1', type, data: { object } } as never)
  t.is(new Set(stripeEvents).size, 15)
  for (const type of stripeEvents) t.true(saysSomething(event(type, objectOf(type))), type)
  t.false(saysSomething(event('payment_intent.created', objects.payment_intent)))
  t.false((stripeEvents as string[]).includes('payment_intent.created'))
})

test('every event that Adyen is asked for is read, and no other', (t) => {
  const item = { pspReference: 'p', merchantReference: 'pay_1-1', merchantAccountCode: 'M', success: 'true', amount: { value: 1, currency: 'EUR' } }
  for (const eventCode of adyenEvents) t.true(saysSomething(adyenEvent({ ...item, eventCode }, false)), eventCode)
  for (const eventCode of ['REPORT_AVAILABLE', 'constructor', 'authorisation']) t.false(saysSomething(adyenEvent({ ...item, eventCode }, false)), eventCode)
})

test('of the events that PayPal has, those are asked for that are read', (t) => {
  const resource = {
    id: 'O-1',
    status: 'COMPLETED',
    invoice_id: 'pay_1-1',
    purchase_units: [{ invoice_id: 'pay_1-1' }],
    supplementary_data: { related_ids: { order_id: 'O-1' } },
    dispute_id: 'D-1',
    dispute_amount: { value: '1.00', currency_code: 'USD' },
    disputed_transactions: [{ invoice_number: 'pay_1-1' }],
  }
  const isRead = (type: string) => saysSomething(paypalEvent({ id: 'WH-1', event_type: type, resource }))
  const types = ['PAYMENT.CAPTURE.COMPLETED', 'PAYMENT.CAPTURE.REFUNDED', 'PAYMENT.REFUND.FAILED', 'CHECKOUT.ORDER.APPROVED', 'CUSTOMER.DISPUTE.UPDATED']
  for (const type of types) t.true(isReadEvent(type) && isRead(type), type)
  for (const type of ['CHECKOUT.ORDER.COMPLETED', 'PAYMENT.AUTHORIZATION.CREATED', 'BILLING.PLAN.CREATED']) t.false(isReadEvent(type) || isRead(type), type)
})
