/** What every decline leads to, compared with the table that Tollgate promises (docs/payments.md). */
import { ProcessorResponseCode } from '@paypal/paypal-server-sdk'
import test from 'ava'
import type { DeclineClass } from '../../control-plane/schemas/payment.ts'
import { declineMatrix, type Row } from './decline-matrix.ts'

const promised: Record<DeclineClass, Pick<Row, 'otherAccountNow' | 'sameMethodLater' | 'access'>> = {
  technical: { otherAccountNow: 'yes', sameMethodLater: 'yes', access: 'unchanged' },
  issuer_soft: { otherAccountNow: 'once', sameMethodLater: 'yes', access: 'grace' },
  funds: { otherAccountNow: 'no', sameMethodLater: 'yes', access: 'grace' },
  action_required: { otherAccountNow: 'no', sameMethodLater: 'no', access: 'grace' },
  credential: { otherAccountNow: 'no', sameMethodLater: 'no', access: 'grace' },
  hard: { otherAccountNow: 'never', sameMethodLater: 'never', access: 'grace' },
  config: { otherAccountNow: 'yes', sameMethodLater: 'yes', access: 'unchanged' },
}

const rows = declineMatrix()

test(`each of the ${rows.length} codes leads where its class promises`, (t) => {
  t.true(rows.length > 200)
  for (const { from, code, declineClass, ...what } of rows) t.deepEqual(what, promised[declineClass], `${from} ${code}`)
})

test('what means lost, stolen, revoked or fraud is never tried again, anywhere', (t) => {
  const hard = rows.filter(({ code }) => /lost|stolen|pickup|revo|fraud|blacklist|do_not_try|stop_payment|^(9520|9500|0R00|5150)$/i.test(code))
  t.true(hard.length >= 10)
  for (const { from, code, sameMethodLater } of hard) t.is(sameMethodLater, 'never', `${from} ${code}`)
})

test('every response code that PayPal documents has a class of its own', (t) => {
  const known = new Set(rows.filter(({ from }) => from === 'paypal response_code').map(({ code }) => code))
  for (const code of Object.values(ProcessorResponseCode)) {
    // Approved, and one that PayPal has taken back.
    if (code !== '0000' && code !== 'PPMD') t.true(known.has(code), code)
  }
})
