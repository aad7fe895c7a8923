/** What becomes of one attempt, beside the orders of events that `payment-machine.test.ts` plays. */
import test from 'ava'
import {
  abandon,
  askForCapture,
  claimForSending,
  fail,
  isWatched,
  type OperatorDecision,
  paymentIdOfAttempt,
  recordGivenUp,
  recordInquiry,
  recordNeverArrived,
  recordOutcome,
  recordWatched,
  reopen,
  resolveByOperator,
  startAttempt,
} from '../../control-plane/payments/machine/attempts.ts'
import type { ChargeOutcome } from '../../control-plane/payments/psp/psp.ts'
import { after, at, attemptOf, DAY, HOUR, now, paymentOf, repairAt, route } from '../support/payments.ts'

const say = (payment: ReturnType<typeof paymentOf>, outcome: ChargeOutcome, id = 'pay-1') => recordOutcome(payment, id, outcome, now, repairAt)
const must = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error('it changed nothing')
  return value
}

test('a new attempt has the next number, is stored as sent, and counts those that were dropped', (t) => {
  const started = startAttempt(paymentOf({ attemptsLeftOut: 7, round: 3 }), 'acme', 'pm-2', route, now, repairAt)
  t.deepEqual(started.attempts, [
    { id: 'pay-8', account: 'acme', status: 'sent', round: 3, amountMinor: 2900, paymentMethodId: 'pm-2', inquiries: 0, why: route, at: now },
  ])
  t.like(started, { status: 'processing', attemptsLeftOut: 7, repairAt })
  t.false('attemptsLeftOut' in startAttempt(paymentOf(), 'acme', 'pm', route, now, repairAt))
})

test('among more than a hundred attempts, the oldest of an earlier round that provably never left are dropped', (t) => {
  const never = (n: number) => attemptOf({ id: `pay-${n}`, status: 'not_sent', round: n <= 110 ? 1 : 2 })
  const attempts = Array.from({ length: 112 }, (_, n) => never(n + 1))
  const resolution = { by: 'key', reason: 'the dashboard', at: now }
  attempts[0] = { ...never(1), resolution }
  attempts[1] = { ...never(2), pspReference: 'ch' }
  attempts[2] = attemptOf({ id: 'pay-3', status: 'declined', declineClass: 'funds' })
  const kept = startAttempt(paymentOf({ attempts, round: 2 }), 'a', 'pm', route, now, repairAt)
  // Twelve are too many: the fourth to the fifteenth go.
  t.deepEqual(
    kept.attempts.map(({ id }) => id),
    ['pay-1', 'pay-2', 'pay-3', ...Array.from({ length: 98 }, (_, n) => `pay-${n + 16}`)],
  )
  t.is(kept.attemptsLeftOut, 12)
  t.is(kept.attempts.at(-1)?.id, 'pay-113')
  const running = startAttempt(paymentOf({ attempts: attempts.map((one) => ({ ...one, round: 2 })), round: 2 }), 'a', 'pm', route, now, repairAt)
  t.is(running.attempts.length, 113, 'of the round that runs each is kept')
  const hundred = startAttempt(paymentOf({ attempts: attempts.slice(0, 100), round: 2 }), 'a', 'pm', route, now, repairAt)
  t.is(hundred.attempts.length, 101, 'a hundred are not too many')
})

test('a fact about one attempt leaves its neighbours as they are', (t) => {
  const first = attemptOf({ id: 'pay-1', status: 'declined', declineClass: 'technical', givenUp: { at: now, sure: false, watchUntil: at(14 * DAY) } })
  const payment = (status: 'unknown' | 'requires_action' | 'authorized') =>
    paymentOf({ status: 'processing', attempts: [first, attemptOf({ id: 'pay-2', status }), attemptOf({ id: 'pay-3', status: 'not_sent' })] })
  const neighbours = (of: { attempts: { id: string }[] } | undefined) => must(of).attempts.filter(({ id }) => id !== 'pay-2')
  const untouched = neighbours(payment('unknown'))
  const wanted = payment('unknown')
  t.deepEqual(neighbours(claimForSending(wanted, 'pay-2', repairAt)), untouched)
  t.deepEqual(neighbours(recordInquiry(wanted, 'pay-2', now, repairAt)), untouched)
  t.deepEqual(neighbours(askForCapture(payment('authorized'), 'pay-2', now, repairAt)), untouched)
  t.deepEqual(neighbours(recordGivenUp(payment('requires_action'), 'pay-2', true, true, 'why', now, repairAt)), untouched)
  t.deepEqual(neighbours(recordNeverArrived({ ...wanted, abandoned: true }, 'pay-2', at(DAY), repairAt)), untouched)
  const byHand: OperatorDecision = { outcome: { status: 'not_sent', pspCode: 'x' }, by: 'key', reason: 'r', tryElsewhere: true }
  t.deepEqual(neighbours(resolveByOperator(wanted, 'pay-2', byHand, now, repairAt)), untouched)
  const watched = must(recordWatched(wanted, 'pay-1', now, repairAt))
  t.deepEqual(watched.attempts.slice(1), wanted.attempts.slice(1))
  t.is(recordWatched(wanted, 'pay-2', now, repairAt), undefined)
})

test('a fact about an attempt that is not there, or not open, changes nothing', (t) => {
  const declined = after({ status: 'declined', declineClass: 'funds', pspCode: 'x' })
  for (const id of ['pay-1', 'pay-9']) {
    t.is(claimForSending(declined, id, repairAt), undefined)
    t.is(recordInquiry(declined, id, now, repairAt), undefined)
    t.is(recordNeverArrived({ ...declined, abandoned: true }, id, at(DAY), repairAt), undefined)
    t.is(recordGivenUp(declined, id, true, true, 'why', now, repairAt), undefined)
    t.is(recordWatched(declined, id, now, repairAt), undefined)
  }
  t.is(say(declined, { status: 'succeeded', pspReference: 'ch' }, 'pay-9'), undefined)
})

test('a charge that was sent is not sent again as long as another attempt has paid', (t) => {
  const paid = { ...after({ status: 'unknown', pspCode: 'timeout' }), status: 'succeeded' as const }
  t.is(claimForSending(paid, 'pay-1', repairAt), undefined)
  const pending = must(claimForSending(after({ status: 'pending', pspReference: 'ch' }), 'pay-1', repairAt))
  t.is(pending.attempts[0]?.status, 'pending', 'one that is known there stays what it is')
})

test('an attempt is named after its payment', (t) => {
  t.is(paymentIdOfAttempt('pay_x-12'), 'pay_x')
  t.is(paymentIdOfAttempt('pay-1-x-12'), 'pay-1-x')
  t.is(paymentIdOfAttempt('pay-1x'), 'pay-1x')
})

const outcomes = {
  succeeded: { status: 'succeeded', pspReference: 'ch' },
  pending: { status: 'pending', pspReference: 'ch' },
  authorized: { status: 'authorized', pspReference: 'ch' },
  requires_action: { status: 'requires_action', pspReference: 'ch', actionUrl: 'https://bank' },
  declined: { status: 'declined', declineClass: 'funds', pspCode: '51', pspReference: 'ch', network: 'visa' },
  not_sent: { status: 'not_sent', pspCode: 'ECONNREFUSED' },
  unknown: { status: 'unknown', pspCode: 'timeout' },
} as const satisfies Record<string, ChargeOutcome>

test("a provider's report is news or not, depending on what is known", (t) => {
  const told = Object.keys(outcomes) as (keyof typeof outcomes)[]
  const news = {
    sent: told,
    unknown: told.filter((status) => status !== 'not_sent'),
    pending: told.filter((status) => status !== 'not_sent' && status !== 'unknown'),
    requires_action: told.filter((status) => status !== 'not_sent' && status !== 'unknown'),
    authorized: told.filter((status) => status !== 'not_sent' && status !== 'unknown'),
    declined: ['succeeded'],
    not_sent: ['succeeded'],
    succeeded: [],
  } as const
  for (const [status, expected] of Object.entries(news)) {
    const known = attemptOf(status === 'declined' ? { status, declineClass: 'hard' } : { status: status as 'sent' })
    const payment = paymentOf({ attempts: [known] })
    t.deepEqual(
      told.filter((outcome) => say(payment, outcomes[outcome])),
      [...expected],
      status,
    )
  }
})

test('an authorization is old news once its capture is requested, unless nothing was heard since', (t) => {
  for (const [status, isNews] of [
    ['pending', false],
    ['unknown', true],
  ] as const) {
    const payment = paymentOf({ attempts: [attemptOf({ status, captureAskedAt: now })] })
    t.is(say(payment, outcomes.authorized) !== undefined, isNews, status)
    t.truthy(say(payment, outcomes.declined), 'any other outcome is')
  }
})

test('an attempt keeps what belongs to its new state, and nothing of the one before', (t) => {
  const waiting = attemptOf({ status: 'requires_action', actionUrl: 'https://old', pspCode: 'old', pspReference: 'old' })
  const { status: _, actionUrl: __, pspCode: ___, pspReference: ____, ...common } = waiting
  const become = (outcome: ChargeOutcome) => must(say(paymentOf({ attempts: [waiting] }), outcome)).attempts[0]
  const [reference, inquireAt, resolvedAt] = [{ pspReference: 'ch' }, at(5 * 60_000), now]
  t.deepEqual(become(outcomes.succeeded), { ...common, ...reference, status: 'succeeded', resolvedAt })
  t.deepEqual(become(outcomes.pending), { ...common, ...reference, status: 'pending', inquireAt })
  t.deepEqual(become(outcomes.requires_action), { ...common, ...reference, status: 'requires_action', actionUrl: 'https://bank', inquireAt })
  const declined = { status: 'declined', declineClass: 'funds', pspCode: '51', network: 'visa' } as const
  t.deepEqual(become(outcomes.declined), { ...common, ...reference, ...declined, resolvedAt })
})

test('an outcome without a reference leaves the known one', (t) => {
  const payment = paymentOf({ attempts: [attemptOf({ status: 'sent', pspReference: 'known' })] })
  t.is(must(say(payment, outcomes.unknown)).attempts[0]?.pspReference, 'known')
  t.is(must(say(payment, { status: 'pending', pspReference: '' })).attempts[0]?.pspReference, 'known')
})

test('a planned inquiry stays, and a due one is planned again', (t) => {
  const inquireAt = (planned: Date) => must(say(paymentOf({ attempts: [attemptOf({ status: 'sent', inquireAt: planned })] }), outcomes.pending)).dueAt
  t.deepEqual(inquireAt(at(HOUR)), at(HOUR))
  t.deepEqual(inquireAt(at(1)), at(1))
  t.deepEqual(inquireAt(now), at(5 * 60_000))
  t.deepEqual(inquireAt(at(-HOUR)), at(5 * 60_000))
})

test('a subscription is told that its customer has to act; a one-time payment tells nobody', (t) => {
  t.like(say(after(), outcomes.requires_action), { status: 'processing', effectsDue: true })
  t.like(say(after(), outcomes.pending), { status: 'processing', effectsDue: false })
  t.like(say({ ...after(), effectsDue: true }, outcomes.pending), { effectsDue: true })
  const { subscriptionId: _, ...oneTime } = after()
  for (const outcome of [outcomes.requires_action, outcomes.succeeded]) t.like(say(oneTime, outcome), { effectsDue: false })
  t.like(say(paymentOf({ status: 'due', attempts: [attemptOf({ status: 'sent' })] }), outcomes.pending), { status: 'processing' })
})

test('an attempt at a higher amount raises the payment to it, and takes the rest off the credit that it used', (t) => {
  const paid = (amountMinor: number | undefined) => {
    const { amountMinor: _, ...attempt } = attemptOf({ status: 'sent' })
    return say(paymentOf({ creditMinor: 500, attempts: [amountMinor === undefined ? attempt : { ...attempt, amountMinor }] }), outcomes.succeeded)
  }
  t.like(paid(3000), { amountMinor: 3000, creditMinor: 400 })
  t.like(paid(undefined), { amountMinor: 2900, creditMinor: 500 })
})

test("an operator's options depend on the state of the attempt", (t) => {
  const decide = (status: 'sent' | 'unknown' | 'pending' | 'authorized' | 'requires_action' | 'not_sent', change: Partial<OperatorDecision> = {}) => {
    const decision: OperatorDecision = { outcome: outcomes.declined, by: 'key', reason: 'the dashboard', tryElsewhere: true, ...change }
    return resolveByOperator(paymentOf({ status: 'processing', attempts: [attemptOf({ status })] }), 'pay-1', decision, now, repairAt)
  }
  const refused = (status: Parameters<typeof decide>[0], message: RegExp, change?: Partial<OperatorDecision>) =>
    t.throws(() => decide(status, change), { code: 'not_allowed_in_state', message } as never, status)
  for (const mayResolvePending of [false, true]) {
    refused('not_sent', /is not_sent: there is nothing to resolve/, { mayResolvePending })
    refused('sent', /has just been sent; wait/, { mayResolvePending })
    refused('requires_action', /is requires_action, not unknown: the customer has to act/, { mayResolvePending })
  }
  for (const status of ['pending', 'authorized'] as const) {
    refused(status, new RegExp(`is ${status}, not unknown: the provider will report`))
    t.is(decide(status, { mayResolvePending: true }).status, 'due', status)
  }
  t.is(decide('unknown').status, 'due')
  t.like(decide('unknown', { tryElsewhere: false }), {
    status: 'failed',
    effectsDue: true,
    failure: 'an operator resolved its last attempt, and wanted no other one',
  })
  t.like(decide('unknown', { outcome: outcomes.succeeded, tryElsewhere: false }), { status: 'succeeded', refunds: [] })
  t.throws(() => resolveByOperator(paymentOf(), 'pay-1', {} as OperatorDecision, now, repairAt), { code: 'not_found', message: /no such attempt/ } as never)
})

test('an attempt that never arrived is resolved as such', (t) => {
  const resolved = must(recordNeverArrived({ ...after(outcomes.unknown), abandoned: true }, 'pay-1', at(DAY), repairAt)).attempts[0]
  t.like(resolved, { status: 'not_sent', pspCode: 'never_arrived', resolvedAt: at(DAY) })
})

test('only a payment that failed and is wanted is tried again, in a later round', (t) => {
  const failed = fail(paymentOf({ round: 2 }), 'no account', repairAt)
  t.like(failed, { status: 'failed', failure: 'no account', effectsDue: true })
  const asked = { round: 3, paymentMethodId: 'pm-2', onSession: true, returnUrl: 'https://shop' }
  t.like(reopen(failed, asked, repairAt), { ...asked, status: 'due', effectsDue: false, repairAt })
  t.false('failure' in must(reopen(failed, asked, repairAt)))
  t.like(reopen(failed, { ...asked, owed: { lines: [], creditMinor: 9, amountMinor: 1 } }, repairAt), { creditMinor: 9, amountMinor: 1 })
  for (const round of [1, 2]) t.is(reopen(failed, { ...asked, round }, repairAt), undefined)
  t.is(reopen({ ...failed, abandoned: true }, asked, repairAt), undefined)
  for (const status of ['due', 'processing', 'succeeded', 'canceled'] as const) t.is(reopen({ ...failed, status }, asked, repairAt), undefined, status)
})

test('an attempt that waits for its customer is given up as declined; where the provider may still take it, its money is watched for two weeks', (t) => {
  const waiting = after(outcomes.requires_action)
  const sure = must(recordGivenUp(waiting, 'pay-1', true, true, 'why', now, repairAt))
  t.is(sure.status, 'due')
  t.like(sure.attempts[0], { status: 'declined', declineClass: 'action_required', pspCode: 'customer_did_not_act', givenUp: { at: now, sure: true } })
  t.is(sure.dueAt, undefined)
  t.false(isWatched(attemptOf()))
  t.false(sure.attempts.some(isWatched))
  const unsure = must(recordGivenUp(waiting, 'pay-1', false, true, 'why', now, repairAt))
  t.deepEqual(unsure.attempts[0]?.givenUp, { at: now, sure: false, watchUntil: at(14 * DAY) })
  t.deepEqual(unsure.dueAt, at(HOUR))
  t.true(unsure.attempts.every(isWatched))
  t.like(recordGivenUp(waiting, 'pay-1', true, false, 'why', now, repairAt), { status: 'failed', failure: 'why' })
  const paid = must(recordGivenUp({ ...waiting, status: 'succeeded' }, 'pay-1', true, false, 'why', now, repairAt))
  t.is(paid.status, 'succeeded', 'another attempt has paid')
})

test('a watched attempt is asked about daily, and believed in the end', (t) => {
  const watched = must(recordGivenUp(after(outcomes.requires_action), 'pay-1', false, true, 'why', now, repairAt))
  const asked = must(recordWatched(watched, 'pay-1', at(HOUR), repairAt))
  t.like(asked.attempts[0], { inquiries: 1, inquireAt: at(HOUR + DAY), givenUp: { watchUntil: at(14 * DAY) } })
  t.true(must(recordWatched(watched, 'pay-1', at(14 * DAY - 1), repairAt)).attempts.every(isWatched))
  const believed = must(recordWatched(watched, 'pay-1', at(14 * DAY), repairAt))
  t.like(believed.attempts[0], { status: 'declined', inquiries: 1 })
  t.deepEqual(believed.attempts[0]?.givenUp, { at: now, sure: false })
  t.is(believed.dueAt, undefined)
  t.is(recordWatched(believed, 'pay-1', at(15 * DAY), repairAt), undefined)
  const arrived = must(say(watched, outcomes.succeeded))
  t.is(recordWatched(arrived, 'pay-1', at(DAY), repairAt), undefined)
})

test('abandoning leaves finished payments, cancels due ones, and happens once', (t) => {
  const off = (change: Parameters<typeof paymentOf>[0]) => abandon(paymentOf({ effectsDue: true, ...change }), now, repairAt)
  t.like(off({ status: 'due' }), { status: 'canceled', abandoned: true, effectsDue: false, repairAt: undefined })
  t.like(off({ status: 'failed' }), { status: 'failed', abandoned: true, effectsDue: false })
  t.like(off({ status: 'processing', attempts: [attemptOf({ status: 'pending' })] }), { status: 'processing', abandoned: true, refunds: [] })
  const refund = { id: 'pay-1-refund', attemptId: 'pay-1', amountMinor: 2900, reason: 'paid_twice', status: 'due', at: now } as const
  t.like(off({ status: 'succeeded', attempts: [attemptOf({ status: 'succeeded' })], refunds: [refund] }), { status: 'succeeded', abandoned: true })
  t.is(off({ status: 'canceled' }), undefined)
  t.is(off({ abandoned: true }), undefined)
})
