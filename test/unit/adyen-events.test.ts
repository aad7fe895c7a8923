import test from 'ava'
import { type AdyenNotification, toEvent } from '../../control-plane/payments/psp/adyen/mapping.ts'

const item = (change: Partial<AdyenNotification>): AdyenNotification => ({
  eventCode: 'CANCELLATION',
  success: 'true',
  pspReference: 'modification-1',
  originalReference: '8836',
  merchantReference: 'pay_1-1',
  merchantAccountCode: 'Shop',
  amount: { value: 2900, currency: 'EUR' },
  ...change,
})

test('a released authorization is a technical decline; a charge that was given up waited for its customer', (t) => {
  t.like(toEvent(item({}), true).charge, { reference: 'pay_1-1', outcome: { status: 'declined', declineClass: 'technical', pspCode: 'released' } })
  t.like(toEvent(item({ merchantReference: 'pay_1-1.cancel' }), false).charge, {
    reference: 'pay_1-1',
    pspReference: '8836',
    outcome: { status: 'declined', declineClass: 'action_required' },
  })
})

test('a cancellation that came too late says nothing about the charge', (t) => {
  t.is(toEvent(item({ merchantReference: 'pay_1-1.cancel', success: 'false' }), false).charge, undefined)
})
