/** Whether a payment is tried, where and with what; and when it is looked at again. */
import test from 'ava'
import { consequences } from '../../control-plane/payments/machine/decline-classes.ts'
import { type AttemptLimits, barrier, isExpired, methodsFor, nextAccount, nextAttempt, nextStep } from '../../control-plane/payments/machine/next-attempt.ts'
import { actBy, isOpen, marked, openAttempt, waitingAttempt } from '../../control-plane/payments/machine/state.ts'
import type { PaymentMethod } from '../../control-plane/schemas/customer.ts'
import {
  type Attempt,
  type AttemptStatus,
  attemptStatuses,
  type DeclineClass,
  declineClasses,
  type Payment,
  paymentStatuses,
  type Refund,
} from '../../control-plane/schemas/payment.ts'
import { at, attemptOf, DAY, HOUR, now, paymentOf, repairAt, route } from '../support/payments.ts'

const declined = (declineClass: DeclineClass, change: Partial<Attempt> = {}): Attempt =>
  attemptOf({ ...change, status: 'declined', declineClass } as Partial<Attempt>)
const methodOf = (id: string, change: Partial<PaymentMethod> = {}) => ({ id, type: 'card', tokens: [{ account: '*', token: id }], ...change }) as PaymentMethod
const limits: AttemptLimits = { maxAttempts: 15, maxAttemptsDays: 30 }

test('the states of a payment and its attempts decide the next step', (t) => {
  const step = (change: Partial<Payment>) => nextStep(paymentOf(change)).kind
  for (const status of paymentStatuses) t.is(step({ status }), status === 'due' ? 'attempt' : 'nothing', status)
  for (const status of attemptStatuses) {
    const attempts = [status === 'declined' ? declined('funds') : attemptOf({ status } as Partial<Attempt>)]
    t.is(step({ attempts }), status === 'authorized' ? 'capture' : isOpen({ status }) ? 'nothing' : 'attempt', status)
  }
  t.is(step({ abandoned: true }), 'nothing')
  const [held, waiting] = [attemptOf({ status: 'authorized' }), attemptOf({ id: 'pay-2', status: 'requires_action' })]
  t.deepEqual(nextStep(paymentOf({ status: 'processing', attempts: [held] })), { kind: 'capture', attempt: held })
  t.deepEqual(nextStep(paymentOf({ status: 'succeeded', attempts: [held] })), { kind: 'release', attempt: held })
  t.deepEqual(nextStep(paymentOf({ status: 'processing', abandoned: true, attempts: [held, waiting] })), { kind: 'release', attempt: held })
  t.deepEqual(nextStep(paymentOf({ status: 'processing', abandoned: true, attempts: [waiting] })), { kind: 'give_up', attempt: waiting })
  t.is(step({ status: 'processing', attempts: [{ ...held, captureAskedAt: now }] }), 'nothing')
})

test('each class of decline allows its own next steps', (t) => {
  const of = (test: (declineClass: DeclineClass) => boolean) => declineClasses.filter(test).toSorted()
  t.deepEqual(
    of((one) => consequences[one].otherPspNow === 'yes'),
    ['config', 'technical'],
  )
  t.deepEqual(
    of((one) => consequences[one].otherPspNow === 'once'),
    ['issuer_soft'],
  )
  t.deepEqual(
    of((one) => consequences[one].laterUnchanged),
    ['config', 'funds', 'issuer_soft', 'technical'],
  )
  t.deepEqual(
    of((one) => consequences[one].accessUnchanged),
    ['config', 'technical'],
  )
})

test('a decline bars its method until the method changes, or the customer is there who has to act', (t) => {
  const why = (declineClass: DeclineClass, change: Partial<Payment> = {}, method: Partial<PaymentMethod> = {}) =>
    barrier(paymentOf({ attempts: [declined(declineClass)], round: 2, ...change }), methodOf('pm', method), limits, now)
  t.is(why('hard'), 'the payment method was declined for good')
  t.is(why('credential'), 'the payment method was declined (credential) and nothing has changed since')
  t.is(
    why('action_required'),
    'the payment method was declined (action_required) and nothing has changed since; POST …/pay when the customer is present to act',
  )
  t.is(why('action_required', { onSession: true }), undefined)
  t.regex(why('action_required', { onSession: false }) ?? '', /action_required/)
  t.regex(why('credential', { onSession: true }) ?? '', /credential/)
  t.is(why('credential', { round: 1 }), undefined, 'in the same round the account decides')
  for (const [changedAt, isBarred] of [
    [at(-1), true],
    [now, false],
    [at(1), false],
  ] as const) {
    for (const one of ['hard', 'credential'] as const) t.is(why(one, {}, { changedAt }) !== undefined, isBarred, one)
  }
  t.is(barrier(paymentOf({ attempts: [declined('hard')] }), methodOf('other'), limits, now), undefined)
  t.is(barrier(paymentOf({ onSession: true }), methodOf('pm'), limits, now), undefined)
  const last = [declined('credential'), declined('funds', { id: 'pay-2' }), attemptOf({ id: 'pay-3', status: 'not_sent' })]
  t.is(why('hard', { attempts: last }), undefined, 'the last decline counts')
  t.regex(why('hard', { attempts: [declined('credential'), attemptOf({ id: 'pay-2', status: 'not_sent' })] }) ?? '', /credential/)
})

test('the attempts that reached a network with this method, in the window, count towards its limits', (t) => {
  const why = (attempts: Attempt[], change: Partial<AttemptLimits> = {}) => barrier(paymentOf({ attempts }), methodOf('pm'), { ...limits, ...change }, now)
  const times = (count: number, change: Partial<Attempt> = {}) =>
    Array.from({ length: count }, (_, n) => attemptOf({ id: `pay-${n}`, status: 'unknown', ...change } as Partial<Attempt>))
  t.is(why(times(9)), undefined)
  t.is(why(times(10)), 'it was already tried 10 times in a day')
  t.is(why(times(10, { status: 'not_sent' })), undefined)
  t.is(why(times(10, { paymentMethodId: 'other' })), undefined)
  t.is(why(times(10, { at: at(-DAY) })), undefined)
  t.is(why(times(10, { at: at(-DAY + 1) })), 'it was already tried 10 times in a day')
  t.is(why(times(3), { maxAttemptsPerDay: 3 }), 'it was already tried 3 times in a day')
  t.is(why(times(3, { at: at(-2 * DAY) }), { maxAttempts: 3, maxAttemptsDays: 3 }), 'it was already tried 3 times in 3 days')
  t.is(why(times(3, { at: at(-3 * DAY) }), { maxAttempts: 3, maxAttemptsDays: 3 }), undefined)
})

test("the classes of a round's declines decide its next account", (t) => {
  const next = (round: number, ...attempts: Attempt[]) => nextAccount(paymentOf({ round, attempts }), 'pm', ['a', 'b', 'c'])
  t.is(next(1), 'a')
  t.is(next(2, declined('funds')), 'a', 'the round before is over')
  t.is(next(1, declined('issuer_soft', { paymentMethodId: 'other' })), 'a')
  t.is(next(1, declined('technical'), declined('issuer_soft', { account: 'b' })), 'c', 'one other issuer is asked after a soft decline')
  t.is(next(1, declined('issuer_soft'), declined('issuer_soft', { account: 'b' })), undefined)
  t.is(next(1, declined('funds'), declined('technical', { account: 'b' })), 'c')
  t.is(next(1, declined('funds'), attemptOf({ account: 'b', status: 'not_sent' })), 'c')
})

test('a card expires when the last day of its month is over everywhere', (t) => {
  const expiry = { month: 3, year: 2024 }
  const over = Date.UTC(2024, 3, 1) + 12 * HOUR
  t.false(isExpired({ expiry }, new Date(over)))
  t.true(isExpired({ expiry }, new Date(over + 1)))
  t.false(isExpired({}, new Date(over + 1)))
})

test("a renewal is tried with the customer's other methods where that is allowed, its own first", (t) => {
  const methods = [methodOf('other'), methodOf('pm', { expiry: { month: 1, year: 2020 } }), methodOf('old', { expiry: { month: 1, year: 2020 } })]
  const ids = (change: Partial<Payment>, allowed = true) => methodsFor(paymentOf(change), methods, allowed, now).map(({ id }) => id)
  t.deepEqual(ids({ seq: 1 }), ['pm', 'other'])
  t.deepEqual(ids({ seq: 1 }, false), ['pm'])
  t.deepEqual(ids({ seq: 1, paymentMethodId: 'other' }), ['other'], 'it is tried once')
  t.deepEqual(ids({ seq: 0 }), ['pm'])
  t.deepEqual(ids({}), ['pm'])
  const { subscriptionId: _, ...oneTime } = paymentOf({ seq: 1 })
  t.deepEqual(
    methodsFor(oneTime, methods, true, now).map(({ id }) => id),
    ['pm'],
  )
})

test('the decision names the method and account to try, or why there is none', (t) => {
  const routed = (id: string, candidates = ['a', 'b'], behindOpenCircuit: string[] = []) => ({
    method: methodOf(id),
    route: { ...route, candidates },
    behindOpenCircuit,
  })
  const next = (attempts: Attempt[], ...all: ReturnType<typeof routed>[]) => nextAttempt(paymentOf({ round: 2, attempts }), all, limits, now)
  t.deepEqual(next([]), { none: 'there is no payment method' })
  t.like(next([], routed('pm'), routed('two')), { account: 'a', method: { id: 'pm' }, circuitOpen: false })
  t.like(next([], routed('pm', [], ['c']), routed('two')), { account: 'c', method: { id: 'pm' }, circuitOpen: true })
  t.like(next([declined('hard')], routed('pm'), routed('two')), { account: 'a', method: { id: 'two' } })
  const good = 'the payment method was declined for good'
  t.deepEqual(next([declined('hard')], routed('pm')), { none: good })
  t.deepEqual(next([declined('hard'), declined('credential', { paymentMethodId: 'two' })], routed('pm'), routed('two')), { none: good })
  // In this round `pm` has been refused everywhere, and `two` may not be tried.
  const refused = declined('funds', { round: 2 })
  t.deepEqual(next([refused], routed('pm')), { none: undefined })
  t.deepEqual(next([refused, declined('hard', { paymentMethodId: 'two' })], routed('pm'), routed('two')), { none: good })
  t.like(next([refused], routed('pm'), routed('two')), { method: { id: 'two' } })
  // Its providers were away: its next retry is the better chance.
  const away = (account: string) => declined('technical', { round: 2, account })
  t.deepEqual(next([away('a'), away('b')], routed('pm'), routed('two')), { none: undefined })
  t.deepEqual(next([refused, away('b')], routed('pm'), routed('two')), { none: undefined }, 'the last word counts')
  t.like(next([away('b'), declined('issuer_soft', { round: 2 })], routed('pm'), routed('two')), { method: { id: 'two' } })
  t.like(next([], routed('pm', []), routed('two')), { method: { id: 'two' } }, 'no account takes the first')
})

test('the payment knows the attempt that holds it, and the one that waits for its customer', (t) => {
  const [sent, waiting] = [attemptOf({ id: 'pay-2' }), attemptOf({ id: 'pay-3', status: 'requires_action' })]
  t.is(openAttempt(paymentOf({ attempts: [declined('funds'), sent] })), sent)
  t.is(waitingAttempt(paymentOf({ attempts: [sent, waiting] })), waiting)
  t.is(waitingAttempt(paymentOf({ attempts: [sent] })), undefined)
})

test('a customer has 23 hours to act, or as long as was agreed', (t) => {
  t.deepEqual(actBy({}, now), at(23 * HOUR))
  t.deepEqual(actBy({ actionHours: 2 }, now), at(2 * HOUR))
  t.deepEqual(actBy({ actionHours: 0 }, now), now)
})

const refundOf = (change: Partial<Refund>): Refund => ({
  id: 'ref',
  attemptId: 'pay-1',
  amountMinor: 1,
  reason: 'requested',
  status: 'due',
  at: now,
  ...change,
})

test('a payment is looked at again at the earliest time of its attempts and refunds', (t) => {
  const dueAt = (change: Partial<Payment>) => marked(paymentOf({ status: 'processing', ...change }), repairAt).dueAt
  t.is(dueAt({}), undefined)
  const asked = (status: AttemptStatus, ms: number) => attemptOf({ status, inquireAt: at(ms) } as Partial<Attempt>)
  t.deepEqual(dueAt({ attempts: [asked('pending', 5), asked('unknown', 3), asked('sent', 4)] }), at(3))
  for (const status of ['succeeded', 'not_sent'] as const) t.is(dueAt({ attempts: [asked(status, 5)] }), undefined)
  t.is(dueAt({ attempts: [declined('funds', { inquireAt: at(5) })] }), undefined)
  const givenUp = { at: now, sure: false, watchUntil: at(DAY) }
  t.deepEqual(dueAt({ attempts: [declined('action_required', { inquireAt: at(5), givenUp } as Partial<Attempt>)] }), at(5))
  t.deepEqual(dueAt({ actionHours: 1, attempts: [asked('requires_action', 2 * HOUR)] }), at(HOUR))
  t.deepEqual(dueAt({ actionHours: 1, attempts: [asked('pending', 2 * HOUR)] }), at(2 * HOUR))
  for (const status of ['due', 'pending'] as const) t.deepEqual(dueAt({ refunds: [refundOf({ status, tryAt: at(7) })] }), at(7))
  for (const status of ['succeeded', 'failed'] as const) t.is(dueAt({ refunds: [refundOf({ status, tryAt: at(7) })] }), undefined)
  t.deepEqual(dueAt({ attempts: [asked('pending', 9)], refunds: [refundOf({}), refundOf({ tryAt: at(7) })] }), at(7))
})

test('a sweeper finishes whatever can be done without waiting', (t) => {
  const isSwept = (change: Partial<Payment>) => marked(paymentOf({ status: 'processing', ...change }), repairAt).repairAt === repairAt
  t.false(isSwept({}))
  t.true(isSwept({ effectsDue: true }))
  t.true(isSwept({ status: 'due' }))
  for (const status of ['processing', 'succeeded', 'failed', 'canceled'] as const) t.false(isSwept({ status }))
  t.true(isSwept({ attempts: [attemptOf()] }))
  t.false(isSwept({ attempts: [attemptOf({ status: 'pending' })] }))
  t.true(isSwept({ attempts: [attemptOf({ status: 'authorized' })] }))
  t.false(isSwept({ attempts: [attemptOf({ status: 'authorized', captureAskedAt: now })] }))
  t.true(isSwept({ refunds: [refundOf({})] }))
  t.false(isSwept({ refunds: [refundOf({ tryAt: at(1) })] }))
  t.false(isSwept({ refunds: [refundOf({ status: 'pending' })] }))
})

test('a token that a payment brought is kept while something may be sent with it', (t) => {
  const ownMethod = { id: 'own', type: 'card', tokens: [] }
  const keeps = (change: Partial<Payment>) => 'ownMethod' in marked(paymentOf({ ownMethod, ...change }), repairAt)
  for (const status of paymentStatuses) {
    t.is(keeps({ status }), status === 'due' || status === 'processing', status)
    t.false(keeps({ status, abandoned: true }), status)
  }
})
