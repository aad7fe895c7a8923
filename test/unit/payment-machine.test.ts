/** The states of a payment, in every order in which outcomes can arrive. */
import test from 'ava'
import fc from 'fast-check'
import {
  abandon,
  dueRefund,
  fail,
  nextAccount,
  nextStep,
  openAttempt,
  recordInquiry,
  recordOutcome,
  recordRefund,
  refundedMinor,
  reopen,
  startAttempt,
} from '../../control-plane/payments/payment-machine.ts'
import type { ChargeOutcome } from '../../control-plane/payments/psp/psp.ts'
import type { Payment } from '../../control-plane/schemas/payment.ts'

const now = new Date('2024-03-15T00:00:00Z')
const repairAt = new Date(now.getTime() + 5_000)
const route = { rule: 'split', slot: 0, candidates: ['a', 'b', 'c'], excluded: [] }

const payment: Payment = {
  _id: 't/pay',
  tenantId: 't',
  revision: 1,
  createdAt: now,
  updatedAt: now,
  id: 'pay',
  storefrontId: 's',
  customerId: 'c',
  subscriptionId: 'sub',
  period: { start: now, end: now },
  lines: [],
  creditMinor: 0,
  amountMinor: 2900,
  currency: 'USD',
  paymentMethodId: 'pm',
  status: 'due',
  round: 1,
  attempts: [],
  refunds: [],
  effectsDue: false,
  abandoned: false,
  clock: 'system',
}

const succeeded: ChargeOutcome = { status: 'succeeded', pspReference: 'ch' }
const declined = (declineClass: Extract<ChargeOutcome, { status: 'declined' }>['declineClass']): ChargeOutcome => ({
  status: 'declined',
  declineClass,
  pspCode: 'x',
})
const start = (from: Payment, account = 'a') => startAttempt(from, account, 'pm', route, now, repairAt)
const say = (to: Payment, attemptId: string, outcome: ChargeOutcome) => recordOutcome(to, attemptId, outcome, now, repairAt) ?? to

test('while an attempt may still succeed there is nothing else to do', (t) => {
  const started = start(payment)
  t.is(nextStep(started), 'nothing')
  for (const status of ['pending', 'authorized'] as const) t.is(nextStep(say(started, 'pay-1', { status, pspReference: 'x' })), 'nothing')
  t.is(nextStep(say(started, 'pay-1', { status: 'unknown', pspCode: 'timeout' })), 'nothing')
  t.is(nextStep(say(started, 'pay-1', { status: 'requires_action', pspReference: 'x', actionUrl: 'u' })), 'nothing')
  t.is(nextStep(say(started, 'pay-1', declined('funds'))), 'attempt')
})

test('which account may be tried next, by what the last one said', (t) => {
  const after = (...outcomes: ChargeOutcome[]) =>
    outcomes.reduce<Payment>((so, outcome, n) => say(start(so, route.candidates[n]), `pay-${n + 1}`, outcome), payment)
  t.is(nextAccount(payment, route), 'a')
  for (const outcome of [declined('technical'), declined('config'), declined('issuer_soft'), { status: 'not_sent', pspCode: 'x' } as const]) {
    t.is(nextAccount(after(outcome), route), 'b')
  }
  for (const declineClass of ['funds', 'hard', 'credential', 'action_required'] as const) t.is(nextAccount(after(declined(declineClass)), route), undefined)
  t.is(nextAccount(after(declined('issuer_soft'), declined('issuer_soft')), route), undefined)
  t.is(nextAccount(after(declined('technical'), declined('technical')), route), 'c')
  t.is(nextAccount(after(declined('technical'), declined('technical'), declined('technical')), route), undefined)
})

test('a new payment method begins a round, in which every account may be tried again', (t) => {
  const failed = fail(say(start(payment), 'pay-1', declined('hard')), undefined, repairAt)
  const reopened = reopen(failed, 2, 'pm-2', repairAt) as Payment
  t.like(reopened, { status: 'due', round: 2, paymentMethodId: 'pm-2' })
  t.is(nextAccount(reopened, route), 'a')
})

test('inquiries come after five minutes, an hour, then daily', (t) => {
  let waiting = say(start(payment), 'pay-1', { status: 'unknown', pspCode: 'timeout' })
  const delays = [waiting.dueAt]
  for (let n = 0; n < 4; n += 1) {
    waiting = recordInquiry(waiting, 'pay-1', now, repairAt) ?? waiting
    delays.push(waiting.dueAt)
  }
  t.deepEqual(
    delays.map((at) => ((at?.getTime() ?? 0) - now.getTime()) / 60_000),
    [5, 60, 1440, 1440, 1440],
  )
})

test('of an ended subscription nothing is owed: money on its way comes back when it arrives', (t) => {
  t.is(abandon(payment, now, repairAt)?.status, 'canceled')
  const waiting = abandon(start(payment), now, repairAt)
  t.like(waiting, { status: 'processing', abandoned: true })
  const arrived = say(waiting as Payment, 'pay-1', succeeded)
  t.like(arrived, { status: 'succeeded', effectsDue: false })
  t.like(dueRefund(arrived, now), { amountMinor: 2900, reason: 'not_wanted' })
  const returned = recordRefund(arrived, 'pay-1-refund', { status: 'succeeded' }, now, repairAt) as Payment
  t.is(refundedMinor(returned), 2900)
  t.is(recordRefund(returned, 'pay-1-refund', { status: 'succeeded' }, now, repairAt), undefined)
})

test('money that arrived before the subscription saw it comes back too', (t) => {
  const paid = say(start(payment), 'pay-1', succeeded)
  t.true(paid.effectsDue)
  t.like(dueRefund(abandon(paid, now, repairAt) as Payment, now), { reason: 'not_wanted' })
})

test('a refund without an answer is asked for again, never taken as made', (t) => {
  const arrived = abandon(say(start(payment), 'pay-1', succeeded), now, repairAt) as Payment
  const unknown = recordRefund(arrived, 'pay-1-refund', { status: 'unknown', pspCode: 'timeout' }, now, repairAt) as Payment
  t.is(unknown.refunds[0]?.status, 'due')
  t.is(refundedMinor(unknown), 0)
})

const anyOutcome: fc.Arbitrary<ChargeOutcome> = fc.constantFrom<ChargeOutcome>(
  succeeded,
  { status: 'pending', pspReference: 'x' },
  { status: 'unknown', pspCode: 'timeout' },
  { status: 'not_sent', pspCode: 'x' },
  declined('technical'),
  declined('issuer_soft'),
  declined('funds'),
)

test('whatever arrives in whatever order: at most one open attempt, success is final, and what is paid twice is given back', (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(4), anyOutcome), { maxLength: 30 }), (events) => {
      let so = payment
      for (const [n, outcome] of events) {
        // Whenever an attempt may be made, one is made.
        const account = nextStep(so) === 'attempt' ? nextAccount(so, route) : undefined
        if (account) so = start(so, account)
        const before = so.attempts.filter((attempt) => attempt.status === 'succeeded').map(({ id }) => id)
        so = say(so, `pay-${n + 1}`, outcome)
        t.true(so.attempts.filter((attempt) => openAttempt({ ...so, attempts: [attempt] })).length <= 1)
        for (const id of before) t.is(so.attempts.find((attempt) => attempt.id === id)?.status, 'succeeded')
      }
      const paid = so.attempts.filter((attempt) => attempt.status === 'succeeded').length
      t.is(so.refunds.length, Math.max(0, paid - 1))
      t.is(so.status === 'succeeded', paid > 0)
    }),
    { numRuns: 2_000 },
  )
})
