/** The states of a payment, in every order in which outcomes can arrive. */
import test from 'ava'
import fc from 'fast-check'
import {
  abandon,
  askForCapture,
  claimForSending,
  fail,
  recordInquiry,
  recordNeverArrived,
  recordOutcome,
  reopen,
  resolveByOperator,
  startAttempt,
} from '../../control-plane/payments/machine/attempts.ts'
import { recordDispute } from '../../control-plane/payments/machine/disputes.ts'
import { barrier, methodsFor, nextAccount, nextAttempt, nextStep } from '../../control-plane/payments/machine/next-attempt.ts'
import {
  attemptIdOfRefund,
  dueRefund,
  isBeyond,
  markAsked,
  recordRefund,
  refundableMinor,
  refundedMinor,
  refundNamed,
  requestRefund,
} from '../../control-plane/payments/machine/refunds.ts'
import { openAttempt } from '../../control-plane/payments/machine/state.ts'
import type { ChargeOutcome } from '../../control-plane/payments/psp/psp.ts'
import type { Payment, Refund } from '../../control-plane/schemas/payment.ts'
import { now, paymentOf, repairAt, route } from '../support/payments.ts'

const payment = paymentOf()
const succeeded: ChargeOutcome = { status: 'succeeded', pspReference: 'ch' }
const declined = (declineClass: Extract<ChargeOutcome, { status: 'declined' }>['declineClass']): ChargeOutcome => ({
  status: 'declined',
  declineClass,
  pspCode: 'x',
})
const start = (from: Payment, account = 'a') => startAttempt(from, account, 'pm', route, now, repairAt)
const next = (of: Payment) => nextAccount(of, of.paymentMethodId ?? '', route.candidates)
const say = (to: Payment, attemptId: string, outcome: ChargeOutcome) => recordOutcome(to, attemptId, outcome, now, repairAt) ?? to

test('nothing else happens while an attempt may still succeed', (t) => {
  const started = start(payment)
  t.is(nextStep(started).kind, 'nothing')
  t.is(nextStep(say(started, 'pay-1', { status: 'pending', pspReference: 'x' })).kind, 'nothing')
  t.is(nextStep(say(started, 'pay-1', { status: 'unknown', pspCode: 'timeout' })).kind, 'nothing')
  t.is(nextStep(say(started, 'pay-1', { status: 'requires_action', pspReference: 'x', actionUrl: 'u' })).kind, 'nothing')
  t.is(nextStep(say(started, 'pay-1', declined('funds'))).kind, 'attempt')
})

test("the last account's answer decides which may be tried next", (t) => {
  const after = (...outcomes: ChargeOutcome[]) =>
    outcomes.reduce<Payment>((so, outcome, n) => say(start(so, route.candidates[n]), `pay-${n + 1}`, outcome), payment)
  t.is(next(payment), 'a')
  for (const outcome of [declined('technical'), declined('config'), declined('issuer_soft'), { status: 'not_sent', pspCode: 'x' } as const]) {
    t.is(next(after(outcome)), 'b')
  }
  for (const declineClass of ['funds', 'hard', 'credential', 'action_required'] as const) t.is(next(after(declined(declineClass))), undefined)
  t.is(next(after(declined('issuer_soft'), declined('issuer_soft'))), undefined)
  t.is(next(after(declined('technical'), declined('technical'))), 'c')
  t.is(next(after(declined('technical'), declined('technical'), declined('technical'))), undefined)
})

test('a new payment method begins a round, in which every account may be tried again', (t) => {
  const failed = fail(say(start(payment), 'pay-1', declined('hard')), undefined, repairAt)
  const reopened = reopen(failed, { round: 2, paymentMethodId: 'pm-2', onSession: false, returnUrl: undefined }, repairAt) as Payment
  t.like(reopened, { status: 'due', round: 2, paymentMethodId: 'pm-2' })
  t.is(next(reopened), 'a')
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

test('an ended subscription owes nothing: money on its way is refunded when it arrives', (t) => {
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

test('a resend that was refused a connection says nothing about the first send, which may have arrived', (t) => {
  const unknown = say(start(payment), 'pay-1', { status: 'unknown', pspCode: 'timeout' })
  t.is(recordOutcome(unknown, 'pay-1', { status: 'not_sent', pspCode: 'ECONNREFUSED' }, now, repairAt), undefined)
  const pending = say(start(payment), 'pay-1', { status: 'pending', pspReference: 'x' })
  t.is(recordOutcome(pending, 'pay-1', { status: 'not_sent', pspCode: 'ECONNREFUSED' }, now, repairAt), undefined)
})

test('an attempt that nobody wants is believed to have never arrived after a day, not before', (t) => {
  const waiting = abandon(say(start(payment), 'pay-1', { status: 'unknown', pspCode: 'timeout' }), now, repairAt) as Payment
  t.is(recordNeverArrived(waiting, 'pay-1', new Date(now.getTime() + 86_399_999), repairAt), undefined)
  t.like(recordNeverArrived(waiting, 'pay-1', new Date(now.getTime() + 86_400_000), repairAt), { status: 'canceled', dueAt: undefined, repairAt: undefined })
  const wanted = say(start(payment), 'pay-1', { status: 'unknown', pspCode: 'timeout' })
  t.is(recordNeverArrived(wanted, 'pay-1', new Date(now.getTime() + 9e8), repairAt), undefined)
})

test('the late success of one attempt does not make anybody forget another', (t) => {
  const declinedFirst = say(start(payment, 'a'), 'pay-1', declined('issuer_soft'))
  const silentSecond = say(start(declinedFirst, 'b'), 'pay-2', { status: 'unknown', pspCode: 'timeout' })
  const paid = say(silentSecond, 'pay-1', succeeded)
  t.is(paid.status, 'succeeded')
  t.is(paid.dueAt?.getTime(), now.getTime() + 300_000)
  const both = say(paid, 'pay-2', succeeded)
  t.like(dueRefund(both, now), { attemptId: 'pay-2', reason: 'paid_twice' })
  t.is(both.repairAt, repairAt)
})

test('abandoning refunds money that was kept, and not what was refunded before', (t) => {
  const declinedFirst = say(start(payment, 'a'), 'pay-1', declined('issuer_soft'))
  const paidTwice = say(say(start(declinedFirst, 'b'), 'pay-2', succeeded), 'pay-1', succeeded)
  t.deepEqual(
    paidTwice.refunds.map(({ attemptId }) => attemptId),
    ['pay-1'],
  )
  const off = abandon(paidTwice, now, repairAt) as Payment
  t.deepEqual(
    off.refunds.map(({ attemptId, reason }) => [attemptId, reason]),
    [
      ['pay-1', 'paid_twice'],
      ['pay-2', 'not_wanted'],
    ],
  )
})

test('an owed refund that was refused is tried again; a requested one has failed', (t) => {
  const owed = abandon(say(start(payment), 'pay-1', succeeded), now, repairAt) as Payment
  const refused = recordRefund(owed, 'pay-1-refund', { status: 'failed', pspCode: 'no_funds' }, now, repairAt) as Payment
  t.like(refused.refunds[0], { status: 'due', pspCode: 'no_funds' })
  t.is(refused.dueAt?.getTime(), now.getTime() + 86_400_000)
  const asked = requestRefund(say(start(payment), 'pay-1', succeeded), 'ref', 900, now, repairAt)
  t.is(refundableMinor(asked), 2_000)
  const failed = recordRefund(asked, 'pay-1.ref', { status: 'failed', pspCode: 'too_old' }, now, repairAt) as Payment
  t.is(failed.refunds[0]?.status, 'failed')
  t.is(refundableMinor(failed), 2_900)
})

test('these bar a method: a hard decline for ever, one that needs its holder until something changes, and too many declines', (t) => {
  const limits = { maxAttempts: 3, maxAttemptsDays: 30 }
  const next = (so: Payment) =>
    reopen(fail(so, undefined, repairAt), { round: so.round + 1, paymentMethodId: 'pm', onSession: false, returnUrl: undefined }, repairAt) as Payment
  const after = (declineClass: Parameters<typeof declined>[0]) => next(say(start(payment), 'pay-1', declined(declineClass)))
  t.regex(barrier(after('hard'), { id: 'pm' }, limits, now) ?? '', /for good/)
  t.is(barrier(after('hard'), { id: 'other' }, limits, now), undefined)
  t.regex(barrier(after('credential'), { id: 'pm' }, limits, now) ?? '', /nothing has changed/)
  for (const declineClass of ['funds', 'issuer_soft', 'technical', 'config'] as const) t.is(barrier(after(declineClass), { id: 'pm' }, limits, now), undefined)
  let often = payment
  for (let n = 1; n <= 3; n += 1) often = next(say(start(often), `pay-${n}`, declined('funds')))
  t.regex(barrier(often, { id: 'pm' }, limits, now) ?? '', /3 times in 30 days/)
  t.is(barrier(often, { id: 'pm' }, limits, new Date(now.getTime() + 31 * 86_400_000)), undefined)
})

test("a network's own windows hold whatever the storefront allows, from the moment a provider names the network", (t) => {
  const limits = { maxAttemptsPerDay: 1_000, maxAttempts: 1_000, maxAttemptsDays: 30 }
  const DAY = 86_400_000
  /** Declines every `everyMs`, the last one `now`; only the first names the network. */
  const tried = (count: number, everyMs: number, network?: 'visa' | 'mastercard'): Payment => {
    let so = payment
    for (let n = 1; n <= count; n += 1) {
      so = say(start(so), `pay-${n}`, n === 1 && network ? { status: 'declined', declineClass: 'funds', pspCode: 'x', network } : declined('funds'))
      so = reopen(fail(so, undefined, repairAt), { round: so.round + 1, paymentMethodId: 'pm', onSession: false, returnUrl: undefined }, repairAt) as Payment
    }
    return { ...so, attempts: so.attempts.map((attempt, n) => ({ ...attempt, at: new Date(now.getTime() - (count - 1 - n) * everyMs) })) }
  }
  const why = (so: Payment, at = now) => barrier(so, { id: 'pm' }, limits, at)
  t.is(why(tried(40, 60_000)), undefined)
  t.is(why(tried(19, DAY, 'visa')), undefined)
  t.regex(why(tried(20, DAY, 'visa')) ?? '', /20 times in 30 days/)
  t.is(why(tried(12, 60_000, 'visa')), undefined)
  t.is(why(tried(9, 60_000, 'mastercard')), undefined)
  t.regex(why(tried(10, 60_000, 'mastercard')) ?? '', /10 times in a day/)
  t.is(why(tried(34, DAY / 2, 'mastercard')), undefined)
  t.regex(why(tried(35, DAY / 2, 'mastercard')) ?? '', /35 times in 30 days/)
  t.is(why(tried(35, DAY / 2, 'mastercard'), new Date(now.getTime() + 30 * DAY)), undefined)
  // The storefront's own are not widened by it.
  t.regex(barrier(tried(15, DAY, 'mastercard'), { id: 'pm' }, { maxAttempts: 15, maxAttemptsDays: 30 }, now) ?? '', /15 times/)
})

test('few of the attempts that never left are kept, and no reference is given twice', (t) => {
  let so = payment
  const ids = new Set<string>()
  for (let n = 0; n < 1_000; n += 1) {
    so = start(so, n % 2 === 0 ? 'first' : 'second')
    const id = so.attempts.at(-1)?.id ?? ''
    ids.add(id)
    // Now and then somebody says no: that is kept, since networks count it.
    so = say(so, id, n % 100 === 0 ? declined('technical') : { status: 'not_sent', pspCode: 'refused' })
    so = reopen(fail(so, undefined, repairAt), { round: so.round + 1, paymentMethodId: 'pm', onSession: false, returnUrl: undefined }, repairAt) as Payment
  }
  t.is(ids.size, 1_000)
  t.is(ids.has('pay-1000'), true)
  t.true(so.attempts.length <= 101, String(so.attempts.length))
  t.is(so.attempts.filter(({ status }) => status === 'declined').length, 10)
  t.is((so.attemptsLeftOut ?? 0) + so.attempts.length, 1_000)
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

test('whatever arrives in whatever order: at most one open attempt, success is final, and a double payment is refunded', (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(4), anyOutcome), { maxLength: 30 }), (events) => {
      let so = payment
      for (const [n, outcome] of events) {
        // Whenever an attempt may be made, one is made.
        const account = nextStep(so).kind === 'attempt' ? next(so) : undefined
        if (account) so = start(so, account)
        const before = so.attempts.filter((attempt) => attempt.status === 'succeeded').map(({ id }) => id)
        so = say(so, `pay-${n + 1}`, outcome)
        t.true(so.attempts.filter((attempt) => openAttempt({ ...so, attempts: [attempt] })).length <= 1)
        // Nothing that is still to be done is without a reminder.
        if (so.attempts.some((attempt) => attempt.status !== 'sent' && openAttempt({ ...so, attempts: [attempt] }))) t.truthy(so.dueAt)
        if (so.attempts.some(({ status }) => status === 'sent') || dueRefund(so, now) || so.effectsDue) t.truthy(so.repairAt)
        for (const id of before) t.is(so.attempts.find((attempt) => attempt.id === id)?.status, 'succeeded')
      }
      const paid = so.attempts.filter((attempt) => attempt.status === 'succeeded').length
      t.is(so.refunds.length, Math.max(0, paid - 1))
      t.is(so.status === 'succeeded', paid > 0)
    }),
    { numRuns: 2_000 },
  )
})

test('an authorized amount is captured when it is wanted, and released when it is not', (t) => {
  const held = say(start(payment), 'pay-1', { status: 'authorized', pspReference: 'x' })
  t.like(nextStep(held), { kind: 'capture' })
  t.truthy(held.repairAt, 'a process that dies here leaves it to a sweeper')
  const off = abandon(held, now, repairAt) as Payment
  t.like(nextStep(off), { kind: 'release' })
  const asked = askForCapture(held, 'pay-1', now, repairAt)
  t.is(nextStep(asked).kind, 'nothing')
  t.truthy(asked.dueAt, 'it is asked about later')
  t.is(say(asked, 'pay-1', succeeded).status, 'succeeded')
  const released = say(askForCapture(off, 'pay-1', now, repairAt), 'pay-1', declined('technical'))
  t.like(released, { status: 'canceled', refunds: [] })
})

test('an accepted refund is waited for; one that is refused after all is owed again, under another reference', (t) => {
  const arrived = say(abandon(start(payment), now, repairAt) as Payment, 'pay-1', succeeded)
  const accepted = recordRefund(arrived, 'pay-1-refund', { status: 'pending' }, now, repairAt) as Payment
  t.like(accepted.refunds[0], { status: 'pending' })
  t.is(refundedMinor(accepted), 0)
  const silent = recordRefund(accepted, 'pay-1-refund', { status: 'unknown', pspCode: 'timeout' }, now, repairAt) as Payment
  t.like(silent.refunds[0], { status: 'pending' })
  t.is(dueRefund(silent, now), undefined, 'it is asked about later, not again and again')
  const made = recordRefund(accepted, 'pay-1-refund', { status: 'succeeded' }, now, repairAt) as Payment
  t.is(refundedMinor(made), 2900)
  const refused = recordRefund(accepted, 'pay-1-refund', { status: 'failed', pspCode: 'account_closed' }, now, repairAt) as Payment
  t.is(recordRefund(refused, 'pay-1-refund', { status: 'succeeded' }, now, repairAt), undefined, 'an old event about the old reference')
  const again = recordRefund(refused, 'pay-1-refund.1', { status: 'succeeded' }, now, repairAt) as Payment
  t.is(refundedMinor(again), 2900)
  t.is(attemptIdOfRefund('pay-1-refund.1'), 'pay-1')
  t.is(attemptIdOfRefund('pay-1.ref_x.2'), 'pay-1')
})

test('money that the bank has taken back is not refunded as well', (t) => {
  const paid = say(start(payment), 'pay-1', succeeded)
  const facts = { id: 'dp', amountMinor: 2900, currency: 'USD', reason: 'fraud' }
  const at = (minutes: number) => new Date(now.getTime() + minutes * 60_000)
  const open = recordDispute(paid, 'pay-1', { ...facts, status: 'open' }, at(0), repairAt) as Payment
  t.is(refundableMinor(open), 0)
  const won = recordDispute(open, 'pay-1', { ...facts, status: 'won' }, at(5), repairAt) as Payment
  t.is(refundableMinor(won), 2900)
  t.is(recordDispute(won, 'pay-1', { ...facts, status: 'open' }, at(6), repairAt), undefined, 'what was decided is not reopened')
  t.is(recordDispute(won, 'pay-1', { ...facts, status: 'lost' }, at(4), repairAt), undefined, 'an older event')
  const unwanted = abandon(paid, now, repairAt) as Payment
  const lost = recordDispute(unwanted, 'pay-1', { ...facts, status: 'lost' }, at(7), repairAt) as Payment
  t.like(lost.refunds[0], { status: 'failed', pspCode: 'charged_back' })
  t.is(dueRefund(lost, at(10_000)), undefined)
})

test('another method is tried when one was refused, not when its providers were away; never an expired one', (t) => {
  const method = (id: string, expiry?: { month: number; year: number }) =>
    ({ id, type: 'card', tokens: [{ account: '*', token: id }], ...(expiry ? { expiry } : {}) }) as never
  const methods = [method('pm', { month: 1, year: 2020 }), method('old', { month: 2, year: 2024 }), method('new', { month: 3, year: 2024 })]
  const renewal = { ...payment, seq: 1 }
  const ids = (of: Payment, allowed: boolean) => methodsFor(of, methods, allowed, now).map(({ id }) => id)
  t.deepEqual(ids(renewal, true), ['pm', 'new'], 'its own is tried whatever its date')
  t.deepEqual(ids(renewal, false), ['pm'])
  t.deepEqual(ids({ ...payment, seq: 0 }, true), ['pm'], 'a first payment is made with the method that was chosen')
  const limits = { maxAttempts: 15, maxAttemptsDays: 30 }
  const routed = methodsFor(renewal, methods, true, now).map((one) => ({ method: one, route, behindOpenCircuit: [] }))
  const after = (...outcomes: ChargeOutcome[]) =>
    outcomes.reduce<Payment>((so, outcome, n) => say(start(so, route.candidates[n]), `pay-${n + 1}`, outcome), renewal)
  t.like(nextAttempt(after(declined('funds')), routed, limits, now), { account: 'a', method: { id: 'new' } })
  t.like(nextAttempt(after(declined('hard')), routed, limits, now), { account: 'a', method: { id: 'new' } })
  const away = after({ status: 'not_sent', pspCode: 'x' }, { status: 'not_sent', pspCode: 'x' }, { status: 'not_sent', pspCode: 'x' })
  t.deepEqual(nextAttempt(away, routed, limits, now), { none: undefined })
  const closed = [{ method: methods[0] as never, route: { ...route, candidates: [] }, behindOpenCircuit: ['a'] }]
  t.like(nextAttempt(renewal, closed, limits, now), { account: 'a', circuitOpen: true })
})

test('an operator can resolve an open attempt, and nothing else', (t) => {
  const decision = { outcome: { status: 'not_sent', pspCode: 'by_hand' } as const, by: 'key_1', reason: 'the dashboard', tryElsewhere: true }
  const sent = start(payment)
  t.throws(() => resolveByOperator(sent, 'pay-1', decision, now, repairAt), { code: 'not_allowed_in_state' } as never)
  const unknown = say(sent, 'pay-1', { status: 'unknown', pspCode: 'timeout' })
  const resolved = resolveByOperator(unknown, 'pay-1', decision, now, repairAt)
  t.like(resolved, { status: 'due' })
  t.like(resolved.attempts[0], { status: 'not_sent', resolution: { by: 'key_1', reason: 'the dashboard', at: now } })
  t.like(resolveByOperator(unknown, 'pay-1', { ...decision, tryElsewhere: false }, now, repairAt), { status: 'failed' })
  t.throws(() => resolveByOperator(resolved, 'pay-1', decision, now, repairAt), { code: 'not_allowed_in_state' } as never)
  // If the provider charged after all, that counts, and what is paid twice goes back.
  const elsewhere = say(start(resolved, 'b'), 'pay-2', succeeded)
  t.like(say(elsewhere, 'pay-1', succeeded).refunds[0], { reason: 'paid_twice' })
})

test('a charge is sent again only while it is open, wanted, and held by nobody else', (t) => {
  const lost = say(start(payment), 'pay-1', { status: 'unknown', pspCode: 'timeout' })
  const claimed = claimForSending(lost, 'pay-1', repairAt) as Payment
  t.is(claimed.attempts[0]?.status, 'sent', 'an operator waits for its answer')
  t.truthy(claimed.repairAt, 'a process that dies here leaves it to a sweeper')
  t.is(claimForSending(abandon(lost, now, repairAt) as Payment, 'pay-1', repairAt), undefined)
  t.is(claimForSending(say(lost, 'pay-1', succeeded), 'pay-1', repairAt), undefined)
  t.is(claimForSending(say(lost, 'pay-1', declined('funds')), 'pay-1', repairAt), undefined)
})

test('a provider can have forgotten only refunds that it was asked for, after as long as it keeps keys', (t) => {
  const arrived = say(abandon(start(payment), now, repairAt) as Payment, 'pay-1', succeeded)
  const inAWeek = new Date(now.getTime() + 7 * 86_400_000)
  t.false(isBeyond(arrived.refunds[0] as Refund, 3_600_000, inAWeek))
  const asked = markAsked(arrived, 'pay-1-refund', now, repairAt) as Payment
  t.true(isBeyond(asked.refunds[0] as Refund, 3_600_000, inAWeek))
  t.is(markAsked(asked, 'pay-1-refund', inAWeek, repairAt), undefined, 'the first time counts')
  const refused = recordRefund(asked, 'pay-1-refund', { status: 'failed', pspCode: 'no_funds' }, now, repairAt) as Payment
  t.false(isBeyond(refused.refunds[0] as Refund, 3_600_000, inAWeek), 'of its new reference nothing is known there')
})

test('an older event that says a refund was made does not undo that it came back', (t) => {
  const arrived = say(abandon(start(payment), now, repairAt) as Payment, 'pay-1', succeeded)
  const accepted = recordRefund(arrived, 'pay-1-refund', { status: 'pending', pspReference: 'r1' }, now, repairAt) as Payment
  const back = recordRefund(accepted, 'pay-1-refund', { status: 'failed', pspCode: 'closed' }, now, repairAt, 'event') as Payment
  t.is(refundNamed(back, 'pay-1', 'r1'), undefined, 'the old reference means nothing any more')
  const bought = say(start(payment), 'pay-1', succeeded)
  const asked = requestRefund(bought, 'ref', 2900, now, repairAt)
  const failed = recordRefund(asked, 'pay-1.ref', { status: 'failed', pspCode: 'closed' }, now, repairAt, 'event') as Payment
  t.is(recordRefund(failed, 'pay-1.ref', { status: 'succeeded' }, now, repairAt, 'event'), undefined)
  t.is(refundedMinor(recordRefund(failed, 'pay-1.ref', { status: 'succeeded' }, now, repairAt) as Payment), 2900, 'an operator has looked')
})
